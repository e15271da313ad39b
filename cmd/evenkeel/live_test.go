package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/agent"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/selfsigned"
)

// holds fails the test if a text lacks one of some words.
func holds(t *testing.T, said string, words ...string) {
	t.Helper()
	for _, want := range words {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
}

// tlsServer is a server with a certificate for some names, and the file of its authority.
func tlsServer(t *testing.T, names ...string) (address, ca string) {
	t.Helper()
	cert, key, err := selfsigned.Files(t.TempDir(), names...)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String(), cert
}

// What of the servers cannot be reached, does not prove itself or fails its check is told with its line, its cause and what to do.
func TestCheckLiveReachesServers(t *testing.T) {
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	good, ca := tlsServer(t, "127.0.0.1")
	misnamed, otherCA := tlsServer(t, "elsewhere.example")
	gone := freeport.Address(t)
	route := func(pool, ca string) string {
		return fmt.Sprintf("      - { path: /%s, pool: %s, server_tls: { ca: %q } }\n", pool, pool, ca)
	}
	code, said := checked(t, "pools:\n"+
		fmt.Sprintf("  plain: { servers: [ { id: up, address: %q }, { id: gone, address: %q } ] }\n", plain.Listener.Addr(), gone)+
		"  named: { servers: [ { id: nowhere, address: \"server.invalid:80\" } ] }\n"+
		fmt.Sprintf("  checked: { health: { http: /healthz }, servers: [ { id: sick, address: %q } ] }\n", plain.Listener.Addr())+
		fmt.Sprintf("  good: { servers: [ { id: good, address: %q } ] }\n", good)+
		fmt.Sprintf("  misnamed: { servers: [ { id: misnamed, address: %q } ] }\n", misnamed)+
		fmt.Sprintf("  foreign: { servers: [ { id: foreign, address: %q } ] }\n", good)+
		fmt.Sprintf("  deaf: { servers: [ { id: deaf, address: %q } ] }\n", plain.Listener.Addr())+
		"edge:\n  listeners:\n  - listen: 127.0.0.1:0\n    routes:\n"+
		route("good", ca)+route("misnamed", otherCA)+route("foreign", otherCA)+route("deaf", ca)+
		"      - { pool: plain }\n", "--live")
	if code != exitTrouble {
		t.Errorf("exit code %d, want %d", code, exitTrouble)
	}
	holds(t, said, "f.yaml has no problem by itself; found now: 6",
		"f.yaml:2: pools.plain.servers[1].address: server gone of pool plain at "+gone+": nothing listens there (connection refused)\n  hint: start the server",
		"f.yaml:3: pools.named.servers[0].address: server nowhere of pool named at server.invalid:80: the server's name leads nowhere", "hint: mend the name",
		"f.yaml:4: pools.checked.servers[0].address: server sick of pool checked at "+plain.Listener.Addr().String()+": GET /healthz answered 404\n  hint: the server is up",
		"f.yaml:6: pools.misnamed.servers[0].address: ", "hint: server_tls.server_name has to be a name that the certificate is for: elsewhere.example",
		"f.yaml:7: pools.foreign.servers[0].address: ", "hint: server_tls.ca has to name the authority",
		"f.yaml:8: pools.deaf.servers[0].address: ", "hint: the server speaks no TLS",
		"2 of 8 servers can be reached from this machine")
	if strings.Contains(said, "server good") || strings.Contains(said, "server up") {
		t.Errorf("it finds fault with a good server:\n%s", said)
	}
}

// Of certificates that end soon, have ended or begin later, their dates are told; only those that harm requests fail the check.
func TestCheckLiveLooksAtDates(t *testing.T) {
	cert, key, err := selfsigned.Files(t.TempDir(), "www.example") // it has begun an hour ago and is good for a day
	if err != nil {
		t.Fatal(err)
	}
	address, ca := tlsServer(t, "127.0.0.1")
	path := filepath.Join(t.TempDir(), "f.yaml")
	write(t, path, fmt.Sprintf("pools: { web: { servers: [ { id: w, address: %q } ] } }\nedge:\n  listeners:\n  - listen: 127.0.0.1:0\n    tls: { certificates: [ { cert: %q, key: %q } ] }\n    routes: [ { pool: web, server_tls: { ca: %q } } ]\n", address, cert, key, ca))
	s, err := settings.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		later  time.Duration
		says   string
		harmed bool
	}{
		{0, "", false},
		{20 * time.Hour, "ends at ", false},
		{23 * time.Hour, "ends at ", true},
		{30 * time.Hour, "ended at ", true},
		{-30 * time.Hour, "begins at ", true},
	} {
		all, _ := checkLive(context.Background(), s, time.Now().Add(c.later))
		if c.says == "" && len(all) > 0 || c.says != "" && len(all) != 3 {
			t.Errorf("in %v: found %+v, want the listener's certificate, the authority of the servers and what the server shows", c.later, all)
		}
		for _, f := range all {
			if !strings.Contains(f.what, c.says) || f.harmed != c.harmed || f.cure == "" {
				t.Errorf("in %v: found %+v, want %q, harmed %t", c.later, f, c.says, c.harmed)
			}
		}
	}
}

