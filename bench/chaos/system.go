//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/lag"
	"github.com/evenkeel-lb/evenkeel/internal/selfsigned"
)

// system is all that runs.
type system struct {
	binary string
	dir    string
	logs   string // where the parts' logs go as well; empty: nowhere
	net    *network
	parts  []*part
	lag    *lag.Proxy // between masters and etcd
	etcd   string     // its port, to masters
	wires  []string   // of the masters
	ca     string     // the file by which clients believe the edges' TLS
	key    string     // its key's

	mu     sync.Mutex
	access [][]byte // lines of the edges' access logs
}

const (
	masters = 3
	edges   = 2
)

// queue holds what an edge lets loose that was stopped for 3 s, at the highest rate; the
// default of 1,000 does not, and the refusals would be right.
const queue = "{size: 10000}"

// pools are the servers' numbers, by what edges do with them.
var pools = []struct {
	name    string
	servers int
	slots   int
	movable bool // the last one is known by a name, and can move
}{
	{web, 4, 1, true},
	{jobs, 3, 4, false},
	{away, 2, 4, false},
}

const (
	web  = "web"  // routed
	jobs = "jobs" // told first
	away = "away" // redirected to
)

// build starts everything, from the keeper of the election to the edges.
func (s *system) build() error {
	if err := s.authority(); err != nil {
		return err
	}
	if err := s.keeper(); err != nil {
		return err
	}
	for i := range masters {
		if err := s.master(i); err != nil {
			return err
		}
	}
	for _, p := range pools {
		for i := range p.servers {
			if err := s.server(p.name, i, p.slots, p.movable && i == p.servers-1 && s.net.walls); err != nil {
				return err
			}
		}
	}
	for i := range edges {
		if err := s.edge(i); err != nil {
			return err
		}
	}
	return nil
}

func (s *system) add(p *part) error {
	log, err := newSink(filepath.Join(s.dir, strings.ReplaceAll(p.name, " ", "-")+".log"))
	if err != nil {
		return err
	}
	p.log = log
	if s.logs != "" {
		file, err := os.Create(filepath.Join(s.logs, strings.ReplaceAll(p.name, " ", "-")+".log"))
		if err != nil {
			return err
		}
		log.copy = file // until we end
	}
	if p.role == "edge" {
		log.access = s.note
	}
	s.parts = append(s.parts, p)
	if err := p.start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	return nil
}

// note keeps a line of an access log.
func (s *system) note(line []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.access = append(s.access, bytes.Clone(line))
}

// authority makes what components, and clients, believe each other by.
func (s *system) authority() error {
	names := []string{"localhost", "127.0.0.1"}
	for i := range edges {
		names = append(names, fmt.Sprintf("10.214.2.%d", i+1))
	}
	var err error
	if s.ca, s.key, err = selfsigned.Files(s.dir, names...); err != nil {
		return err
	}
	return sh(s.binary + " certs init --dir " + s.file("certs"))
}

// proof makes a component's certificate, and returns its part of a file.
func (s *system) proof(role, name string) (yaml string, files []string, err error) {
	bounds := ""
	if role == "agent" {
		bounds = " --pool '*'" // of each server's pool
	}
	err = sh(s.binary + " certs issue " + role + " " + name + bounds + " --dir " + s.file("certs"))
	at := s.file("certs/" + role + "-" + name)
	files = []string{at + ".crt", at + ".key", s.file("certs/ca.crt")}
	return fmt.Sprintf("tls: {cert: %s, key: %s, ca: %s}", files[0], files[1], files[2]), files, err
}

func (s *system) file(name string) string { return filepath.Join(s.dir, name) }

func (s *system) keeper() error {
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	s.etcd = ports[2]
	own, peer := "127.0.0.1:"+ports[0], "http://127.0.0.1:"+ports[1]
	if err := s.add(&part{role: "etcd", name: "etcd", program: "etcd", listen: own, args: []string{"--data-dir", s.file("etcd"), "--log-level", "error", "--unsafe-no-fsync",
		"--listen-client-urls", "http://" + own, "--advertise-client-urls", "http://" + own,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" + peer}}); err != nil {
		return err
	}
	s.lag, err = lag.Listen(s.net.open()+":"+s.etcd, own)
	return err
}

func (s *system) master(i int) error {
	id := fmt.Sprintf("m%d", i+1)
	namespace, host, err := s.net.room(id, 1, i)
	if err != nil {
		return err
	}
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	tls, _, err := s.proof("master", id)
	if err != nil {
		return err
	}
	wire, admin := host+":"+ports[0], host+":"+ports[1]
	text := fmt.Sprintf("master: {id: %s, listen: '%s', admin: '%s', insecure: true, %s, election: {etcd: {endpoints: ['%s:%s']}}}\n", id, wire, admin, tls, s.net.open(), s.etcd) +
		fmt.Sprintf("pools: {%[3]s: {grace: 2s, %[1]s, queue: %[2]s}, %[4]s: {grace: 2s, dispatch: true, %[1]s, queue: %[2]s}, %[5]s: {grace: 2s, lease_time: 10s, %[1]s, queue: %[2]s}}\n", places, queue, web, jobs, away)
	if err := os.WriteFile(s.file(id+".yaml"), []byte(text), 0o600); err != nil {
		return err
	}
	s.wires = append(s.wires, wire)
	return s.add(&part{role: "master", name: id, namespace: namespace, program: s.binary, listen: wire, admin: admin, speaks: true,
		args: []string{"master", "--config", s.file(id + ".yaml"), "--log-format", "json"}})
}

// places is where servers may be besides where their agents are.
const places = `addresses: ["10.214.0.0/16", "*.test"]`

// server starts one and its agent.
func (s *system) server(pool string, i, slots int, movable bool) error {
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	id := fmt.Sprintf("%s%d", pool, i+1)
	at, agent := s.net.open(), "127.0.0.1:"+ports[1]
	p := &part{role: "server", name: id, pool: pool, program: s.binary, speaks: true, port: ports[0], slots: slots}
	known := at
	if movable {
		p.host, known = id+".test", id+".test"
		if at, err = s.net.place(); err != nil {
			return err
		}
		if err := s.net.name(p.host, at); err != nil {
			return err
		}
	}
	s.lives(p, at, agent)
	if err := s.add(p); err != nil {
		return err
	}
	_, files, err := s.proof("agent", id)
	if err != nil {
		return err
	}
	args := []string{"agent", "--pool", pool, "--id", id, "--address", known + ":" + ports[0], "--admin", agent, "--sample=false",
		"--tls-cert", files[0], "--tls-key", files[1], "--tls-ca", files[2], "--hook", "http://" + known + ":" + ports[0] + "/dispatch", "--log-format", "json"}
	for _, wire := range s.wires {
		args = append(args, "--master", wire)
	}
	return s.add(&part{role: "agent", name: "agent of " + id, pool: pool, program: s.binary, speaks: true, admin: agent, args: args})
}

// lives says where a server is from its next start on.
func (s *system) lives(p *part, at, agent string) {
	p.listen = at + ":" + p.port
	p.record = s.file(p.name + "-" + at + ".record")
	p.args = []string{"sample-server", "--id", p.name, "--listen", p.listen, "--slots", fmt.Sprint(p.slots), "--record", p.record, "--agent", "http://" + agent, "--log-format", "json"}
}

func (s *system) edge(i int) error {
	id := fmt.Sprintf("edge-%d", i+1)
	namespace, host, err := s.net.room(id, 2, i)
	if err != nil {
		return err
	}
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	tls, _, err := s.proof("edge", id)
	if err != nil {
		return err
	}
	routes := fmt.Sprintf("routes: [{path: /%s, pool: %s}, {path: /%s, pool: %s, link: redirect, lease_param: lease}, {path: /h2, pool: %s, server_protocol: h2}, {pool: %s}]", jobs, jobs, away, away, web, web)
	admin := host + ":" + ports[2]
	text := fmt.Sprintf("edge: {id: %s, admin: '%s', insecure: true, %s, masters: ['%s'], listeners: [\n", id, admin, tls, strings.Join(s.wires, "', '")) +
		fmt.Sprintf("  {listen: '%s:%s', h2c: true, %s},\n", host, ports[0], routes) +
		fmt.Sprintf("  {listen: '%s:%s', tls: {certificates: [{cert: %s, key: %s}]}, %s}]}\n", host, ports[1], s.ca, s.key, routes)
	if err := os.WriteFile(s.file(id+".yaml"), []byte(text), 0o600); err != nil {
		return err
	}
	return s.add(&part{role: "edge", name: id, namespace: namespace, program: s.binary, listen: host + ":" + ports[0], secure: host + ":" + ports[1], admin: admin, speaks: true,
		args: []string{"edge", "--config", s.file(id + ".yaml"), "--log-format", "json"}})
}

func (s *system) of(role string) (all []*part) {
	for _, p := range s.parts {
		if p.role == role {
			all = append(all, p)
		}
	}
	return all
}

// end stops everything. What else there is goes with our namespaces.
func (s *system) end() {
	for i := len(s.parts) - 1; i >= 0; i-- {
		s.parts[i].kill()
	}
}

// rest waits until each pool has one leader, all masters know all servers, and no lease is open,
// and no edge is working; an error tells what is not so in the end.
func (s *system) rest(limit time.Duration) error {
	var why error
	for until := time.Now().Add(limit); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		if why = s.atRest(); why == nil {
			return nil
		}
	}
	return why
}

func (s *system) atRest() error {
	leaders, servers := 0, float64(len(s.of("server")))
	for _, m := range s.of("master") {
		got, err := m.metrics("evenkeel_pool_leader", "evenkeel_leases_open", "evenkeel_server_up")
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", m.name, err)
		case got["evenkeel_server_up"] != servers:
			return fmt.Errorf("%s knows %v of %v servers", m.name, got["evenkeel_server_up"], servers)
		case got["evenkeel_leases_open"] != 0:
			return fmt.Errorf("%s has %v leases open at rest", m.name, got["evenkeel_leases_open"])
		}
		leaders += int(got["evenkeel_pool_leader"])
	}
	if leaders != len(pools) {
		return fmt.Errorf("%d pools are led, want %d", leaders, len(pools))
	}
	for _, e := range s.of("edge") {
		got, err := e.metrics("evenkeel_edge_in_flight", "evenkeel_edge_master_connected")
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", e.name, err)
		case got["evenkeel_edge_in_flight"] != 0:
			return fmt.Errorf("%s has %v requests under way at rest", e.name, got["evenkeel_edge_in_flight"])
		case got["evenkeel_edge_master_connected"] == 0:
			return fmt.Errorf("%s has no connection to a master at rest", e.name)
		}
	}
	return nil
}
