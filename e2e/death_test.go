package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/echo"
	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/load"
	"github.com/evenkeel-lb/evenkeel/internal/proc"
)

// Masters, edges, servers and agents die under load.

const work = 10 * time.Millisecond

// The master is killed again and again: no request fails, both edges say that they are
// on their own, and when it is back it knows every lease and every server.
func TestMasterKilled(t *testing.T) {
	kills, perSecond := whenLong(2, 20), rate(150, 2000)
	down := whenLong(500*time.Millisecond, 2500*time.Millisecond)
	_, entries := servers(t, 4, 16)
	holder := startServer(t, "holder", "--slots", "1000")
	m := startFixedMaster(t, fmt.Sprintf("pools:\n  web: {servers: %s}\n  held: {servers: [{id: holder, address: %q, slots: 1000}]}\n", entries, holder.Addr("listen")))
	e1, e2 := edgeAt(t, m, "e1", "web", "held"), edgeAt(t, m, "e2", "web", "held")
	joined := startServer(t, "joined", "--slots", "16")
	startAgent(t, m.master, "web", "joined", joined)
	awaitServers(t, m.master, "web", 5)
	const held = 20
	hold(t, e1, "held", held)
	hold(t, e2, "held", held)
	awaitOpen(t, m.master, "held", 2*held)

	r := startTraffic(t, perSecond, work, e1, e2)
	r.settle(time.Second)
	var gaps []load.Result
	var slowestSign, slowestLedger time.Duration
	for range kills {
		m.Kill()
		killed := time.Now()
		slowestSign = max(slowestSign, degraded(t, e1, e2))
		r.settle(down)
		m.again()
		back := time.Now()
		gaps = append(gaps, r.within(killed, back)...)
		slowestLedger = max(slowestLedger, awaitOpen(t, m.master, "held", 2*held))
		awaitServers(t, m.master, "web", 5)
		r.settle(whenLong(200*time.Millisecond, 1500*time.Millisecond))
	}
	all := r.everything()
	r.stop()
	noFailures(t, all)
	awaitOpen(t, m.master, "web", 0)
	awaitOpen(t, m.master, "held", 2*held)

	n, _ := failures(all)
	figure(t, "master killed: kills", float64(kills), "", "")
	figure(t, "master killed: requests a second", perSecond, "/s", "")
	figure(t, "master killed: requests", float64(len(all)), "", "")
	figure(t, "master killed: requests that failed", float64(n), "", "<=0")
	figure(t, "master killed: requests without a master", float64(len(gaps)), "", "")
	normal := p99(except(all, gaps))
	figure(t, "master killed: p99 while it is there", milliseconds(normal), "ms", "")
	figure(t, "master killed: p99 while it is gone, above that", milliseconds(p99(gaps)-normal), "ms", "<=50")
	figure(t, "master killed: until edges say so, slowest", milliseconds(slowestSign), "ms", "<=2000")
	figure(t, "master killed: until the ledger is exact again, slowest", milliseconds(slowestLedger), "ms", "<=1000")
}

// All servers come by agents, which a new master hears of only when they are back: until
// then edges know more than it does. No request fails, and leases that are open at servers
// of which it has not heard yet are not forgotten.
func TestMasterKilledThatLearnsOfServersByAgents(t *testing.T) {
	kills, perSecond := whenLong(2, 20), rate(150, 1000)
	m := startFixedMaster(t, "pools: {web: {}, held: {}}")
	e1, e2 := edgeAt(t, m, "e1", "web", "held"), edgeAt(t, m, "e2", "web", "held")
	const n, held = 4, 20
	for i := range n {
		id := fmt.Sprintf("s%d", i+1)
		startAgent(t, m.master, "web", id, startServer(t, id, "--slots", "16"), "--slots", "16")
	}
	startAgent(t, m.master, "held", "holder", startServer(t, "holder", "--slots", "1000"), "--slots", "1000")
	awaitServers(t, m.master, "web", n)
	awaitServers(t, m.master, "held", 1)
	hold(t, e1, "held", held)
	hold(t, e2, "held", held)
	awaitOpen(t, m.master, "held", 2*held)
	r := startTraffic(t, perSecond, work, e1, e2)
	r.settle(time.Second)
	var slowest time.Duration
	for range kills {
		m.Kill()
		degraded(t, e1, e2)
		r.settle(whenLong(time.Second, 2500*time.Millisecond)) // edges and agents look for it more and more seldom
		m.again()
		slowest = max(slowest, awaitOpen(t, m.master, "held", 2*held))
		awaitServers(t, m.master, "web", n)
		r.settle(whenLong(200*time.Millisecond, time.Second))
	}
	all := r.everything()
	r.stop()
	noFailures(t, all)
	awaitOpen(t, m.master, "web", 0)
	failed, _ := failures(all)
	figure(t, "master killed, servers by agents: kills", float64(kills), "", "")
	figure(t, "master killed, servers by agents: requests", float64(len(all)), "", "")
	figure(t, "master killed, servers by agents: requests that failed", float64(failed), "", "<=0")
	figure(t, "master killed, servers by agents: until the ledger is exact again, slowest", milliseconds(slowest), "ms", "<=1000")
}

