//go:build linux

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/proc"
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
	others  []*exec.Cmd
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
		ending.Go(func() {
			c.Process.Kill()
			c.Wait()
		})
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
		Every: s.plan.scenario.Reports.Every, Responses: s.cfg.responses, Master: master})
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

// startOurs starts a master that is told nothing but its pool's name, and edges.
func (s *stage) startOurs() error {
	master, err := s.role("master", "--listen", "127.0.0.1:0", "--pool", poolName)
	if err != nil {
		return err
	}
	s.admin = "http://" + master.Addr("admin")
	if err := s.startFarm(master.Addr("listen")); err != nil {
		return err
	}
	for i := range s.plan.scenario.Edges {
		edge, err := s.role("edge", "--master", master.Addr("listen"), "--listen", "127.0.0.1:0", "--pool", poolName, "--id", fmt.Sprint("edge-", i), "--access-log=off")
		if err != nil {
			return err
		}
		s.edges = append(s.edges, "http://"+edge.Addr("listen")+"/")
	}
	return nil
}

func (s *stage) startHAProxy(how string, weighted bool) error {
	return s.startPeers(func(i int, listen string) (*exec.Cmd, error) {
		var b strings.Builder
		fmt.Fprintf(&b, `global
    nbthread 1
    maxconn 8000
defaults
    mode http
    timeout connect 5s
    timeout client 10m
    timeout server 10m
    timeout http-keep-alive 10m
    option http-keep-alive
    http-reuse always
frontend clients
    bind %s
    default_backend servers
backend servers
    balance %s
`, listen, how)
		for j, address := range s.servers {
			weight := 1.
			if weighted {
				weight = capacity(s.plan.fleet[j])
			}
			fmt.Fprintf(&b, "    server %s %s weight %.0f\n", serverID(j), address, weight)
		}
		file := filepath.Join(s.dir, fmt.Sprintf("haproxy-%d.cfg", i))
		return exec.Command(s.cfg.haproxy, "-db", "-q", "-f", file), os.WriteFile(file, []byte(b.String()), 0o600)
	})
}

// startNginx starts nginxs of one worker each, as several workers would each have a
// view of their own.
func (s *stage) startNginx() error {
	return s.startPeers(func(i int, listen string) (*exec.Cmd, error) {
		dir := filepath.Join(s.dir, fmt.Sprint("nginx-", i))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
		var b strings.Builder
		b.WriteString("daemon off;\nmaster_process off;\nworker_processes 1;\npid nginx.pid;\nerror_log error.log crit;\nevents { worker_connections 8000; }\n" +
			"http {\n    access_log off;\n    keepalive_timeout 10m;\n    keepalive_requests 1000000;\n")
		for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			fmt.Fprintf(&b, "    %s_temp_path %s;\n", kind, kind)
		}
		b.WriteString("    upstream servers {\n        least_conn;\n")
		for j, address := range s.servers {
			fmt.Fprintf(&b, "        server %s weight=%.0f max_fails=0;\n", address, capacity(s.plan.fleet[j]))
		}
		fmt.Fprintf(&b, "        keepalive 1000;\n        keepalive_timeout 10m;\n        keepalive_requests 1000000;\n    }\n"+
			"    server {\n        listen %s;\n        location / {\n            proxy_pass http://servers;\n            proxy_http_version 1.1;\n"+
			"            proxy_set_header Connection \"\";\n            proxy_read_timeout 10m;\n        }\n    }\n}\n", listen)
		file := filepath.Join(dir, "nginx.conf")
		return exec.Command(s.cfg.nginx, "-p", dir, "-c", file, "-e", filepath.Join(dir, "error.log")), os.WriteFile(file, []byte(b.String()), 0o600)
	})
}

// startPeers starts the servers without agents and one proxy for each edge of the scenario.
func (s *stage) startPeers(command func(i int, listen string) (*exec.Cmd, error)) error {
	if err := s.startFarm(""); err != nil {
		return err
	}
	for i := range s.plan.scenario.Edges {
		listen, err := freeAddress()
		if err != nil {
			return err
		}
		c, err := command(i, listen)
		if err != nil {
			return err
		}
		log, err := os.Create(filepath.Join(s.dir, fmt.Sprintf("peer-%d.log", i)))
		if err != nil {
			return err
		}
		defer log.Close()
		c.Stdout, c.Stderr = log, log
		// The kernel kills with the parent's thread; start's caller has locked one.
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
		if err := c.Start(); err != nil {
			return err
		}
		s.others = append(s.others, c)
		s.pids = append(s.pids, c.Process.Pid)
		s.edges = append(s.edges, "http://"+listen+"/")
	}
	return nil
}

// freeAddress is for peers that cannot say which port they got.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
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
	for i := range s.others {
		text, _ := os.ReadFile(filepath.Join(s.dir, fmt.Sprintf("peer-%d.log", i)))
		words += "\n" + string(text)
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
