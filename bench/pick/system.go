package main

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/bench/mtls"
	"github.com/evenkeel-lb/evenkeel/internal/proc"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// The systems' names.
const (
	plainSystem = "plain"
	tlsSystem   = "mTLS"
)

// system is a master, an edge and a server, each a process.
type system struct {
	name  string
	parts []*proc.Process
	edge  *proc.Process
	url   string

	masterFlags, edgeFlags []string // that give them their certificates
}

// openSystems returns those it has started, also with an error.
func openSystems(binary, dir string) (all []*system, err error) {
	certs, err := mtls.New(filepath.Join(dir, "certs"))
	if err != nil {
		return nil, err
	}
	for _, name := range []string{plainSystem, tlsSystem} {
		s := &system{name: name}
		all = append(all, s)
		if name == tlsSystem {
			s.masterFlags, err = certs.Flags(trust.Master, "m")
			if err == nil {
				s.edgeFlags, err = certs.Flags(trust.Edge, "e")
			}
		}
		if err == nil {
			err = s.open(binary, dir)
		}
		if err != nil {
			return all, fmt.Errorf("%s: %w", name, err)
		}
	}
	return all, nil
}

func (s *system) start(binary string, args ...string) (*proc.Process, error) {
	p, err := proc.Start(nil, binary, append(args, "--log-format", "json")...)
	if err == nil {
		s.parts = append(s.parts, p)
	}
	return p, err
}

func (s *system) open(binary, dir string) error {
	server, err := s.start(binary, "sample-server", "--listen", "127.0.0.1:0", "--id", "s", "--slots", "64")
	if err != nil {
		return err
	}
	file := filepath.Join(dir, s.name+".yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "pools: {web: {servers: [{id: s, address: %q, slots: 64}]}}\n", server.Addr("listen")), 0o600); err != nil {
		return err
	}
	master, err := s.start(binary, append([]string{"master", "--config", file, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, s.masterFlags...)...)
	if err != nil {
		return err
	}
	s.edge, err = s.start(binary, append([]string{"edge", "--id", "e", "--master", master.Addr("listen"), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--pool", "web", "--access-log", "off"}, s.edgeFlags...)...)
	if err != nil {
		return err
	}
	s.url = "http://" + s.edge.Addr("listen") + "/"
	return s.awaitPick()
}

// awaitPick returns when the edge asks its master, and does not choose for itself.
func (s *system) awaitPick() error {
	for late := time.Now().Add(10 * time.Second); time.Now().Before(late); time.Sleep(10 * time.Millisecond) {
		before, err := s.counted()
		if err != nil {
			return err
		}
		resp, err := http.Get(s.url)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if after, err := s.counted(); err != nil || resp.StatusCode == http.StatusOK && after.picks > before.picks {
			return err
		}
	}
	return errors.New("the edge has not asked its master within 10 s")
}

// counted reads the edge's histogram of picks.
func (s *system) counted() (t total, err error) {
	resp, err := http.Get("http://" + s.edge.Addr("admin") + "/metrics")
	if err != nil {
		return t, err
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		switch {
		case strings.HasPrefix(name, "evenkeel_edge_pick_duration_seconds_count{"):
			t.picks, err = strconv.ParseFloat(value, 64)
		case strings.HasPrefix(name, "evenkeel_edge_pick_duration_seconds_sum{"):
			t.seconds, err = strconv.ParseFloat(value, 64)
		}
		if err != nil {
			return t, err
		}
	}
	return t, nil
}

func (s *system) close() {
	for _, p := range s.parts {
		p.Kill()
	}
}
