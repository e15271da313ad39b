package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
)

func TestRoutedRequest(t *testing.T) { eachServer(t, testRoutedRequest) }

func testRoutedRequest(t *testing.T) {
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, echo)))
	r := run(t, p, func(c *Config) {
		c.Listeners[0].Routes[0].Key = "cookie:sid"
		c.Listeners[0].Routes[0].Tenant = "header:X-Tenant"
	})
	res, body := r.do(r.request("POST", "/a%2Fb/c?x=1&y=%zz;q", "payload", "Cookie", "a=1; sid=s-7", "X-Tenant", "acme"))
	if res.StatusCode != 200 || body != "POST /a%2Fb/c?x=1&y=%zz;q payload" {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
	p.wantResults(t, balance.OK)
	ask := p.asks[0]
	if ask.Edge != "e1" || ask.Key != "s-7" || ask.Tenant != "acme" || ask.Method != "POST" || ask.Path != "/a/b/c" || ask.Host != r.address ||
		ask.Client != netip.MustParseAddr("127.0.0.1") || ask.Deadline == 0 || ask.Link != balance.LinkRoute {
		t.Errorf("asked %+v", ask)
	}
	if o := p.done[1][0]; o.Duration <= 0 {
		t.Errorf("outcome %+v has no duration", o)
	}
}

func TestServerFaultIsTold(t *testing.T) { eachPicker(t, testServerFaultIsTold) }

func testServerFaultIsTold(t *testing.T) {
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "sorry", http.StatusServiceUnavailable) })))
	r := run(t, p, nil)
	if res, body := r.do(r.request("GET", "/", "")); res.StatusCode != 503 || body != "sorry\n" {
		t.Errorf("got %d %q, want the server's own answer", res.StatusCode, body)
	}
	p.wantResults(t, balance.Fault)
}

func TestNoRoute(t *testing.T) { eachPicker(t, testNoRoute) }

func testNoRoute(t *testing.T) {
	p := newFakePicker()
	r := run(t, p, func(c *Config) { c.Listeners[0].Routes = []routing.Route{{Host: "only.example", Pool: "web"}} })
	res, body := r.do(r.request("GET", "/", ""))
	wantStatus(t, res, body, 404, "no-route")
	if len(p.asks) != 0 {
		t.Errorf("the master was asked")
	}
}

func TestRedirect(t *testing.T) { eachPicker(t, testRedirect) }

func testRedirect(t *testing.T) {
	for _, c := range []struct {
		public, param, path, want string
	}{
		{"https://s1.example/base/", "", "/v1/x?q=a%20b", "https://s1.example/base/v1/x?q=a%20b"},
		{"https://s1.example", "lease", "/v1/x", "https://s1.example/v1/x?lease=0000000000000001a1b2c3d4e5f60718"},
		{"https://s1.example", "lease", "/v1/x?q=1", "https://s1.example/v1/x?q=1&lease=0000000000000001a1b2c3d4e5f60718"},
		{"", "", "//other.example/x", "http://10.0.0.5:8000//other.example/x"},
	} {
		p := newFakePicker()
		p.pick = among(balance.Grant{Server: "s1", Address: "10.0.0.5:8000", Public: c.public, Tag: 0xa1b2c3d4e5f60718})
		r := run(t, p, func(cfg *Config) {
			cfg.Listeners[0].Routes[0].Link = balance.LinkRedirect
			cfg.Listeners[0].Routes[0].LeaseParam = c.param
		})
		res, _ := r.do(r.request("POST", c.path, "body"))
		if res.StatusCode != 307 || res.Header.Get("Location") != c.want || res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Evenkeel-Lease") != "0000000000000001a1b2c3d4e5f60718" {
			t.Errorf("%s: got %d %v, want Location %s", c.path, res.StatusCode, res.Header, c.want)
		}
		r.stop()
		<-r.stopped
		if len(p.done) != 0 || p.asks[0].Link != balance.LinkRedirect {
			t.Errorf("%s: done %v, asked %+v; a redirected lease is not the edge's to end", c.path, p.done, p.asks[0])
		}
	}
}

func TestLoadReports(t *testing.T) { eachServer(t, testLoadReports) }