// except returns those of all that are not among some.
func except(all, some []load.Result) (rest []load.Result) {
	without := make(map[int]bool, len(some))
	for _, r := range some {
		without[r.Index] = true
	}
	for _, r := range all {
		if !without[r.Index] {
			rest = append(rest, r)
		}
	}
	return rest
}

// degraded waits until edges say that no master answers, by metric, log and API, and
// returns how long that took.
func degraded(t testing.TB, edges ...*proc.Process) time.Duration {
	t.Helper()
	began := time.Now()
	for _, e := range edges {
		eventually(t, func() (bool, string) {
			value, _ := metric(t, e.Addr("admin"), "evenkeel_edge_master_connected")
			ready := get(t, "http://"+e.Addr("admin")+"/readyz")
			return value == "0" && ready.StatusCode == http.StatusOK && strings.HasPrefix(string(ready.body), "degraded") &&
					strings.Contains(e.Log(), "no connection to the master"),
				fmt.Sprintf("%s: connected is %q, readyz says %d %q", e.Name, value, ready.StatusCode, ready.body)
		})
	}
	return time.Since(began)
}

// All masters are gone for a long time.
func TestMasterGoneForLong(t *testing.T) {
	_, entries := servers(t, 3, 16)
	m := startFixedMaster(t, "pools: {web: {servers: "+entries+"}}")
	e1, e2 := edgeAt(t, m, "e1", "web"), edgeAt(t, m, "e2", "web")
	r := startTraffic(t, rate(100, 1000), work, e1, e2)
	r.settle(500 * time.Millisecond)
	m.Kill()
	killed := time.Now()
	r.settle(whenLong(2*time.Second, time.Minute))
	gap := r.within(killed, time.Now())
	r.stop()
	noFailures(t, gap)
	n, _ := failures(gap)
	figure(t, "all masters gone: requests in that time", float64(len(gap)), "", "")
	figure(t, "all masters gone: requests that failed", float64(n), "", "<=0")
}

