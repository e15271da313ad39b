package demo

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/peer"
	"github.com/evenkeel-lb/evenkeel/internal/proc"
)

// system is the processes of one turn: the servers, and what stands before them.
type system struct {
	cfg     Config
	plan    *plan
	dir     string   // temporary, of foreign proxies; empty: none
	servers []string // addresses, in order
	urls    []string // of the proxies or edges, in order
	admin   string   // the master's admin address; empty: there is no master

	mu  sync.Mutex
	all []*proc.Process // in order of their start
}

func newSystem(cfg Config, p *plan) *system {
	return &system{cfg: cfg, plan: p, servers: make([]string, p.scenario.Servers.Count), urls: make([]string, p.scenario.Edges)}
}

// startOurs starts a master that is told the servers' addresses and nothing else about
// them, and edges that ask it. The servers' load reaches it by their responses, which
// the edges' asks carry.
func (s *system) startOurs(ctx context.Context) error {
	if err := s.startServers(); err != nil {
		return err
	}
	args := []string{"master", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--pool", "demo"}
	for i, address := range s.servers {
		args = append(args, "--server", fmt.Sprintf("http://%s,pool=demo,id=%s", address, serverID(i)))
	}
	master, err := s.role(args...)
	if err != nil {
		return err
	}
	s.admin = master.Addr("admin")
	return s.each(len(s.urls), func(i int) error {
		edge, err := s.role("edge", "--master", master.Addr("listen"), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--pool", "demo",
			"--id", fmt.Sprint("edge-", i+1), "--access-log=off")
		if err != nil {
			return err
		}
		s.urls[i] = "http://" + edge.Addr("listen") + "/"
		return await(ctx, edge, "http://"+edge.Addr("admin")+"/readyz")
	})
}

// startProxies starts proxies of which each uses its own count of connections.
func (s *system) startProxies(ctx context.Context) error {
	if err := s.startServers(); err != nil {
		return err
	}
	if s.cfg.Against == SmallProxies {
		return s.each(len(s.urls), func(i int) error {
			args := []string{"sample-proxy", "--listen", "127.0.0.1:0"}
			for _, address := range s.servers {
				args = append(args, "--server", address)
			}
			p, err := s.role(args...)
			if err == nil {
				s.urls[i] = "http://" + p.Addr("listen") + "/"
			}
			return err
		})
	}
	dir, err := os.MkdirTemp("", "evenkeel-demo-")
	if err != nil {
		return err
	}
	s.dir = dir
	for i := range s.urls {
		if err := s.startForeign(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

func (s *system) startForeign(ctx context.Context, i int) error {
	listen, err := freeport.Loopback()
	if err != nil {
		return err
	}
	proxy := peer.Proxy{Program: s.cfg.Program, Dir: s.dir, Name: fmt.Sprint("proxy-", i+1), Listen: listen}
	for j, address := range s.servers {
		proxy.Servers = append(proxy.Servers, peer.Server{ID: serverID(j), Address: address})
	}
	var p *proc.Process
	if s.cfg.Against == HAProxy {
		p, err = peer.StartHAProxy(proxy, "leastconn")
	} else {
		p, err = peer.StartNginx(proxy)
	}
	if err != nil {
		return err
	}
	s.keep(p)
	s.urls[i] = "http://" + listen + "/"
	return await(ctx, p, s.urls[i]+"?work=0")
}

func (s *system) startServers() error {
	fleet := s.plan.scenario.Fleet()
	return s.each(len(fleet), func(i int) error {
		p, err := s.role("sample-server", "--listen", "127.0.0.1:0", "--id", serverID(i), "--model", "fcfs", "--speed", fmt.Sprint(fleet[i].Speed))
		if err == nil {
			s.servers[i] = p.Addr("listen")
		}
		return err
	})
}

// each calls start for 0 to n-1 beside each other and returns the first error.
func (s *system) each(n int, start func(i int) error) error {
	var g errgroup.Group
	for i := range n {
		g.Go(func() error { return start(i) })
	}
	return g.Wait()
}

// role starts one of our own processes.
func (s *system) role(args ...string) (*proc.Process, error) {
	p, err := proc.Start(s.cfg.Log, s.cfg.Binary, append(args, "--log-format", "json")...)
	if err == nil {
		s.keep(p)
	}
	return p, err
}

func (s *system) keep(p *proc.Process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, p)
}

const stopLimit = 5 * time.Second

// stop ends all processes and removes what they left.
func (s *system) stop() {
	var ending sync.WaitGroup
	for _, p := range s.all {
		ending.Go(func() { p.Stop(stopLimit) })
	}
	ending.Wait()
	if s.dir != "" {
		os.RemoveAll(s.dir)
	}
}

const (
	readyLimit = 20 * time.Second
	readyPause = 20 * time.Millisecond
)

// await returns once url answers 200 with a body other than "degraded", which an edge
// says of itself while it has no master.
func await(ctx context.Context, p *proc.Process, url string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyLimit, fmt.Errorf("%s was not ready after %v", p.Name, readyLimit))
	defer cancel()
	tick := time.NewTicker(readyPause)
	defer tick.Stop()
	for {
		if status, body := get(ctx, http.DefaultClient, url); status == http.StatusOK && !strings.HasPrefix(body, "degraded") {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w\n%s", context.Cause(ctx), p.Log())
		case <-p.Done():
			return fmt.Errorf("%s ended before it was ready\n%s", p.Name, p.Log())
		case <-tick.C:
		}
	}
}

// get returns the status of a GET, 0 if there was no answer, and the start of the body.
func get(ctx context.Context, client *http.Client, url string) (status int, body string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, ""
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return 0, ""
	}
	return resp.StatusCode, string(text)
}
