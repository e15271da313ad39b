package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/evenkeel-lb/evenkeel/internal/dnstest"
	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/load"
	"github.com/evenkeel-lb/evenkeel/internal/proc"
)

// Servers' names move, rotate, fail and lead to both families, as a DNS server of the tests' own answers them.

// serverAt runs a sample server at one address of this machine.
func serverAt(t testing.TB, id, host, port string) *proc.Process {
	t.Helper()
	return start(t, "sample-server", "--listen", net.JoinHostPort(host, port), "--id", id, "--slots", "64")
}

// freePort is a port of loopback that is free, most likely on all its addresses.
func freePort(t testing.TB) string { return port(freeport.Address(t)) }

// statusText is what evenkeel status says of a master.
func statusText(t testing.TB, admin string) string {
	t.Helper()
	out, _ := exec.Command(binary, "status", "--admin", admin).CombinedOutput() // 3 says that something is wrong
	return string(out)
}

// A name moves while its server is busy: new requests go where it leads, the old server keeps those that it has,
// and nothing fails. Then the name cannot be looked up, which is told and changes nothing.
func TestANameMovesUnderLoad(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"master", "edge"} {
		t.Run("resolve_at "+at, func(t *testing.T) {
			t.Parallel()
			testANameMovesUnderLoad(t, at)
		})
	}
}

