//go:build linux

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/bench/mtls"
	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/peer"
	"github.com/evenkeel-lb/evenkeel/internal/proc"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// system is who chooses: ours, or one setting of a peer.
type system struct {
	name  string
	model string // the simulator's
	start func(s *stage) error
}

var systems = []system{
	{"evenkeel", "least-load", (*stage).startOurs},
	{"haproxy-leastconn-weighted", "haproxy-leastconn", func(s *stage) error { return s.startHAProxy("leastconn", true) }},
	{"haproxy-leastconn", "haproxy-leastconn-unweighted", func(s *stage) error { return s.startHAProxy("leastconn", false) }},
	{"haproxy-random2", "haproxy-random", func(s *stage) error { return s.startHAProxy("random(2)", true) }},
	{"nginx-least-conn-weighted", "nginx-least-conn", (*stage).startNginx},
}

// stage is all processes of one run.
type stage struct {
	cfg  *config
	plan *plan
	dir  string // temporary; logs and the peers' files

	servers []string // addresses
	edges   []string // URLs
	admin   string   // of our master; empty: none
	pids    []int    // of edges and master, or of the peers: who chooses
	farm    *proc.Process
	ours    []*proc.Process // in order of their start
	others  []*proc.Process // the peers
}

const stopLimit = 5 * time.Second

// newStage starts the servers and the system, and returns once requests can be sent.
// Whatever its error, stop must be called.
func newStage(ctx context.Context, cfg *config, p *plan, s *system) (*stage, error) {
	dir, err := os.MkdirTemp("", "evenkeel-choose-")
	st := &stage{cfg: cfg, plan: p, dir: dir}
	if err == nil {
		err = s.start(st)
	}
	if err == nil {
		err = st.ready(ctx)
	}
	if err != nil {
		return st, fmt.Errorf("%s: %w", s.name, err)
	}
	return st, nil
}

// stop ends everything that was started, those who need others first.
func (s *stage) stop() {
	var ending sync.WaitGroup
	for _, c := range s.others {
		ending.Go(c.Kill)
	}
	for _, p := range s.ours {
		ending.Go(func() { p.Stop(stopLimit) })
	}
	ending.Wait()
	if s.farm != nil {
		s.farm.Stop(stopLimit)
	}
	os.RemoveAll(s.dir)
}

// startFarm starts the servers, with agents if there is a master for them.
func (s *stage) startFarm(master string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	argument, err := json.Marshal(farm{Model: s.plan.scenario.Servers.Discipline, Fleet: s.plan.fleet,
		Every: s.plan.scenario.Reports.Every, Responses: s.cfg.responses, Master: master, Certs: s.certs()})
	if err != nil {
		return err
	}
	if s.farm, err = proc.Start(nil, self, "farm", s.plan.id, string(argument)); err != nil {
		return err
	}
	s.servers = strings.Fields(s.farm.Addr("listen"))
	return nil
}

func (s *stage) role(args ...string) (*proc.Process, error) {
	p, err := proc.Start(nil, s.cfg.evenkeel, append(args, "--admin", "127.0.0.1:0", "--log-format", "json")...)
	if err == nil {
		s.ours = append(s.ours, p)
		s.pids = append(s.pids, p.PID())
	}
	return p, err
}

func (s *stage) certs() string { return filepath.Join(s.dir, "certs") }

// startOurs starts a master that is told nothing but its pool's name, and edges. They and
// the agents know each other by certificates, as on machines of their own.
func (s *stage) startOurs() error {
	certs, err := mtls.New(s.certs())
	if err != nil {
		return err
	}
	tls, err := certs.Flags(trust.Master, "m")
	if err != nil {
		return err
	}
	master, err := s.role(append([]string{"master", "--listen", "127.0.0.1:0", "--pool", poolName}, tls...)...)
	if err != nil {
		return err
	}
	s.admin = "http://" + master.Addr("admin")
	if err := s.startFarm(master.Addr("listen")); err != nil {
		return err
	}
	for i := range s.plan.scenario.Edges {
		id := fmt.Sprint("edge-", i)
		tls, err := certs.Flags(trust.Edge, id)
		if err != nil {
			return err
		}
		edge, err := s.role(append([]string{"edge", "--master", master.Addr("listen"), "--listen", "127.0.0.1:0", "--pool", poolName, "--id", id, "--access-log=off"}, tls...)...)
		if err != nil {
			return err
		}
		s.edges = append(s.edges, "http://"+edge.Addr("listen")+"/")
	}
	return nil
}

func (s *stage) startHAProxy(how string, weighted bool) error {
	return s.startPeers(weighted, func(p peer.Proxy) (*proc.Process, error) {
		p.Program = s.cfg.haproxy
		return peer.StartHAProxy(p, how)
	})
}

// startNginx starts nginxs of one worker each, as several workers would each have a
// view of their own.
func (s *stage) startNginx() error {
	return s.startPeers(true, func(p peer.Proxy) (*proc.Process, error) {
		p.Program = s.cfg.nginx
		return peer.StartNginx(p)
	})
}

// startPeers starts the servers without agents and one proxy for each edge of the scenario.
func (s *stage) startPeers(weighted bool, start func(peer.Proxy) (*proc.Process, error)) error {
	if err := s.startFarm(""); err != nil {
		return err
	}
	servers := make([]peer.Server, len(s.servers))
	for i, address := range s.servers {
		servers[i] = peer.Server{ID: serverID(i), Address: address}
		if weighted {
			servers[i].Weight = capacity(s.plan.fleet[i])
		}
	}
	for i := range s.plan.scenario.Edges {
		listen, err := freeport.Loopback()
		if err != nil {
			return err
		}
		p, err := start(peer.Proxy{Dir: s.dir, Name: fmt.Sprint("peer-", i), Listen: listen, Servers: servers})
		if err != nil {
			return err
		}
		s.others = append(s.others, p)
		s.pids = append(s.pids, p.PID())
		s.edges = append(s.edges, "http://"+listen+"/")
	}
	return nil
}

const readyLimit = 20 * time.Second

// ready waits until every edge answers and our master has all servers. The request
// that each edge gets is of usual size, as ours learn from it.
func (s *stage) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyLimit, fmt.Errorf("not ready within %v", readyLimit))
	defer cancel()
	if s.admin != "" {
		if err := s.await(ctx, func() error {
			var p pool
			err := s.pool(ctx, &p)
			if err == nil && p.Up < len(s.servers) {
				err = fmt.Errorf("the master has %d of %d servers", p.Up, len(s.servers))
			}
			return err
		}); err != nil {
			return err
		}
	}
	work := strconv.FormatFloat(s.plan.scenario.Work.Mean.Seconds(), 'g', 6, 64)
	for _, edge := range s.edges {
		if err := s.await(ctx, func() error { return answers(ctx, edge, work) }); err != nil {
			return err
		}
	}
	return nil
}

// await tries until it succeeds.
func (s *stage) await(ctx context.Context, try func() error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w%s", context.Cause(ctx), err, s.lastWords())
		case <-tick.C:
		}
	}
}

// lastWords are what the peers have logged.
func (s *stage) lastWords() (words string) {
	for _, p := range s.others {
		words += "\n" + p.Log()
	}
	return strings.TrimRight(words, "\n")
}

func answers(ctx context.Context, url, work string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Sample-Work", work)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", url, resp.Status, cmp.Or(strings.TrimSpace(string(text)), "no text"))
	}
	return nil
}