// An edge's file is held against its masters: whether they answer, who they are, which pools they have, and whether the edge reaches the
// servers of these.
func TestCheckLiveAsksMasters(t *testing.T) {
	dir, flags := certificates(t)
	other, _ := certificates(t)
	up, gone := server(t, "up"), freeport.Address(t)
	m := start(t, append([]string{"master", "--config", masterFile(t, "web", strings.TrimPrefix(up, "http://"), gone), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, flags("master", "m1")...)...)
	wire, _ := m.serving()
	file := func(masters, certs, role string, pools ...string) string {
		text := fmt.Sprintf("edge:\n  masters: [ %s ]\n  tls: { cert: %q, key: %q, ca: %q }\n  listeners:\n  - listen: 127.0.0.1:0\n    routes:\n",
			masters, filepath.Join(certs, role+".crt"), filepath.Join(certs, role+".key"), filepath.Join(certs, "ca.crt"))
		for _, pool := range pools {
			text += fmt.Sprintf("    - { path: /%s, pool: %s }\n", pool, pool)
		}
		return text
	}
	code, said := checked(t, file(fmt.Sprintf("%q, %q", wire, gone), dir, "edge-e1", "web", "empty", "wbe"), "--live")
	if code != exitTrouble {
		t.Errorf("exit code %d, want %d", code, exitTrouble)
	}
	holds(t, said, "f.yaml:2: edge.masters[1]: master "+gone+": nothing listens there",
		"f.yaml:9: edge.listeners[0].routes[2].pool: no master has pool \"wbe\"", "hint: name a pool that it has",
		"f.yaml:8: edge.listeners[0].routes[1].pool: warning: pool empty has no server now",
		"pool web: the master has 2 servers", "f.yaml:7: edge.listeners[0].routes[0].pool: server gone of pool web at "+gone+": nothing listens there", "1 of 2 servers can be reached")
	if code, said = checked(t, file(fmt.Sprintf("%q", wire), dir, "edge-e1", "empty"), "--live"); code != exitFine {
		t.Errorf("with a warning alone: exit code %d: %s", code, said)
	}
	if code, said = checked(t, file(fmt.Sprintf("%q", wire), other, "edge-e1", "web"), "--live"); code != exitTrouble {
		t.Errorf("with another authority: exit code %d", code)
	}
	holds(t, said, "f.yaml:2: edge.masters[0]: master "+wire+": ", "hint: evenkeel certs show FILE")
	if code, said = checked(t, file(fmt.Sprintf("%q", wire), dir, "agent-r1", "web"), "--live"); code != exitTrouble {
		t.Errorf("with an agent's certificate: exit code %d", code)
	}
	holds(t, said, "f.yaml:3: edge.tls: ", "is for agent r1, and this is the edge role")
	if log := m.log(); !strings.Contains(log, "e1~check") {
		t.Errorf("the master does not tell the check from the edge:\n%s", log)
	}
}

// masterFile is a master's file with a pool of two servers, called up and gone, and an empty one.
func masterFile(t *testing.T, pool, up, gone string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "master.yaml")
	write(t, path, fmt.Sprintf("pools:\n  empty: {}\n  %s: { servers: [ { id: up, address: %q }, { id: gone, address: %q } ] }\n", pool, up, gone))
	return path
}

// The addresses of a process of ours that runs are no problem: a reload has it read the file, with the sockets that it has.
func TestCheckLiveKnowsOurOwnProcesses(t *testing.T) {
	runtimeFolder(t)
	at := freeport.Address(t)
	text := fmt.Sprintf("pools: { web: { servers: [ { address: %q } ] } }\nedge:\n  listeners: [ { listen: %q, routes: [ { pool: web } ] } ]\n", strings.TrimPrefix(server(t, "a"), "http://"), at)
	path := filepath.Join(t.TempDir(), "run.yaml")
	write(t, path, text+"master: { admin: \"127.0.0.1:0\", listen: \"127.0.0.1:0\" }\n")
	p := start(t, "run", "--config", path)
	p.serving()
	code, said := checked(t, text, "--live")
	if pid, _ := agent.WhoListens(portOf(t, at)); pid == 0 {
		t.Skip("SKIPPED: this system does not say who listens")
	}
	if code != exitFine {
		t.Errorf("exit code %d: %s", code, said)
	}
	holds(t, said, at+" (edge.listeners[0].listen) is held by ", "evenkeel reload --at ")
}

func portOf(t *testing.T, address string) uint16 {
	t.Helper()
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return at.Port()
}