// An edge is killed: its leases end when their grace is over, and the other edge's
// clients do not notice.
func TestEdgeKilled(t *testing.T) {
	_, entries := servers(t, 3, 16)
	holder := startServer(t, "holder", "--slots", "1000")
	grace := whenLong(time.Second, 5*time.Second)
	m := startFixedMaster(t, fmt.Sprintf("pools:\n  web: {servers: %s}\n  held: {grace: %s, servers: [{id: holder, address: %q, slots: 1000}]}\n", entries, grace, holder.Addr("listen")))
	e1 := edgeAt(t, m, "e1", "web", "held")
	e2 := start(t, append([]string{"edge", "--id", "e2", "--master", m.wire, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--access-log", "off", "--pool", "held"}, m.proofs(t, "e2")...)...)
	const held = 20
	hold(t, e1, "held", held)
	lost := startLost(t, e2, held)
	awaitOpen(t, m.master, "held", 2*held)
	r := startTraffic(t, rate(100, 1000), work, e1)
	r.settle(500 * time.Millisecond)
	e2.Kill()
	took := awaitOpen(t, m.master, "held", held)
	lost()
	r.settle(500 * time.Millisecond)
	all := r.everything()
	r.stop()
	noFailures(t, all)
	figure(t, "edge killed: until its leases have ended, beyond the grace of "+grace.String(), milliseconds(took-grace), "ms", "<=500")
	n, _ := failures(all)
	figure(t, "edge killed: requests through the other", float64(len(all)), "", "")
	figure(t, "edge killed: of these failed", float64(n), "", "<=0")
}

// startLost opens n requests through an edge that is about to be killed.
func startLost(t testing.TB, edge *proc.Process, n int) (wait func()) {
	ended := make(chan struct{}, n)
	for range n {
		go func() {
			defer func() { ended <- struct{}{} }()
			req, _ := http.NewRequest("GET", "http://"+edge.Addr("listen")+"/held", nil)
			req.Header.Set("Sample-Work", "3600")
			if resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req); err == nil {
				resp.Body.Close()
			}
		}()
	}
	return func() {
		for range n {
			<-ended
		}
	}
}

// A server is killed under load, and comes back: requests that may be tried elsewhere
// are, it is out of rotation at once, and its share grows gradually.
func TestServerKilled(t *testing.T) {
	slots, perSecond := whenLong(2, 4), whenLong(240., 480) // servers are busy for .6 of the time, so that each is needed
	all, _ := servers(t, 3, slots)
	address := freeport.Address(t)
	startVictim := func() *proc.Process {
		return start(t, "sample-server", "--listen", address, "--id", "victim", "--slots", fmt.Sprint(slots))
	}
	victim := startVictim()
	entries := fmt.Sprintf("{id: victim, address: %q, slots: %d}", address, slots)
	for _, s := range all {
		entries += fmt.Sprintf(", {id: %s, address: %q, slots: %d}", name(s), s.Addr("listen"), slots)
	}
	m := startFixedMaster(t, "pools: {web: {servers: ["+entries+"]}}")
	e1, e2 := edgeAt(t, m, "e1", "web"), edgeAt(t, m, "e2", "web")
	r := startShortAnswers(t, perSecond, 2*work, e1, e2)
	r.settle(500 * time.Millisecond)
	kills := whenLong(1, 5)
	var slowestOut, slowestBack time.Duration
	for range kills {
		victim.Kill()
		killed := time.Now()
		eventually(t, func() (bool, string) {
			s := server(t, m.master, "web", "victim").State
			return s == "ejected", "the dead server is " + s
		})
		slowestOut = max(slowestOut, time.Since(killed))
		if !*long {
			break // its return is waited for by seconds
		}
		r.settle(3 * time.Second)
		victim = startVictim()
		back := time.Now()
		eventually(t, func() (bool, string) {
			n := served(t, victim, "/")
			return n > 0, fmt.Sprintf("the server has had %d requests since its return", n)
		})
		slowestBack = max(slowestBack, time.Since(back))
		r.settle(3 * time.Second)
	}
	r.settle(500 * time.Millisecond)
	got := r.everything()
	r.stop()
	noFailures(t, got)
	tellVerdicts(t, m, e1, e2)
	n, _ := failures(got)
	figure(t, "server killed: kills", float64(kills), "", "")
	figure(t, "server killed: requests, all of which may be tried again", float64(len(got)), "", "")
	figure(t, "server killed: requests that failed", float64(n), "", "<=0")
	figure(t, "server killed: until it is out of rotation, slowest", milliseconds(slowestOut), "ms", "<=1000")
	if *long {
		figure(t, "server killed: from its return to its first request, slowest", milliseconds(slowestBack), "ms", "")
	}
}

// tellVerdicts logs, for a test that has failed, what became of asks and requests.
func tellVerdicts(t testing.TB, m *fixedMaster, edges ...*proc.Process) {
	if !t.Failed() {
		return
	}
	at := []string{m.admin}
	for _, e := range edges {
		at = append(at, e.Addr("admin"))
	}
	for _, at := range at {
		for line := range strings.Lines(string(get(t, "http://"+at+"/metrics").body)) {
			if strings.Contains(line, "picks_total{") || strings.Contains(line, "requests_total{") || strings.Contains(line, "retries_total{") || strings.Contains(line, "waits_total{") {
				t.Log(strings.TrimSpace(line))
			}
		}
	}
}

// A server that answers errors at once looks idle, and gets no more for it: neither for its
// own faults, nor for saying that it is full, nor for errors that it lays at the clients' door.
func TestFastErrorsAttractNothing(t *testing.T) {
	for _, status := range []int{http.StatusInternalServerError, http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusNotFound} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			testFastErrorsAttractNothing(t, status)
		})
	}
}

