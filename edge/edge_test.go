package edge

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/client"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eachPicker runs a test with a picker whose answers goroutines wait for, and with one whose connections the loops drive,
// in turns that are all taken for crowded.
func eachPicker(t *testing.T, test func(t *testing.T)) {
	t.Run("waited-for", test)
	t.Run(withDriver, test)
}

// withDriver is in the name of tests whose loops drive the picker's connections.
const withDriver = "driven"

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for limit := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("still not so after a minute: %s", what)
		}
	}
}

// fakePicker is a master whose word the test puts into its mouth.
type fakePicker struct {
	pick   func(ctx context.Context, req *balance.Request) (balance.Grant, error)
	snap   *balance.Snapshot // set before use
	from   time.Duration     // the trip from which the edge is to choose itself; zero: it asks. Set before use
	atOnce bool              // loops are told its answers at once, as by a master in the same process

	relayed func(balance.Grant) balance.Grant // what becomes of what is granted; nil: nothing. Set before use

	mu      sync.Mutex
	leases  balance.LeaseID
	asks    []balance.Request
	pools   []string // of the asks, and then of each lease's end
	granted map[balance.LeaseID]balance.ServerID
	chosen  int // leases of the edge's own choice
	done    map[balance.LeaseID][]balance.Outcome
	reports []balance.Report
	owed    []owed
	changed chan struct{} // closed and replaced at each grant, Done, Report and Owes
}

func newFakePicker() *fakePicker {
	return &fakePicker{granted: make(map[balance.LeaseID]balance.ServerID), done: make(map[balance.LeaseID][]balance.Outcome), changed: make(chan struct{})}
}

func (p *fakePicker) Pick(ctx context.Context, pool string, req *balance.Request) (balance.Grant, error) {
	p.note(pool, req)
	return p.answer(ctx, req)
}

// note remembers an ask, as a copy, for the edge may write over it once it is answered.
func (p *fakePicker) note(pool string, req *balance.Request) balance.Request {
	kept := *req
	kept.Exclude = slices.Clone(req.Exclude)
	for _, s := range []*string{&kept.Key, &kept.Tenant, &kept.Method, &kept.Host, &kept.Path, &kept.Class, &kept.Location} {
		*s = strings.Clone(*s)
	}
	kept.Labels = slices.Clone(req.Labels)
	for i, l := range kept.Labels {
		kept.Labels[i] = balance.Label{Key: l.Key, Value: strings.Clone(l.Value)}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asks = append(p.asks, kept)
	p.pools = append(p.pools, strings.Clone(pool))
	return kept
}

func (p *fakePicker) answer(ctx context.Context, req *balance.Request) (balance.Grant, error) {
	g, err := p.pick(ctx, req)
	if err != nil {
		return g, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.relayed != nil {
		g = p.relayed(g)
	}
	p.leases++
	g.Lease = p.leases
	p.granted[g.Lease] = g.Server
	p.tell()
	return g, nil
}

func (p *fakePicker) Done(pool string, lease balance.LeaseID, o balance.Outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done[lease] = append(p.done[lease], o)
	p.pools = append(p.pools, "done "+pool)
	p.tell()
}

func (p *fakePicker) Report(_ string, r balance.Report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reports = append(p.reports, r)
	p.tell()
}

// owed is what a picker was told of what the server of a lease owes.
type owed struct {
	lease balance.LeaseID
	owes  bool
}

func (p *fakePicker) Owes(_ string, lease balance.LeaseID, owes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owed = append(p.owed, owed{lease, owes})
	p.tell()
}

func (p *fakePicker) tell() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// untilGranted waits for the first grant.
func (p *fakePicker) untilGranted() {
	for {
		p.mu.Lock()
		n, changed := len(p.granted), p.changed
		p.mu.Unlock()
		if n > 0 {
			return
		}
		<-changed
	}
}

func (p *fakePicker) Snapshot(string) *balance.Snapshot { return p.snap }

func (p *fakePicker) LocalFrom(string) time.Duration { return p.from }

func (p *fakePicker) HoldFor(string, balance.ServerID, balance.Instant) balance.LeaseID { return 0 }

func (p *fakePicker) Chosen(_ string, server balance.ServerID, _ balance.Instant, _ *balance.Request) (balance.LeaseID, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leases++
	p.granted[p.leases] = server
	p.chosen++
	p.tell()
	return p.leases, nil
}

// counts returns how many leases were asked for, and how many are of the edge's own choice.
func (p *fakePicker) counts() (asked, chosen int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.asks), p.chosen
}

// results waits until every lease is done and returns their results in order of grant.
func (p *fakePicker) results(t *testing.T) []balance.Result {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		p.mu.Lock()
		changed, open := p.changed, len(p.granted)-len(p.done)
		if open == 0 {
			defer p.mu.Unlock()
			var rs []balance.Result
			for id := balance.LeaseID(1); id <= p.leases; id++ {
				if len(p.done[id]) != 1 {
					t.Fatalf("lease %v: done %d times (%v), want once", id, len(p.done[id]), p.done[id])
				}
				rs = append(rs, p.done[id][0].Result)
			}
			return rs
		}
		p.mu.Unlock()
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("%d leases are still open", open)
		}
	}
}

func (p *fakePicker) wantResults(t *testing.T, want ...balance.Result) {
	t.Helper()
	if got := p.results(t); !slices.Equal(got, want) {
		t.Errorf("leases ended as %v, want %v", got, want)
	}
}