func testLoadReports(t *testing.T) {
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Endpoint-Load-Metrics-Format") != "TEXT" {
			t.Errorf("the server was not asked for a report: %v", r.Header)
		}
		w.Header().Set("endpoint-load-metrics", "TEXT cpu_utilization=0.5,named_metrics.in_flight=3")
		w.Header().Set("Trailer", "Endpoint-Load-Metrics, X-Sum")
		w.Header().Set("X-Own", "kept")
		_, _ = io.WriteString(w, "body")
		w.(http.Flusher).Flush()
		w.Header().Set("Endpoint-Load-Metrics", "TEXT mem_utilization=0.25")
		w.Header().Set("X-Sum", "42")
	})))
	r := run(t, p, nil)
	res, body := r.do(r.request("GET", "/", ""))
	if body != "body" || res.Header.Get("X-Own") != "kept" || res.Trailer.Get("X-Sum") != "42" {
		t.Errorf("got %q, header %v, trailer %v", body, res.Header, res.Trailer)
	}
	for name := range res.Header {
		if strings.Contains(strings.ToLower(name), "load-metrics") {
			t.Errorf("the client got header %s", name)
		}
	}
	if _, leaked := res.Trailer["Endpoint-Load-Metrics"]; leaked {
		t.Errorf("the client got trailer %v", res.Trailer)
	}
	p.wantResults(t, balance.OK)
	if len(p.reports) != 2 || p.reports[0].Server != "s1" || len(p.reports[0].Metrics) != 2 || p.reports[1].Metrics[0] != (balance.Metric{Name: balance.MemUtilization, Value: .25}) {
		t.Errorf("reports %+v", p.reports)
	}
}

func TestRefusals(t *testing.T) { eachPicker(t, testRefusals) }

func testRefusals(t *testing.T) {
	for _, c := range []struct {
		refusal balance.Refusal
		status  int
		after   string
	}{
		{balance.Refusal{Reason: balance.NoServer, RetryAfter: 1500 * time.Millisecond, Detail: "secret"}, 503, "2"},
		{balance.Refusal{Reason: balance.Saturated, RetryAfter: time.Second}, 503, "1"},
		{balance.Refusal{Reason: balance.Shed}, 429, "1"},
	} {
		p := newFakePicker()
		p.pick = func(context.Context, *balance.Request) (balance.Grant, error) { return balance.Grant{}, &c.refusal }
		r := run(t, p, nil)
		res, body := r.do(r.request("POST", "/", "body"))
		wantStatus(t, res, body, c.status, c.refusal.Reason.String())
		if res.Header.Get("Retry-After") != c.after || strings.Contains(body, "secret") {
			t.Errorf("%v: Retry-After %q, want %q; body %s", c.refusal.Reason, res.Header.Get("Retry-After"), c.after, body)
		}
	}
}

func TestFallbackWithoutMaster(t *testing.T) { eachPicker(t, testFallbackWithoutMaster) }

func testFallbackWithoutMaster(t *testing.T) {
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		if len(r.Header["Evenkeel-Lease"]) != 0 {
			t.Errorf("the server was told lease %q, there is none", r.Header.Get("Evenkeel-Lease"))
		}
	})
	noMaster := func(context.Context, *balance.Request) (balance.Grant, error) {
		return balance.Grant{}, errors.New("no master")
	}
	p := newFakePicker()
	p.pick, p.snap = noMaster, &balance.Snapshot{Servers: []balance.SnapshotServer{
		{ID: "dead", Address: dead(t, "dead").Address, Slots: 1000, Service: 1},
		{ID: "alive", Address: s.Listener.Addr().String(), Slots: 1, Service: 1},
	}}
	r := run(t, p, nil)
	for range 5 {
		if res, body := r.do(r.request("POST", "/", "body")); res.StatusCode != 200 {
			t.Errorf("got %d %s, want the fallback to find the living server", res.StatusCode, body)
		}
	}
	p = newFakePicker()
	p.pick = noMaster
	r = run(t, p, nil)
	res, body := r.do(r.request("GET", "/", ""))
	wantStatus(t, res, body, 503, "no-master")
}

func TestSilentMasterHangsNobody(t *testing.T) { eachPicker(t, testSilentMasterHangsNobody) }

func testSilentMasterHangsNobody(t *testing.T) {
	p := newFakePicker()
	p.pick = func(ctx context.Context, _ *balance.Request) (balance.Grant, error) {
		<-ctx.Done()
		return balance.Grant{}, context.Cause(ctx)
	}
	p.snap = &balance.Snapshot{Servers: []balance.SnapshotServer{{ID: "s1", Address: server(t, echo).Listener.Addr().String()}}}
	r := run(t, p, func(c *Config) { c.Listeners[0].Routes[0].Timeout = 10 * time.Millisecond })
	if res, body := r.do(r.request("GET", "/", "")); res.StatusCode != 200 {
		t.Errorf("got %d %s, want the fallback", res.StatusCode, body)
	}
}