func testFastErrorsAttractNothing(t *testing.T, status int) {
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Evenkeel-Server", "broken")
		w.Header().Set("Retry-After", "5")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "broken")
	}))
	t.Cleanup(broken.Close)
	_, entries := servers(t, 3, 16)
	entries = fmt.Sprintf("[{id: broken, address: %q, slots: 16}, %s", strings.TrimPrefix(broken.URL, "http://"), entries[1:])
	m := startFixedMaster(t, "pools: {web: {servers: "+entries+"}}")
	e := edgeAt(t, m, "e1", "web")
	r := startTraffic(t, rate(100, 500), work, e)
	r.settle(whenLong(2*time.Second, 20*time.Second))
	r.stop()
	all := r.everything()
	n, _ := failures(all)
	share := float64(n) / float64(len(all))
	figure(t, fmt.Sprintf("fast errors %d: requests", status), float64(len(all)), "", "")
	figure(t, fmt.Sprintf("fast errors %d: share that got one; fair would be a quarter", status), share, "", "<=0.25")
	if share > .25 {
		t.Errorf("a server that answers %d at once got %.0f %% of %d requests, want no more than its fair quarter", status, 100*share, len(all))
	}
}

// An edge that trusts the wrong authority reaches none of the servers that speak TLS. That is
// nothing to the other edge: none of them is ejected, and the master says who cannot reach what.
func TestOneEdgesWrongCATroublesNoOther(t *testing.T) {
	var entries []string
	var trusted, few []byte // by the good edge, and by the bad one: the last two servers' certificates, as a request is tried three times
	dir := t.TempDir()
	for i := range 4 {
		id := fmt.Sprintf("s%d", i+1)
		cert, text := selfSigned(t)
		s := httptest.NewUnstartedServer(echo.Handler(id))
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		s.StartTLS()
		t.Cleanup(s.Close)
		trusted = append(trusted, text...)
		if i >= 2 {
			few = append(few, text...)
		}
		for name, text := range map[string][]byte{"good.pem": trusted, "bad.pem": few} {
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		entries = append(entries, fmt.Sprintf("{id: %s, address: %q}", id, s.URL))
	}
	m := startFixedMaster(t, "pools: {web: {servers: ["+strings.Join(entries, ", ")+"]}}")
	edge := func(id string) *proc.Process {
		yaml := fmt.Sprintf("edge: {connect_timeout: 1m, listeners: [{listen: 127.0.0.1:0, routes: [{pool: web, server_tls: {ca: %s, server_name: back.test}}]}]}", filepath.Join(dir, id+".pem"))
		return start(t, append([]string{"edge", "--config", file(t, yaml), "--id", id, "--master", m.wire, "--admin", "127.0.0.1:0", "--access-log", "off"}, m.proofs(t, id)...)...)
	}
	good, bad := edge("good"), edge("bad")
	toGood, toBad := startTraffic(t, 100, work, good), startTraffic(t, 30, work, bad)
	toGood.settle(whenLong(2*time.Second, 20*time.Second))
	toGood.stop()
	state := string(get(t, "http://"+m.admin+"/v1/pools/web").body)
	said, _ := m.evenkeel("status")
	toBad.stop()
	by := func(r *traffic) map[string]int {
		all := r.everything()
		noFailures(t, all)
		servers := make(map[string]int)
		for _, res := range all {
			servers[res.Server]++
		}
		return servers
	}
	if got := by(toGood); len(got) != 4 {
		t.Errorf("the good edge's requests were answered by %v, want all four servers", got)
	}
	if got := by(toBad); len(got) != 2 || got["s3"] == 0 || got["s4"] == 0 {
		t.Errorf("the bad edge's requests were answered by %v, want only the two that it can reach", got)
	}
	if n := strings.Count(state, `"state":"up"`); n != 4 {
		t.Errorf("%d servers are up, want all four: %s", n, state)
	}
	for i := range 2 {
		if want := fmt.Sprintf("server s%d of pool web: unreachable-from-edge since ", i+1); !strings.Contains(said, want) {
			t.Errorf("evenkeel status does not say %q:\n%s", want, said)
		}
	}
	if n := strings.Count(state, `"by":"edge bad"`); n != 2 || !strings.Contains(state, "x509") {
		t.Errorf("the master says of %d servers that they are excluded for the edge, want two, and why: %s", n, state)
	}
}

// selfSigned makes a certificate for back.test, and its text.
func selfSigned(t *testing.T) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	who := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "back.test"}, DNSNames: []string{"back.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, who, who, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// All agents stand still, so that every report is stale: no server is dropped for silence, and no server
// draws a herd.
func TestStaleReports(t *testing.T) {
	const n = 5
	slots, perSecond := whenLong(2, 8), whenLong(140., 560) // servers are busy for .7 of the time, so that each is needed
	m := startFixedMaster(t, "master: {open_pools: true}")
	e1, e2 := edgeAt(t, m, "e1", "web"), edgeAt(t, m, "e2", "web")
	var agents []*proc.Process
	for i := range n {
		id := fmt.Sprintf("s%d", i+1)
		s := startServer(t, id, "--slots", fmt.Sprint(slots))
		agents = append(agents, startScrapingAgent(t, m.master, "web", id, s))
	}
	awaitServers(t, m.master, "web", n)
	r := startTraffic(t, perSecond, 5*work, e1, e2)
	r.settle(whenLong(time.Second, 5*time.Second))
	for _, a := range agents {
		if err := a.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	stopped := time.Now()
	r.settle(whenLong(2*time.Second, 15*time.Second))
	silent := r.within(stopped, time.Now())
	up := 0
	for _, s := range pool(t, m.master, "web").Servers {
		t.Logf("%s while its agent is silent: %s, load %.1f, slots %.1f", s.ID, s.State, s.Load, s.Slots)
		if s.State == "up" {
			up++
		}
	}
	for _, a := range agents {
		a.Kill()
	}
	dead := time.Now()
	r.settle(whenLong(time.Second, 5*time.Second))
	gone := r.within(dead, time.Now())
	r.stop()
	noFailures(t, r.everything())
	tellVerdicts(t, m, e1, e2)
	if up != n {
		t.Errorf("%d servers are up while their agents are silent, want %d", up, n)
	}
	for what, all := range map[string][]load.Result{"silent": silent, "dead": gone} {
		worst := 0
		by := make(map[string]int)
		for _, res := range all {
			by[res.Server]++
			worst = max(worst, by[res.Server])
		}
		times := float64(worst) * n / float64(len(all))
		figure(t, "agents "+what+": most that a server got, in fair shares", times, "", "<=2")
		if times > 2 {
			t.Errorf("agents %s: one server got %.1f times its fair share: %v", what, times, by)
		}
	}
}

// A server that stands still with requests on it gets nothing new after five seconds, which
// status says, and its share again when it goes on. No request through it is cut.
func TestServerStandsStill(t *testing.T) {
	t.Parallel()
	all, entries := servers(t, 3, 100)
	m := startFixedMaster(t, "pools: {web: {servers: "+entries+"}}")
	e := edgeAt(t, m, "e1", "web")
	r := startTraffic(t, 60, 10*time.Millisecond, e)
	r.settle(time.Second)
	if err := all[0].Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (bool, string) {
		out := outages(t, m)["s1"]
		return out.Reason == "silent", fmt.Sprintf("s1 is %+v", out)
	})
	held := server(t, m.master, "web", "s1").InFlight
	if held == 0 {
		t.Error("s1 has no requests, so it was no standing still")
	}
	r.settle(time.Second)
	if now := server(t, m.master, "web", "s1").InFlight; now > held {
		t.Errorf("s1 has %d requests, and had %d when it was found to stand still", now, held)
	}
	if err := all[0].Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() (bool, string) {
		out, is := outages(t, m)["s1"]
		return !is, fmt.Sprintf("s1 is %+v", out)
	})
	answers := r.everything()
	r.stop()
	noFailures(t, answers)
}