// among picks the first of these servers that is not excluded.
func among(servers ...balance.Grant) func(context.Context, *balance.Request) (balance.Grant, error) {
	return func(_ context.Context, req *balance.Request) (balance.Grant, error) {
		for _, g := range servers {
			if !slices.Contains(req.Exclude, g.Server) {
				return g, nil
			}
		}
		return balance.Grant{}, &balance.Refusal{Reason: balance.NoServer, RetryAfter: time.Second}
	}
}

func granted(id balance.ServerID, server *httptest.Server) balance.Grant {
	return balance.Grant{Server: id, Address: server.Listener.Addr().String()}
}

// server is a processing server for one test.
func server(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// dead is a server that takes no connections.
func dead(t *testing.T, id balance.ServerID) balance.Grant {
	t.Helper()
	return balance.Grant{Server: id, Address: freeport.Address(t)}
}

// running is an edge that serves until the test ends.
type running struct {
	*Edge
	t       *testing.T
	picker  *fakePicker
	address string
	client  *http.Client
	stop    context.CancelFunc
	stopped chan error
}

func run(t *testing.T, p *fakePicker, change func(*Config)) *running {
	t.Helper()
	return runAfter(t, p, nil, change)
}

// runAfter has something done with the listener before the edge serves it, unless before is nil.
func runAfter(t *testing.T, p *fakePicker, before func(net.Listener), change func(*Config)) *running {
	t.Helper()
	cfg := Config{ID: "e1", ConnectTimeout: 20 * time.Second, Listeners: []routing.Listener{{Listen: "127.0.0.1:0", Routes: []routing.Route{{Pool: "web"}}}}}
	if change != nil {
		change(&cfg)
	}
	if toTLS(t) {
		behindTLS(t, &cfg, p)
	}
	var picker exchange.Picker = p
	switch {
	case p.atOnce:
		picker = promptPicker{p}
	case strings.Contains(t.Name(), "/"+withDriver):
		picker = &drivenPicker{fakePicker: p, open: make(map[*client.Ask]context.CancelFunc)}
		cfg.alwaysBatch = true
	}
	e, err := New(cfg, picker)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if before != nil {
		before(l)
	}
	ctx, cancel := context.WithCancel(context.Background())
	transport := &http.Transport{DisableCompression: true}
	r := &running{Edge: e, t: t, picker: p, address: l.Addr().String(), stop: cancel, stopped: make(chan error, 1),
		client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	go func() { r.stopped <- e.Run(ctx, l); close(r.stopped) }()
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		for err := range r.stopped {
			if err != nil {
				t.Errorf("run: %v", err)
			}
		}
	})
	return r
}

// streamed has servers asked for before anything of a body has come.
func streamed(c *Config) {
	for i := range c.Listeners {
		for j := range c.Listeners[i].Routes {
			c.Listeners[i].Routes[j].BufferRequest = -1
		}
	}
}

func (r *running) request(method, path, body string, headers ...string) *http.Request {
	r.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, "http://"+r.address+path, reader)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	return req
}

// do sends a request and returns the response with its body read.
func (r *running) do(req *http.Request) (*http.Response, string) {
	r.t.Helper()
	res, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatalf("%s %s: body: %v", req.Method, req.URL.Path, err)
	}
	return res, string(body)
}

// asked waits until the master has granted n leases.
func (r *running) asked(n int) {
	r.t.Helper()
	limit := time.After(time.Minute)
	for {
		r.picker.mu.Lock()
		granted, changed := len(r.picker.granted), r.picker.changed
		r.picker.mu.Unlock()
		if granted >= n {
			return
		}
		select {
		case <-changed:
		case <-limit:
			r.t.Fatalf("%d leases were granted, want %d", granted, n)
		}
	}
}

// raw sends bytes and returns all that comes back until the edge closes.
func (r *running) raw(request string) string {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, request) // the edge may refuse before it has read all
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	answer, _ := io.ReadAll(conn) // a reset after the answer is as good as an end
	return string(answer)
}

func wantStatus(t *testing.T, res *http.Response, body string, status int, reason string) {
	t.Helper()
	if res.StatusCode != status || !strings.Contains(body, fmt.Sprintf("%q:%q", "reason", reason)) || res.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("got %d %s %s, want a problem with status %d and reason %q", res.StatusCode, res.Header.Get("Content-Type"), body, status, reason)
	}
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	_, _ = fmt.Fprintf(w, "%s %s %s", r.Method, r.URL.RequestURI(), body)
}

// Who reads that the edge serves may rely on it: every listener is taken from by then.
func TestAcceptingIsSaidOnceEveryListenerIs(t *testing.T) { eachPicker(t, testAcceptingIsSaid) }

func testAcceptingIsSaid(t *testing.T) {
	for _, m := range []routing.Mode{routing.ModeHTTP, routing.ModeTCP} {
		r := run(t, newFakePicker(), func(c *Config) { c.Listeners[0].Mode = m })
		select {
		case <-r.Accepting():
		case <-r.stopped:
			t.Errorf("mode %s: it has stopped", m)
		}
	}
}

func TestAnEdgeThatFailsIsNeverAccepting(t *testing.T) {
	e, err := New(Config{ID: "e1", Listeners: []routing.Listener{{Listen: "127.0.0.1:0", Routes: []routing.Route{{Pool: "web"}}}}}, newFakePicker())
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Run(t.Context(), nil, nil); err == nil {
		t.Error("an edge with a listener too many runs")
	}
	select {
	case <-e.Accepting():
		t.Error("it says that it takes connections")
	default:
	}
}