func TestResponseTimeout(t *testing.T) { eachServer(t, testResponseTimeout) }

func testResponseTimeout(t *testing.T) {
	release := make(chan struct{})
	s := server(t, func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	p := newFakePicker()
	p.pick = among(granted("s1", s), granted("s2", server(t, echo)))
	r := run(t, p, func(c *Config) { c.ResponseTimeout = 20 * time.Millisecond })
	res, body := r.do(r.request("GET", "/", ""))
	wantStatus(t, res, body, 504, "timeout")
	p.wantResults(t, balance.Broken)
}

func TestBodyLimit(t *testing.T) { eachServer(t, testBodyLimit) }

func testBodyLimit(t *testing.T) {
	p, asked := newFakePicker(), make(chan struct{})
	once := sync.OnceFunc(func() { close(asked) })
	pick := among(granted("s1", server(t, echo)))
	p.pick = func(ctx context.Context, req *balance.Request) (balance.Grant, error) {
		once()
		return pick(ctx, req)
	}
	r := run(t, p, func(c *Config) { streamed(c); c.Listeners[0].BodyLimit = 100 })
	res, body := r.do(r.request("POST", "/", strings.Repeat("x", 101)))
	wantStatus(t, res, body, 413, "body-too-large")
	if len(p.asks) != 0 {
		t.Errorf("the master was asked for a request that is refused anyway")
	}
	if answer := r.raw("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" + strings.Repeat("x", 101) + "\r\n0\r\n\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 413 ") || !strings.Contains(answer, "body-too-large") {
		t.Errorf("got %q, want 413", answer)
	}
	if len(p.asks) != 0 {
		t.Errorf("the master was asked for a request that is refused anyway")
	}
	pieces, write := io.Pipe()
	go func() {
		_, _ = write.Write([]byte("x"))
		<-asked // with less than the limit
		for range 100 {
			_, _ = write.Write([]byte("x")) // the edge may refuse before the end
		}
		_ = write.Close()
	}()
	long := r.request("POST", "/", "")
	long.Body = pieces
	res, body = r.do(long)
	wantStatus(t, res, body, 413, "body-too-large")
	p.wantResults(t, balance.Canceled)
	if res, _ := r.do(r.request("POST", "/", strings.Repeat("x", 100))); res.StatusCode != 200 {
		t.Errorf("a body of just the limit: %d", res.StatusCode)
	}
}

func TestDawdlingClients(t *testing.T) {
	t.Parallel()
	eachServer(t, testDawdlingClients)
}

func testDawdlingClients(t *testing.T) {
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		part := make([]byte, 1<<20)
		if r.URL.Path == "/parts" { // so short that an edge with much to do counts each as sent before it sends it
			part = part[:1000]
		}
		for r.Method == "GET" {
			if _, err := w.Write(part); err != nil || http.NewResponseController(w).Flush() != nil {
				return
			}
		}
	})))
	r := run(t, p, func(c *Config) { streamed(c); c.Listeners[0].IdleTimeout = time.Second }) // a machine that is busy may take a part of it
	for _, body := range []string{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\na part", "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\na part"} {
		if answer := r.raw(body); !strings.HasPrefix(answer, "HTTP/1.1 408 ") || !strings.Contains(answer, "body-timeout") {
			t.Errorf("%.20q: got %q, want 408", body, answer)
		}
	}
	p.wantResults(t, balance.Canceled) // the PUT is read before a server is asked for
	want := []balance.Result{balance.Canceled}
	for i, path := range []string{"/", "/parts"} { // which neither of these clients reads
		conn, err := net.Dial("tcp", r.address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n")
		r.asked(2 + i)
		want = append(want, balance.Canceled)
	}
	p.wantResults(t, want...)
}

// A deadline for one request must not outlive it.
func TestSlowServerIsNoDawdlingClient(t *testing.T) {
	t.Parallel()
	eachServer(t, testSlowServerIsNoDawdlingClient)
}

