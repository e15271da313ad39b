//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/bench/chaos/history"
)

// visit is a line of a server's record.
type visit struct {
	At      int64  `json:"at_ns"`
	Kind    string `json:"kind"`
	ID      string `json:"id"`
	Lease   string `json:"lease"`
	Edge    string `json:"edge"`
	Fence   string `json:"fence"`
	Refused bool   `json:"refused"`

	server, pool string
	at           string // the address where the server was
}

func (v *visit) within(from, to time.Time) bool {
	return v.At >= from.UnixNano() && v.At <= to.UnixNano()
}

// visits reads what all servers have written down, by time.
func (s *system) visits() (all []visit, err error) {
	for _, p := range s.of("server") {
		files, err := filepath.Glob(s.file(p.name + "-*.record")) // one for each place where it was
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			at := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), p.name+"-"), ".record")
			for line := range bytes.Lines(text) {
				v := visit{server: p.name, pool: p.pool, at: at}
				if err := json.Unmarshal(line, &v); err != nil {
					if !bytes.HasSuffix(line, []byte("\n")) {
						continue // it was killed over it, so it did nothing more
					}
					return nil, fmt.Errorf("%s: %q: %w", file, line, err)
				}
				all = append(all, v)
			}
		}
	}
	slices.SortFunc(all, func(a, b visit) int { return int(a.At - b.At) })
	return all, nil
}

// grants reads what edges have logged of requests that were granted a lease.
func (s *system) grants() (all []history.Event, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range s.access {
		var r struct {
			Time     time.Time `json:"time"`
			Duration float64   `json:"duration_ms"`
			Pool     string    `json:"pool"`
			Server   string    `json:"server"`
			Lease    string    `json:"lease"`
			Fence    uint64    `json:"fence"`
			Edge     string    `json:"edge"`
			Request  string    `json:"request"`
		}
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, fmt.Errorf("access log: %q: %w", line, err)
		}
		if r.Lease != "" {
			until := r.Time.UnixNano()
			all = append(all, history.Event{Kind: history.Granted, At: until - int64(r.Duration*1e6) - int64(inexact), Until: until, Request: r.Request,
				Lease: r.Lease, Fence: r.Fence, Pool: r.Pool, Server: r.Server, Edge: r.Edge})
		}
	}
	return all, nil
}

// inexact is how old a loop's idea of the time may be when a request begins.
const inexact = 20 * time.Millisecond

// eventsOf makes a history of what clients and servers know.
func eventsOf(results []result, visits []visit) (all []history.Event) {
	for i := range results {
		r := &results[i]
		all = append(all, history.Event{Kind: history.Sent, At: r.begin.UnixNano(), Request: r.ID, Once: r.way.once, Edge: r.edge, Pool: r.way.pool})
		if r.Of != "" && (r.Status == 200 || r.Mixed() != nil) {
			all = append(all, history.Event{Kind: history.Answered, At: r.end.UnixNano(), Request: r.ID, Of: r.Of, Server: r.Server})
		}
	}
	kinds := map[string]history.Kind{"dispatch": history.Dispatched, "request": history.Arrived, "done": history.Done}
	for i := range visits {
		v := &visits[i]
		kind, known := kinds[v.Kind]
		if !known || v.ID == "" && kind != history.Dispatched {
			continue // a look at its health
		}
		fence, _ := strconv.ParseUint(v.Fence, 10, 64) // of a request that no elected master granted it is empty
		all = append(all, history.Event{Kind: kind, At: v.At, Request: v.ID, Lease: v.Lease, Fence: fence, Pool: v.pool, Server: v.server, Edge: v.Edge, Refused: v.Refused})
	}
	return all
}

// hostOf returns an address without its port.
func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		panic("chaos: " + err.Error()) // it is ours
	}
	return host
}

// openLeases tells some of the leases that masters have open, with what is known of their requests, for
// finding out why.
func (s *system) openLeases() string {
	logged := make(map[string]string)
	s.mu.Lock()
	for _, line := range s.access {
		var r struct {
			Lease string `json:"lease"`
		}
		if json.Unmarshal(line, &r) == nil {
			logged[r.Lease] += "\n      edge: " + strings.TrimSpace(string(line))
		}
	}
	s.mu.Unlock()
	if visits, err := s.visits(); err == nil {
		for _, v := range visits {
			logged[v.Lease] += fmt.Sprintf("\n      server: %s %s %s of %s through %s", time.Unix(0, v.At).UTC().Format("15:04:05.000"), v.server, v.Kind, v.ID, v.Edge)
		}
	}
	var text strings.Builder
	for _, m := range s.of("master") {
		for _, p := range pools {
			open, said := 0, 0
			var list struct {
				Decisions []struct {
					Lease string `json:"lease"`
				} `json:"decisions"`
			}
			if m.api("/v1/pools/"+p.name+"/decisions?limit=1000", &list) != nil {
				continue
			}
			for _, d := range list.Decisions {
				var l struct {
					Open   bool    `json:"open"`
					Server string  `json:"server"`
					Edge   string  `json:"edge"`
					AgeMS  float64 `json:"age_ms"`
				}
				if m.api("/v1/leases/"+d.Lease, &l) != nil || !l.Open {
					continue
				}
				if open++; said < 3 {
					said++
					fmt.Fprintf(&text, "\n    %s, pool %s: lease %s at %s of %s, granted %s%s", m.name, p.name, d.Lease, l.Server, l.Edge,
						time.Now().Add(-time.Duration(l.AgeMS*1e6)).UTC().Format("15:04:05.000"), logged[d.Lease])
				}
			}
			if open > 0 {
				fmt.Fprintf(&text, "\n    %s, pool %s: %d of the last %d leases are open", m.name, p.name, open, len(list.Decisions))
			}
		}
	}
	return text.String()
}