func testANameMovesUnderLoad(t *testing.T, at string) {
	dns, port := dnstest.Start(t), freePort(t)
	old, next := serverAt(t, "old", "127.0.0.11", port), serverAt(t, "new", "127.0.0.12", port)
	dns.Set("app.test", time.Hour, "127.0.0.11")
	certs := t.TempDir()
	run(t, "certs", "init", "--dir", certs)
	tls, _ := issue(t, certs, "master", "m1")
	m := start(t, "master", "--config", file(t, fmt.Sprintf("master: {id: m1%s, resolvers: [%q]}\npools: {web: {resolve_at: %s, health: {http: /healthz}, servers: [{id: app, address: %q, slots: 64}]}}", tls, dns.Address, at, "app.test:"+port)),
		"--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	tls, _ = issue(t, certs, "edge", "e1")
	edge := start(t, "edge", "--config", file(t, fmt.Sprintf("edge: {id: e1%s, masters: [%q], resolvers: [%q], connect_timeout: 20s, listeners: [{listen: %q, h2c: true, routes: [{pool: web}, {path: /two, pool: web, server_protocol: h2}]}]}", tls, m.Addr("listen"), dns.Address, freeport.Address(t))),
		"--admin", "127.0.0.1:0", "--access-log", "off")
	root := "http://" + edge.Addr("listen") + "/"
	r := startTrace(t, []string{root}, byTwo(root, mixed(load100())))
	byNew := func() int { return served(t, next, "/") }
	eventually(t, func() (bool, string) {
		one, two := served(t, old, "/"), served(t, old, "/two")
		return one > 50 && two > 20, fmt.Sprintf("the first address has served %d and %d", one, two)
	})
	dns.Set("app.test", time.Hour, "127.0.0.12")
	moved := time.Now()
	eventually(t, func() (bool, string) {
		one, two := byNew(), served(t, next, "/two")
		return one > 0 && two > 0, fmt.Sprintf("the new address has served %d and %d", one, two)
	})
	took := time.Since(moved)
	r.settle(300 * time.Millisecond)
	r.flush() // requests that were on their way
	before := served(t, old, "/") + served(t, old, "/two")
	eventually(t, func() (bool, string) { n := byNew(); return n > 100, fmt.Sprintf("the new address has served %d", n) })
	if after := served(t, old, "/") + served(t, old, "/two"); after > before {
		t.Errorf("%d requests went to the old address when the name had moved", after-before)
	}
	old.Kill()
	dns.Answer("app.test", func() dnstest.Records { return dnstest.Records{Code: dnsmessage.RCodeServerFailure} })
	if at == "master" {
		eventually(t, func() (bool, string) {
			said := statusText(t, m.Addr("admin"))
			return strings.Contains(said, "name-fails") && strings.Contains(said, "server misbehaving"), said
		})
		if !strings.Contains(m.Log(), "a server's name cannot be looked up") || !strings.Contains(m.Log(), "a server's name leads elsewhere") {
			t.Error("the log does not say that the name has moved, and cannot be looked up")
		}
	} else {
		eventually(t, func() (bool, string) {
			said := edge.Log()
			return strings.Contains(said, "a server's name cannot be looked up"), "the edge's log does not say that the name cannot be looked up"
		})
	}
	count := byNew()
	eventually(t, func() (bool, string) {
		n := byNew()
		return n > count+100, fmt.Sprintf("the new address has served %d", n)
	})
	all := r.everything()
	r.stop()
	noFailures(t, all)
	noMixUps(t, all)
	figure(t, "resolve_at "+at+": a name has moved, and requests go there after", took.Seconds(), "s", "<=10")
}

// Answers that rotate, of two addresses out of three, make three servers, each of which keeps what is known of it.
func TestNamesThatRotate(t *testing.T) {
	t.Parallel()
	dns, port := dnstest.Start(t), freePort(t)
	var addrs []string
	for i := range 3 {
		addrs = append(addrs, fmt.Sprintf("127.0.0.%d", 21+i))
		serverAt(t, fmt.Sprintf("s%d", i), addrs[i], port)
	}
	asked := 0
	dns.Answer("app.test", func() dnstest.Records {
		asked++
		i := asked / 2 % 3 // both families are asked for at once
		return dnstest.Records{Addrs: []string{addrs[i], addrs[(i+1)%3]}, TTL: time.Second}
	})
	m := startMaster(t, fmt.Sprintf("pools: {web: {resolve: all, resolvers: [%q], servers: [{id: app, address: %q, slots: 64}]}}", dns.Address, "app.test:"+port))
	edge := startEdge(t, m, "e1", "web", "--access-log", "off")
	r := startTrace(t, rootsOf([]*proc.Process{edge}), mixed(load100()))
	granted := func() (least int, servers []serverView) {
		least = 1 << 30
		servers = pool(t, m, "web").Servers
		for _, s := range servers {
			least = min(least, s.Granted)
		}
		return least, servers
	}
	eventually(t, func() (bool, string) {
		least, servers := granted()
		return len(servers) == 3 && least > 0, fmt.Sprintf("%+v", servers)
	})
	// They come and go several times, and none is recreated.
	first, _ := granted()
	turns := dns.Asked("app.test")
	eventually(t, func() (bool, string) {
		n := dns.Asked("app.test") - turns
		return n >= 12, fmt.Sprintf("the name was asked for %d times", n)
	})
	last, servers := granted()
	if len(servers) != 3 || last <= first {
		t.Errorf("after the answers have rotated twice: %+v, want three servers that have got more than %d requests each", servers, first)
	}
	for i, s := range servers {
		if want := "app@" + addrs[i]; s.ID != want {
			t.Errorf("server %d is called %s, want %s", i, s.ID, want)
		}
	}
	all := r.everything()
	r.stop()
	noFailures(t, all)
	noMixUps(t, all)
	if got := strings.Count(m.Log(), "a name has an address more"); got != 3 {
		t.Errorf("the log tells of %d new servers, want 3", got)
	}
}

// A name with an address of each family is one server, that is reached by whichever it listens on.
func TestANameOfBothFamiliesIsOneServer(t *testing.T) {
	t.Parallel()
	if l, err := net.Listen("tcp6", "[::1]:0"); err != nil {
		t.Skip("no IPv6 here")
	} else {
		_ = l.Close()
	}
	for _, resolve := range []string{"one", "all"} {
		for _, host := range []string{"127.0.0.1", "::1"} {
			t.Run(resolve+" "+host, func(t *testing.T) {
				t.Parallel()
				dns, port := dnstest.Start(t), freePort(t)
				serverAt(t, "s", host, port)
				dns.Set("app.test", time.Second, "127.0.0.1", "::1")
				m := startMaster(t, fmt.Sprintf("pools: {web: {resolve: %s, resolvers: [%q], health: {tcp: true}, servers: [{id: app, address: %q}]}}", resolve, dns.Address, "app.test:"+port))
				awaitServers(t, m, "web", 1)
				edge := startEdge(t, m, "e1", "web")
				if by := burst(t, edge, "/", 40); by["s"] != 40 {
					t.Errorf("served by %v", by)
				}
				if servers := pool(t, m, "web").Servers; len(servers) != 1 || servers[0].State != "up" || servers[0].Granted != 40 {
					t.Errorf("got %+v", servers)
				}
			})
		}
	}
}

// What a client, an operator and the log are told of a name that leads nowhere.
func TestANameThatLeadsNowhere(t *testing.T) {
	t.Parallel()
	dns := dnstest.Start(t)
	port := freePort(t)
	p := start(t, "run", "--config", file(t, fmt.Sprintf("master: {resolvers: [%q]}\npools: {web: {servers: [{id: app, address: %q}]}}\nedge: {listeners: [{listen: %q, routes: [{pool: web}]}]}", dns.Address, "app.test:"+port, freeport.Address(t))), "--admin", "127.0.0.1:0")
	eventually(t, func() (bool, string) {
		said := statusText(t, p.Addr("admin"))
		return strings.Contains(said, "unhealthy since") && strings.Contains(said, "by its name; last error: app.test: no such host (asked "+dns.Address+")"), said
	})
	got := get(t, "http://"+p.Addr("listen")+"/")
	if got.StatusCode != 502 || !bytes.Contains(got.body, []byte(`"reason":"unresolved"`)) || !bytes.Contains(got.body, []byte("the server's name could not be resolved")) {
		t.Errorf("its client is answered %s %s", got.Status, got.body)
	}
	out, _ := exec.Command(binary, "explain", "--pool", "web", "--admin", p.Addr("admin")).CombinedOutput()
	if !strings.Contains(string(out), "app.test: no such host") {
		t.Errorf("explain says:\n%s", out)
	}
	if !strings.Contains(p.Log(), "app.test: no such host") {
		t.Error("the log does not tell of it")
	}
	serverAt(t, "late", "127.0.0.1", port)
	dns.Set("app.test", time.Second, "127.0.0.1", "127.0.0.9")
	eventually(t, func() (bool, string) {
		got := get(t, "http://"+p.Addr("listen")+"/")
		return got.StatusCode == 200 && got.server() == "late", fmt.Sprintf("%s %s", got.Status, got.body)
	})
	if said := statusText(t, p.Addr("admin")); !strings.Contains(said, "has 2 addresses, and 127.0.0.1:"+port+" is used") {
		t.Errorf("status does not say that the name has two addresses:\n%s", said)
	}
	if !strings.Contains(p.Log(), "has several addresses") {
		t.Error("the log does not say that the name has two addresses")
	}
}

func TestCheckSaysWhereNamesLead(t *testing.T) {
	dns := dnstest.Start(t)
	dns.Set("one.test", time.Second, "127.0.0.1")
	dns.Set("many.test", time.Second, "127.0.0.1", "127.0.0.2")
	_, port, _ := net.SplitHostPort(startServer(t, "s").Addr("listen"))
	name := file(t, fmt.Sprintf("master: {resolvers: [%q]}\npools:\n  a: {servers: [{address: \"one.test:%[2]s\"}, {address: \"many.test:%[2]s\"}, {address: \"none.test:%[2]s\"}]}\n  b: {resolve: all, servers: [{address: \"many.test:%[2]s\"}]}\n", dns.Address, port))
	check := exec.Command(binary, "check", "--live", name)
	out, _ := check.CombinedOutput()
	if code := check.ProcessState.ExitCode(); code != 3 { // one of the names leads nowhere
		t.Errorf("exit code %d, want 3", code)
	}
	for _, want := range []string{"pool a: one.test leads to 127.0.0.1\n", "pool a: many.test has 2 addresses, and one of them is used", "pool a: none.test leads nowhere from this machine: none.test: no such host", "pool b: many.test is 2 servers: 127.0.0.",
		name + ":3: pools.a.servers[2].address: server none.test:" + port + " of pool a at none.test:" + port + ": the server's name leads nowhere: none.test: no such host"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("check --live does not say %q:\n%s", want, out)
		}
	}
}

