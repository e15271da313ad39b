package master

import (
	"log/slog"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// This file reports why servers get no requests, or fewer: in the API and in the log.

// outage is a balance.Outage in JSON.
type outage struct {
	Reason  string   `json:"reason"`
	SinceS  float64  `json:"since_s"` // ago
	By      string   `json:"by,omitempty"`
	What    string   `json:"what,omitempty"`
	Error   string   `json:"error,omitempty"`
	ErrorS  *float64 `json:"error_s,omitempty"` // ago; nil: unknown
	Next    string   `json:"next,omitempty"`
	words   string
	trouble bool
	out     bool // the server gets no requests
}

func newOutages(all []balance.Outage) []outage {
	var list []outage
	for i := range all {
		o := &all[i]
		told := outage{Reason: o.Kind.String(), SinceS: o.Since.Seconds(), By: o.By, What: o.What, Error: o.Error, Next: o.Next, words: o.String(), trouble: o.Kind.IsTrouble(), out: stopsRequests(o.Kind)}
		if o.Error != "" && o.Ago >= 0 {
			ago := o.Ago.Seconds()
			told.ErrorS = &ago
		}
		list = append(list, told)
	}
	return list
}

// stopsRequests reports whether a server gets no requests for that reason, but for one now and then that tries it.
func stopsRequests(kind balance.OutageKind) bool {
	switch kind {
	case balance.OutGone, balance.OutDraining, balance.OutUnhealthy, balance.OutUnreachable, balance.OutEjected, balance.OutSilent, balance.OutCanary:
		return true
	}
	return false
}

// outageLogEvery is how often a pool's servers are visited for the log if no change is known.
const outageLogEvery = time.Second

// logOutages logs which servers have gone out or come back, in chunks so that asks need not wait long.
func (m *Master) logOutages(now balance.Instant, p *pool) {
	m.logCanary(now, p)
	var turns []balance.Turn
	for from := 0; ; from += chunk {
		p.mu.Lock()
		n, _ := p.core.Servers()
		turns = p.core.Turns(now, turns[:0], from, from+chunk)
		p.mu.Unlock()
		for i := range turns {
			logTurn(m.log, p.name, &turns[i])
			m.noteTurn(now, p.name, &turns[i])
		}
		if from+chunk >= n {
			return
		}
	}
}

func logTurn(log *slog.Logger, pool string, t *balance.Turn) {
	switch {
	case t.Out == nil && t.Was == balance.OutOfDate:
		log.Info("a server's name can be looked up again", "pool", pool, "server", t.Server, "after_s", seconds(t.After))
		return
	case t.Out != nil && t.Out.Kind == balance.OutOfDate:
		log.Warn("a server's name cannot be looked up; where it led last stays in use", "pool", pool, "server", t.Server, "err", t.Out.Error)
		return
	}
	if t.Out == nil {
		log.Info("server is back in", "pool", pool, "server", t.Server, "was", t.Was.String(), "out_s", seconds(t.After))
		return
	}
	o := t.Out
	attrs := []any{"pool", pool, "server", t.Server, "reason", o.Kind.String(), "since_s", seconds(o.Since)}
	for _, a := range []struct{ key, value string }{{"by", o.By}, {"what", o.What}, {"err", o.Error}, {"next", o.Next}} {
		if a.value != "" {
			attrs = append(attrs, a.key, a.value)
		}
	}
	if o.Kind.IsTrouble() {
		log.Warn("server is out", attrs...)
		return
	}
	log.Info("server is out", attrs...)
}

// seconds rounds to milliseconds, for people.
func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }
