//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// system is all that runs.
type system struct {
	dir        string
	logs       string // where the parts' logs go; empty: nowhere
	namespaces bool
	parts      []*part
	etcdPort   string
	undo       []string // commands that take the namespaces away
}

const (
	masters = 3
	edges   = 2
	servers = 4
)

// build starts everything, from the keeper of the election to the edges.
func build(binary, self, dir, logs string) (*system, error) {
	s := &system{dir: dir, logs: logs, namespaces: mayNamespace()}
	if err := s.etcd(); err != nil {
		return s, err
	}
	var wires []string
	for i := range masters {
		wire, err := s.master(binary, i)
		if err != nil {
			return s, err
		}
		wires = append(wires, "--master", wire)
	}
	for i := range servers {
		if err := s.server(binary, self, i, wires); err != nil {
			return s, err
		}
	}
	for i := range edges {
		if err := s.edge(binary, i, wires); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *system) add(p *part) error {
	p.logs = s.logs
	s.parts = append(s.parts, p)
	if err := p.start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	return nil
}

func (s *system) etcd() error {
	port, err := freePort()
	if err != nil {
		return err
	}
	peer, err := freePort()
	if err != nil {
		return err
	}
	s.etcdPort = port
	at := "http://127.0.0.1:" + peer
	return s.add(&part{role: "etcd", name: "etcd", program: "etcd", listen: "127.0.0.1:" + port, args: []string{"--data-dir", filepath.Join(s.dir, "etcd"), "--log-level", "error",
		"--listen-client-urls", "http://0.0.0.0:" + port, "--advertise-client-urls", "http://127.0.0.1:" + port,
		"--listen-peer-urls", at, "--initial-advertise-peer-urls", at, "--initial-cluster", "default=" + at}})
}

// master starts one, in a network namespace of its own if that can be.
func (s *system) master(binary string, i int) (wire string, err error) {
	host, etcd, namespace := "127.0.0.1", "127.0.0.1", ""
	if s.namespaces {
		namespace = fmt.Sprintf("ekc%d-%d", os.Getpid()%100000, i)
		veth := fmt.Sprintf("ekv%d-%d", os.Getpid()%100000, i)
		etcd, host = fmt.Sprintf("10.214.%d.1", 10+i), fmt.Sprintf("10.214.%d.2", 10+i)
		s.undo = append(s.undo, "ip netns delete "+namespace)
		for _, command := range []string{
			"ip netns add " + namespace,
			fmt.Sprintf("ip link add %s type veth peer name eth0 netns %s", veth, namespace),
			fmt.Sprintf("ip addr add %s/30 dev %s && ip link set %s up", etcd, veth, veth),
			fmt.Sprintf("ip netns exec %s sh -c 'ip addr add %s/30 dev eth0 && ip link set eth0 up && ip link set lo up'", namespace, host),
		} {
			if err := sh(command); err != nil {
				return "", err
			}
		}
	}
	port, err := freePort()
	if err != nil {
		return "", err
	}
	admin, err := freePort()
	if err != nil {
		return "", err
	}
	file := filepath.Join(s.dir, fmt.Sprintf("m%d.yaml", i+1))
	text := fmt.Sprintf("master: {id: m%d, election: {etcd: {endpoints: ['%s:%s']}}}\npools: {web: {grace: 2s}}\n", i+1, etcd, s.etcdPort)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return "", err
	}
	wire = host + ":" + port
	return wire, s.add(&part{role: "master", name: fmt.Sprintf("m%d", i+1), namespace: namespace, program: binary, listen: wire, admin: host + ":" + admin,
		args: []string{"master", "--config", file, "--listen", wire, "--admin", host + ":" + admin, "--insecure", "--log-format", "json"}})
}

func (s *system) server(binary, self string, i int, wires []string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	id, at := fmt.Sprintf("s%d", i+1), "127.0.0.1:"+port
	if err := s.add(&part{role: "server", name: id, program: self, listen: at, args: []string{"-serve", at, "-record", s.record(i)}}); err != nil {
		return err
	}
	return s.add(&part{role: "agent", name: "agent of " + id, program: binary, args: append([]string{"agent", "--pool", "web", "--id", id, "--address", at, "--admin", "off",
		"--sample=false", "--insecure", "--log-format", "json"}, wires...)})
}

func (s *system) record(i int) string { return filepath.Join(s.dir, fmt.Sprintf("s%d.record", i+1)) }

func (s *system) edge(binary string, i int, wires []string) error {
	listen, err := freePort()
	if err != nil {
		return err
	}
	admin, err := freePort()
	if err != nil {
		return err
	}
	id := fmt.Sprintf("edge-%d", i+1)
	file := filepath.Join(s.dir, id+".yaml")
	var list []string
	for j := 1; j < len(wires); j += 2 {
		list = append(list, "'"+wires[j]+"'")
	}
	text := fmt.Sprintf("edge: {id: %s, insecure: true, masters: [%s], listeners: [{listen: '127.0.0.1:%s', routes: [{pool: web}]}]}\n", id, strings.Join(list, ", "), listen)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	return s.add(&part{role: "edge", name: id, program: binary, listen: "127.0.0.1:" + listen, admin: "127.0.0.1:" + admin,
		args: []string{"edge", "--config", file, "--admin", "127.0.0.1:" + admin, "--access-log", "off", "--log-format", "json"}})
}

func (s *system) of(role string) (all []*part) {
	for _, p := range s.parts {
		if p.role == role {
			all = append(all, p)
		}
	}
	return all
}

// end stops everything and takes the namespaces away.
func (s *system) end() error {
	for i := len(s.parts) - 1; i >= 0; i-- {
		s.parts[i].kill()
	}
	var errs []error
	for _, command := range s.undo {
		errs = append(errs, sh(command))
	}
	return errors.Join(errs...)
}

// rest waits until one master leads, knows all servers, and has no lease open, and no
// edge is working; an error tells what is not so in the end.
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
	leaders := 0
	for _, m := range s.of("master") {
		got, err := m.metrics("evenkeel_pool_leader", "evenkeel_leases_open", "evenkeel_server_up")
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", m.name, err)
		case got["evenkeel_server_up"] != servers:
			return fmt.Errorf("%s knows %v of %d servers", m.name, got["evenkeel_server_up"], servers)
		case got["evenkeel_leases_open"] != 0:
			return fmt.Errorf("%s has %v leases open at rest", m.name, got["evenkeel_leases_open"])
		}
		leaders += int(got["evenkeel_pool_leader"])
	}
	if leaders != 1 {
		return fmt.Errorf("%d masters lead the pool at rest", leaders)
	}
	for _, e := range s.of("edge") {
		got, err := e.metrics("evenkeel_edge_in_flight")
		if err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		if n := got["evenkeel_edge_in_flight"]; n != 0 {
			return fmt.Errorf("%s has %v requests under way at rest", e.name, n)
		}
	}
	return nil
}
