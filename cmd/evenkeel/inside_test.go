package main

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
)

// Where a component of ours listens is no server, whichever peer says so: clients would reach what only
// operators may.
func TestComponentsAreNoServers(t *testing.T) {
	m := start(t, "master", "--pool", "web", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	wire, admin := m.serving()
	_, port, err := net.SplitHostPort(admin)
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{admin, "localhost:" + port, wire} {
		a := start(t, "agent", "--pool", "web", "--id", "rogue", "--master", wire, "--address", address, "--admin", "off", "--health", "off", "--sample=false")
		a.serving()
		r := a.record("no connection to the master, trying again")
		if err, _ := r["err"].(string); !strings.Contains(err, "one of our own components") {
			t.Errorf("an agent for %s is told %v", address, r)
		}
	}
	eventually(t, "the master counts them", func() (string, bool) {
		_, body := get(t, "http://"+admin+"/metrics")
		return "not counted", strings.Contains(body, `evenkeel_peers_refused_total{reason="wrong-address"} `) && !strings.Contains(body, `evenkeel_peers_refused_total{reason="wrong-address"} 0`)
	})
}

// A master elsewhere does not know where an edge has its admin address, but the edge does.
func TestAnEdgeLeadsNobodyToItself(t *testing.T) {
	own := freeport.Address(t)
	_, port, _ := net.SplitHostPort(own)
	m := start(t, "master", "--listen", "127.0.0.1:0", "--admin", "off", "--server", "http://"+own+",pool=number", "--server", "http://localhost:"+port+",pool=name", "--pool", "number", "--pool", "name")
	wire, _ := m.serving()
	e := start(t, "edge", "--master", wire, "--listen", "127.0.0.1:0", "--admin", own, "--route", "/number=number", "--route", "/=name")
	listen, _ := e.serving()
	if status, _ := get(t, "http://"+own+"/metrics"); status != http.StatusOK {
		t.Fatalf("the edge's own address answers %d", status)
	}
	for _, path := range []string{"/number", "/metrics"} {
		eventually(t, "an answer for "+path, func() (string, bool) {
			status, body := get(t, "http://"+listen+path)
			if status < http.StatusInternalServerError || strings.Contains(body, "evenkeel_edge_") {
				t.Fatalf("%s: the edge has led a client to itself: %d\n%s", path, status, body)
			}
			return body, status == http.StatusBadGateway || status == http.StatusServiceUnavailable
		})
	}
}
