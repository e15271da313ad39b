//go:build linux

package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/peer"
	"github.com/evenkeel-lb/evenkeel/internal/peers"
	"github.com/evenkeel-lb/evenkeel/internal/proc"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// The contenders' names.
const (
	withAgents    = "evenkeel with agents"
	withoutAgents = "evenkeel without"
	haproxy       = "haproxy leastconn"
	nginx         = "nginx least_conn"
)

// contenders in the order in which they take turns.
var contenders = []string{withAgents, withoutAgents, haproxy, nginx}

// edgesEach is how many edges, or proxies, clients are spread over.
const edgesEach = 2

// system is one contender at work.
type system struct {
	name   string
	dir    string
	binary string
	wire   string   // of the master
	edges  []string // where clients go, host:port
	log    *os.File // what ours log
	ours   []*proc.Process
	agents map[string]*proc.Process // by service
	others []*proc.Process
}

// startSystem starts a contender before the services. Those in absent are not there yet: ours hear of them
// when they join, the others find out by their checks.
func (c *config) startSystem(name, dir string, all []*service, absent ...string) (s *system, err error) {
	s = &system{name: name, dir: dir, binary: c.binary, agents: make(map[string]*proc.Process)}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if s.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		return nil, err
	}
	switch name {
	case withAgents, withoutAgents:
		err = s.startOurs(all, absent)
	default:
		err = s.startPeers(all)
	}
	if err == nil {
		err = s.ready()
	}
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

func (s *system) startOurs(all []*service, absent []string) error {
	authority, err := trust.NewAuthority(s.dir, time.Now())
	if err != nil {
		return err
	}
	names := []trust.Identity{{Role: trust.Master, Name: "m1"}}
	for i := range edgesEach {
		names = append(names, trust.Identity{Role: trust.Edge, Name: fmt.Sprintf("e%d", i+1)})
	}
	var servers strings.Builder
	for _, v := range all {
		names = append(names, trust.Identity{Role: trust.Agent, Name: v.name})
		if s.name == withoutAgents {
			fmt.Fprintf(&servers, "    - { id: %s, address: %q }\n", v.name, v.address)
		}
	}
	for _, who := range names {
		if err := authority.Issue(trust.Subject{Identity: who, Bounds: trust.Bounds{Pools: []string{trust.AnyPool}}}, time.Now(), trust.DefaultLife, s.file(who.Name, "crt"), s.file(who.Name, "key")); err != nil {
			return err
		}
	}
	config := filepath.Join(s.dir, "evenkeel.yaml")
	text := "pools:\n  real:\n    servers:\n" + servers.String()
	if servers.Len() == 0 {
		text = "pools: { real: {} }\n"
	}
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return err
	}
	master, err := s.role("m1", "master", "--config", config, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.wire = master.Addr("listen")
	for i := range edgesEach {
		edge, err := s.role(fmt.Sprintf("e%d", i+1), "edge", "--pool", "real", "--master", s.wire, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
		if err != nil {
			return err
		}
		s.edges = append(s.edges, edge.Addr("listen"))
	}
	for _, v := range all {
		if err := s.join(v, absent); err != nil {
			return err
		}
	}
	return nil
}

// join starts the agent of a service, where the contender has agents and the service is there.
func (s *system) join(v *service, absent []string) error {
	for _, name := range absent {
		if v.name == name {
			return nil
		}
	}
	if s.name != withAgents {
		return nil
	}
	agent, err := s.role(v.name, "agent", "--pool", "real", "--master", s.wire, "--address", v.address, "--admin", "off")
	s.agents[v.name] = agent
	return err
}

func (s *system) file(name, kind string) string { return filepath.Join(s.dir, name+"."+kind) }

// role starts one of our processes, with its certificate.
func (s *system) role(name string, args ...string) (*proc.Process, error) {
	ca, _ := trust.AuthorityFiles(s.dir)
	p, err := proc.Start(s.log, s.binary, append(args, "--tls-cert", s.file(name, "crt"), "--tls-key", s.file(name, "key"), "--tls-ca", ca, "--log-format", "json")...)
	if err == nil {
		s.ours = append(s.ours, p)
	}
	return p, err
}

func (s *system) startPeers(all []*service) error {
	var servers []peer.Server
	for _, v := range all {
		servers = append(servers, peer.Server{ID: v.name, Address: v.address})
	}
	for i := range edgesEach {
		address, err := freeport.Loopback()
		if err != nil {
			return err
		}
		p := peer.Proxy{Dir: s.dir, Name: fmt.Sprintf("proxy%d", i+1), Listen: address, Servers: servers, Check: true}
		var process *proc.Process
		if s.name == haproxy {
			if p.Program, err = peers.Find("haproxy"); err == nil {
				process, err = peer.StartHAProxy(p, "leastconn")
			}
		} else {
			if p.Program, err = peers.Find("nginx"); err == nil {
				process, err = peer.StartNginx(p)
			}
		}
		if err != nil {
			return err
		}
		s.others, s.edges = append(s.others, process), append(s.edges, address)
	}
	return nil
}

// ready waits until each edge has reached a service.
func (s *system) ready() error {
	for _, edge := range s.edges {
		late := time.Now().Add(time.Minute)
		for {
			res, err := http.Get("http://" + edge + "/healthz")
			if err == nil {
				_ = res.Body.Close()
				if res.StatusCode == http.StatusOK {
					break
				}
				err = fmt.Errorf("status %s", res.Status)
			}
			if err := s.ended(); err != nil {
				return err
			}
			if time.Now().After(late) {
				return fmt.Errorf("edge %s does not serve: %w; see %s", edge, err, s.log.Name())
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

// ended returns what the first proxy that has ended said.
func (s *system) ended() error {
	for _, p := range s.others {
		select {
		case <-p.Done():
			return fmt.Errorf("%s has ended: %s", p.Name, p.Log())
		default:
		}
	}
	return nil
}

// stop ends all processes, agents first.
func (s *system) stop() {
	for i := len(s.ours) - 1; i >= 0; i-- {
		if err := s.ours[i].Stop(10 * time.Second); err != nil {
			fmt.Fprintln(s.log, err)
		}
	}
	for _, p := range s.others {
		p.Kill()
	}
	_ = s.log.Close() // nothing is written any more
}

// agentCost returns the CPU time that the agents have used, each on its own.
func (s *system) agentCost() (each []time.Duration) {
	for _, a := range s.agents {
		if used, err := cpuOf(a.PID()); err == nil {
			each = append(each, used)
		}
	}
	return each
}