// A server that is a unix socket is checked, and served by HTTP/1.1 and HTTP/2, under load.
func TestAServerIsAUnixSocket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "ek") // a path of a test is too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "app.sock")
	server := start(t, "sample-server", "--listen", "unix:"+socket, "--id", "s", "--slots", "64")
	m := startMaster(t, fmt.Sprintf("pools: {web: {health: {http: /healthz}, servers: [{id: app, address: \"unix:%s\", slots: 64}]}}", socket))
	awaitServers(t, m, "web", 1)
	tls, _ := issue(t, m.certs, "edge", "e1")
	edge := start(t, "edge", "--config", file(t, fmt.Sprintf("edge: {id: e1%s, masters: [%q], listeners: [{listen: %q, h2c: true, routes: [{pool: web}, {path: /two, pool: web, server_protocol: h2}, {path: /sent, pool: web, link: redirect}]}]}", tls, m.Addr("listen"), freeport.Address(t))),
		"--admin", "127.0.0.1:0", "--access-log", "off")
	root := "http://" + edge.Addr("listen") + "/"
	r := startTrace(t, []string{root, root + "sent"}, byTwo(root, mixed(load100())))
	byUnix := &http.Client{Timeout: 2 * time.Minute, Transport: overUnix(socket)}
	count := func(path string) int {
		res, err := byUnix.Get("http://app/record")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var text bytes.Buffer
		_, _ = text.ReadFrom(res.Body)
		return strings.Count(text.String(), fmt.Sprintf("%q", path))
	}
	eventually(t, func() (bool, string) {
		one, two, sent := count("/"), count("/two"), count("/sent")
		return one > 50 && two > 50 && sent > 50, fmt.Sprintf("it has served %d, %d and %d", one, two, sent)
	})
	all := r.everything()
	r.stop()
	noFailures(t, all)
	noMixUps(t, all)
	server.Kill()
	eventually(t, func() (bool, string) {
		s := pool(t, m, "web").Servers[0]
		return s.State == "ejected", fmt.Sprintf("it does not run any more, and is %s", s.State)
	})
	if got := get(t, root); got.StatusCode != 502 {
		t.Errorf("it does not run any more: answered %s", got.Status)
	}
}

// load100 is a hundred requests a second, for longer than any test.
func load100() []load.Arrival {
	return load.LogNormal(1, 10*time.Minute, rate(100, 300), (2 * time.Millisecond).Seconds(), 0)
}

// byTwo has a third of the requests go to servers of HTTP/2, by a route of their own.
func byTwo(root string, trace []load.Arrival) []load.Arrival {
	for i := range trace {
		if i%3 == 0 {
			trace[i].Kind, trace[i].URL = load.HTTP2, root+"two"
		}
	}
	return trace
}

// overUnix connects to a unix socket, whatever it is asked for.
func overUnix(path string) *http.Transport {
	return &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
}