func testSlowServerIsNoDawdlingClient(t *testing.T) {
	p := newFakePicker()
	address := make(chan string, 1)
	p.pick = among(granted("s1", server(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(w, "part ")
		w.(http.Flusher).Flush()
		at := <-address
		address <- at
		outstay(t, at) // the edge's patience with a client that says nothing is over
		_, _ = w.Write(body)
	})))
	r := run(t, p, func(c *Config) { c.Listeners[0].IdleTimeout = time.Second })
	address <- r.address
	for range 2 {
		if res, body := r.do(r.request("POST", "/", "body")); res.StatusCode != 200 || body != "part body" {
			t.Errorf("got %d %q", res.StatusCode, body)
		}
	}
}

// outstay connects, says nothing, and returns when it is sent away.
func outstay(t *testing.T, address string) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("an idle connection, which should be closed: %v", err)
	}
}

func TestOversizedHeads(t *testing.T) { eachPicker(t, testOversizedHeads) }

func testOversizedHeads(t *testing.T) {
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, echo)))
	r := run(t, p, nil)
	for name, head := range map[string]string{
		"one line of 33 KiB": "X-Long: " + strings.Repeat("x", 33<<10) + "\r\n",
		"one line of 1 MiB":  "X-Long: " + strings.Repeat("x", 1<<20) + "\r\n",
		"200 lines":          strings.Repeat("X-Many: 1\r\n", 200),
	} {
		answer := r.raw("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + head + "\r\n")
		if !strings.HasPrefix(answer, "HTTP/1.1 431 ") {
			t.Errorf("%s: got %.80q, want 431", name, answer)
		}
	}
	if answer := r.raw("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Long: " + strings.Repeat("x", 30<<10) + "\r\n\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 200 ") {
		t.Errorf("a head within the limit: %.80q", answer)
	}
	if len(p.asks) != 1 {
		t.Errorf("%d asks, want the last request's alone", len(p.asks))
	}
}

func TestUnservableRequests(t *testing.T) { eachPicker(t, testUnservableRequests) }

func testUnservableRequests(t *testing.T) {
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, echo)))
	r := run(t, p, nil)
	for _, c := range []struct{ name, request, want string }{
		{"CONNECT", "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nConnection: close\r\n\r\n", "501"},
		{"asterisk of another method", "GET * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "400"},
		{"no host", "GET / HTTP/1.1\r\nConnection: close\r\n\r\n", "400"},
		{"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n", "400"},
		{"two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", "400"},
		{"blank in a name", "GET / HTTP/1.1\r\nHost: a\r\nX Y: 1\r\n\r\n", "400"},
		{"strange coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "501"},
		{"unprintable upgrade", "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: caf\xc3\xa9\r\n\r\n", "400"},
	} {
		if answer := r.raw(c.request); !strings.HasPrefix(answer, "HTTP/1.1 "+c.want+" ") {
			t.Errorf("%s: got %.80q, want %s", c.name, answer, c.want)
		}
	}
	if len(p.asks) != 0 {
		t.Errorf("the master was asked %d times", len(p.asks))
	}
}

// What HTTP/1.0 leaves unclear about a body's end must not become a second request.
func TestHTTP10Closes(t *testing.T) { eachServer(t, testHTTP10Closes) }

func testHTTP10Closes(t *testing.T) {
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, echo)))
	r := run(t, p, nil)
	answer := r.raw("POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.0\r\nHost: a\r\n\r\n")
	if !strings.HasPrefix(answer, "HTTP/1.1 400 ") || strings.Count(answer, "HTTP/1.1 ") != 1 || strings.Contains(answer, "smuggled") {
		t.Errorf("got %q, want one refusal and the end", answer)
	}
}

func TestAbsoluteTarget(t *testing.T) { eachPicker(t, testAbsoluteTarget) }

func testAbsoluteTarget(t *testing.T) {
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, echo)))
	r := run(t, p, func(c *Config) { c.Listeners[0].Routes[0].Host = "a.example" })
	answer := r.raw("GET http://a.example/p?q=1 HTTP/1.1\r\nHost: A.example\r\nConnection: close\r\n\r\n")
	if !strings.HasPrefix(answer, "HTTP/1.1 200 ") || !strings.Contains(answer, "GET /p?q=1 ") {
		t.Errorf("got %q", answer)
	}
}

func TestAccessLog(t *testing.T) { eachPicker(t, testAccessLog) }

func testAccessLog(t *testing.T) {
	var mu sync.Mutex
	var lines bytes.Buffer
	p := newFakePicker()
	p.pick = among(dead(t, "s0"), granted("s1", server(t, echo)))
	r := run(t, p, func(c *Config) { c.AccessLog = slog.New(slog.NewJSONHandler(locked{&mu, &lines}, nil)) })
	r.do(r.request("GET", "/x", "", "X-Request-Id", "trace-1"))
	r.stop()
	<-r.stopped
	mu.Lock()
	defer mu.Unlock()
	var got map[string]any
	if err := json.Unmarshal(lines.Bytes(), &got); err != nil {
		t.Fatalf("%q: %v", lines.String(), err)
	}
	for key, want := range map[string]any{"level": "INFO", "method": "GET", "host": r.address, "path": "/x", "status": 200., "bytes": 7., "pool": "web",
		"server": "s1", "lease": "0000000000000002", "edge": "e1", "client": "127.0.0.1", "attempts": 2., "result": "ok", "request": "trace-1"} {
		if got[key] != want {
			t.Errorf("%s: got %v, want %v", key, got[key], want)
		}
	}
	if why, _ := got["err"].(string); why == "" {
		t.Errorf("the record does not say why the first attempt failed: %v", got)
	}
	for _, key := range []string{"duration_ms", "pick_ms"} {
		if _, ok := got[key].(float64); !ok {
			t.Errorf("%s: got %v, want a number", key, got[key])
		}
	}
}

type locked struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func TestAdmin(t *testing.T) { eachPicker(t, testAdmin) }

func testAdmin(t *testing.T) {
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, echo)))
	r := run(t, p, nil)
	r.do(r.request("GET", "/", ""))
	r.do(r.request("GET", "/", ""))
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		r.Handler().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code, w.Body.String()
	}
	if code, _ := get("/healthz"); code != 200 {
		t.Errorf("healthz: %d", code)
	}
	if code, word := get("/readyz"); code != 200 {
		t.Errorf("readyz: %d %s", code, word)
	}
	r.stop()
	<-r.stopped
	_, text := get("/metrics")
	for _, want := range []string{
		`evenkeel_edge_requests_total{code="200",pool="web"} 2`,
		`evenkeel_edge_picks_total{pool="web",result="granted"} 2`,
		`evenkeel_edge_request_duration_seconds_count{pool="web"} 2`,
		`evenkeel_edge_in_flight{pool="web"} 0`,
		`evenkeel_edge_retries_total{pool="web"} 0`,
		`evenkeel_edge_fallbacks_total{pool="web"} 0`,
		`evenkeel_edge_master_connected 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("metrics lack %s", want)
		}
	}
	if code, _ := get("/readyz"); code != 503 {
		t.Errorf("readyz after the end: %d, want 503", code)
	}
}

// What a server's response says about the server reaches the master: that it is full, and
// how long; that it is at fault; or that the request was wrong.
func TestWhatAResponseSaysOfItsServerIsTold(t *testing.T) {
	eachServer(t, testWhatAResponseSaysOfItsServerIsTold)
}

func testWhatAResponseSaysOfItsServerIsTold(t *testing.T) {
	for _, c := range []struct {
		status     int
		retryAfter string
		want       balance.Outcome
	}{
		{200, "", balance.Outcome{}},
		{404, "", balance.Outcome{Result: balance.ClientError}},
		{429, "", balance.Outcome{Result: balance.Full}},
		{429, "7", balance.Outcome{Result: balance.Full, RetryAfter: 7 * time.Second}},
		{500, "7", balance.Outcome{Result: balance.Fault}},
		{503, "", balance.Outcome{Result: balance.Fault}},
		{503, "7", balance.Outcome{Result: balance.Full, RetryAfter: 7 * time.Second}},
	} {
		p := newFakePicker()
		p.pick = among(granted("s1", server(t, func(w http.ResponseWriter, _ *http.Request) {
			if c.retryAfter != "" {
				w.Header().Set("Retry-After", c.retryAfter)
			}
			w.WriteHeader(c.status)
		})))
		r := run(t, p, nil)
		if res, _ := r.do(r.request("GET", "/", "")); res.StatusCode != c.status {
			t.Errorf("got %d, want the server's own %d", res.StatusCode, c.status)
		}
		p.wantResults(t, c.want.Result)
		got := p.done[1][0] // nothing changes it any more
		c.want.Status, c.want.Duration, c.want.FirstByte = c.status, got.Duration, got.FirstByte
		if got.FirstByte <= 0 || got.FirstByte > got.Duration {
			t.Errorf("%d: the first byte came after %v, the last after %v", c.status, got.FirstByte, got.Duration)
		}
		if got != c.want {
			t.Errorf("%d, Retry-After %q: told %+v, want %+v", c.status, c.retryAfter, got, c.want)
		}
	}
}
