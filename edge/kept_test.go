package edge

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
)

// keeping lets clients of the only route prefer a later answer.
func keeping(c *Config) {
	c.Listeners[0].Routes[0].RespondAsync = true
	c.Listeners[0].Routes[0].Timeout = time.Hour
}

// accepted sends a request that prefers a later answer, and returns where its status is.
func (r *running) accepted(req *http.Request) string {
	r.t.Helper()
	req.Header.Add("Prefer", "respond-async")
	res, body := r.do(req)
	if res.StatusCode != 202 || res.Header.Get("Preference-Applied") != "respond-async" || res.Header.Get("Cache-Control") != "no-store" {
		r.t.Fatalf("answered %s %v %s, want 202", res.Status, res.Header, body)
	}
	return res.Header.Get("Location")
}

// document reads what is told of a kept request.
func (r *running) document(monitor string) (d exchange.KeptDocument) {
	r.t.Helper()
	res, body := r.do(r.request("GET", monitor, ""))
	if err := json.Unmarshal([]byte(body), &d); err != nil || res.StatusCode != 200 && res.StatusCode != 303 {
		r.t.Fatalf("%s: answered %s %s", monitor, res.Status, body)
	}
	return d
}

// over waits until a kept request is over.
func (r *running) over(monitor string) (d exchange.KeptDocument) {
	r.t.Helper()
	eventually(r.t, "the kept request is over", func() bool {
		d = r.document(monitor)
		return d.State == "done" || d.State == "failed"
	})
	return d
}

// result fetches the answer of a kept request when it is there.
func (r *running) result(monitor string) (*http.Response, string) {
	r.t.Helper()
	d := r.over(monitor)
	if d.State != "done" {
		r.t.Fatalf("%s: %+v, want done", monitor, d)
	}
	return r.do(r.request("GET", d.Result, ""))
}

func TestAnswersComeLater(t *testing.T) { eachPicker(t, testAnswersComeLater) }

func testAnswersComeLater(t *testing.T) {
	p := newFakePicker()
	var mu sync.Mutex
	var heads []http.Header
	p.pick = among(granted("s1", server(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		heads = append(heads, r.Header.Clone())
		mu.Unlock()
		w.Header().Set("X-Kind", "answer")
		w.Header().Set("Cache-Control", "max-age=60")
		if r.URL.Path != "/chunked" {
			echo(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusCreated)
		w.(http.Flusher).Flush()
		_, _ = fmt.Fprintf(w, "POST /chunked %s", body)
	})))
	r := run(t, p, keeping)
	long := strings.Repeat("0123456789abcdef", 40<<10/16)
	for _, c := range []struct {
		method, path, body string
		chunked            bool
		status             int
	}{{"GET", "/get?a=b", "", false, 200}, {"POST", "/small", "body", false, 200}, {"POST", "/chunked", long, true, 201}, {"PUT", "/long", long + long, false, 200}, {"POST", "/trailers", "x", true, 200}} {
		req := r.request(c.method, c.path, c.body, "Prefer", "return=minimal", "X-Request-Id", "mine")
		if c.chunked {
			req.ContentLength = -1
			req.Trailer = http.Header{"X-Last": {"yes"}}
		}
		monitor := r.accepted(req)
		for range 2 {
			res, body := r.result(monitor)
			if want := c.method + " " + c.path + " " + c.body; res.StatusCode != c.status || body != want || res.ContentLength != int64(len(want)) {
				t.Errorf("%s: %s, %d bytes, length %d; want %d, %d bytes", c.path, res.Status, len(body), res.ContentLength, c.status, len(want))
			}
			if res.Header.Get("X-Kind") != "answer" || len(res.Header.Values("Cache-Control")) != 1 || res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("X-Request-Id") != "mine" {
				t.Errorf("%s: head %v", c.path, res.Header)
			}
		}
		if d := r.document(monitor); d.Status != c.status || d.Request != "mine" || d.ExpiresIn <= 0 {
			t.Errorf("%s: told %+v", c.path, d)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for _, h := range heads {
		if h.Get("Prefer") != "return=minimal" || h.Get("X-Request-Id") != "mine" || len(h.Values("X-Forwarded-For")) != 1 {
			t.Errorf("the server got %v", h)
		}
	}
	p.wantResults(t, balance.OK, balance.OK, balance.OK, balance.OK, balance.OK)
}

// A request is told to wait, to run, and to be done; the monitor says no more to those without its secret.
func TestAMonitorTells(t *testing.T) {
	p := newFakePicker()
	grant, answer := make(chan struct{}), make(chan struct{})
	s1 := granted("s1", server(t, func(w http.ResponseWriter, r *http.Request) {
		<-answer
		echo(w, r)
	}))
	p.pick = func(ctx context.Context, _ *balance.Request) (balance.Grant, error) {
		<-grant
		return s1, nil
	}
	r := run(t, p, keeping)
	monitor := r.accepted(r.request("POST", "/", "body"))
	if d := r.document(monitor); d.State != "waiting" || d.Monitor != monitor || d.Result != "" {
		t.Errorf("told %+v, want waiting", d)
	}
	res, body := r.do(r.request("GET", monitor+"/result", ""))
	wantStatus(t, res, body, 409, "not-ready")
	close(grant)
	eventually(t, "it runs", func() bool { return r.document(monitor).State == "running" })
	close(answer)
	r.over(monitor)
	res, body = r.do(r.request("GET", monitor, ""))
	if res.StatusCode != 303 || res.Header.Get("Location") != monitor+"/result" {
		t.Errorf("done: %s %v %s", res.Status, res.Header, body)
	}
	res, _ = r.do(r.request("HEAD", monitor+"/result", ""))
	if res.StatusCode != 200 || res.ContentLength != int64(len("POST / body")) {
		t.Errorf("HEAD: %s, length %d", res.Status, res.ContentLength)
	}
	res, body = r.do(r.request("POST", monitor, ""))
	if wantStatus(t, res, body, 405, "kept-method"); res.Header.Get("Allow") == "" {
		t.Error("405 without Allow")
	}
	last := monitor[len(monitor)-1]
	for path, reason := range map[string]string{
		monitor[:len(monitor)-1] + string(rune(last^1)):                                 "404 kept-unknown",
		"/.evenkeel/requests/e1/x":                                                      "404 kept-unknown",
		"/.evenkeel/requests/":                                                          "404 kept-unknown",
		strings.Replace(monitor, "/e1/", "/e2/", 1):                                     "421 other-edge",
		"/.evenkeel/requests/e1/" + strings.Repeat("0", 16) + monitor[len(monitor)-32:]: "410 kept-lost",
	} {
		status := 0
		_, _ = fmt.Sscan(reason, &status)
		res, body := r.do(r.request("GET", path, ""))
		wantStatus(t, res, body, status, strings.Fields(reason)[1])
	}
	if res, _ = r.do(r.request("DELETE", monitor, "")); res.StatusCode != 204 {
		t.Errorf("DELETE: %s", res.Status)
	}
	res, body = r.do(r.request("GET", monitor, ""))
	wantStatus(t, res, body, 404, "kept-unknown")
}

// DELETE ends the wait, or the lease with the connection to the server.
func TestDeleteCancels(t *testing.T) { eachPicker(t, testDeleteCancels) }

func testDeleteCancels(t *testing.T) {
	p := newFakePicker()
	arrived, left := make(chan struct{}, 1), make(chan struct{}, 1)
	s1 := granted("s1", server(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		arrived <- struct{}{}
		<-r.Context().Done()
		left <- struct{}{}
	}))
	waits := make(chan struct{}, 1)
	p.pick = func(ctx context.Context, req *balance.Request) (balance.Grant, error) {
		if req.Path == "/wait" {
			waits <- struct{}{}
			<-ctx.Done()
			return balance.Grant{}, ctx.Err()
		}
		return s1, nil
	}
	r := run(t, p, keeping)
	running := r.accepted(r.request("POST", "/run", "body"))
	<-arrived
	if res, _ := r.do(r.request("DELETE", running, "")); res.StatusCode != 204 {
		t.Fatalf("DELETE: %s", res.Status)
	}
	<-left
	p.wantResults(t, balance.Canceled)
	waiting := r.accepted(r.request("POST", "/wait", "body"))
	<-waits
	if res, _ := r.do(r.request("DELETE", waiting, "")); res.StatusCode != 204 {
		t.Fatalf("DELETE: %s", res.Status)
	}
	eventually(t, "nothing of them is left", func() bool {
		c := r.cfg.Kept.Counts()
		return c.Memory == 0 && r.Open() == 0
	})
}

// An edge that refuses, a server that breaks off, and an answer that is too long are told.
func TestKeptRequestsFail(t *testing.T) {
	p := newFakePicker()
	s1 := granted("s1", server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/break" {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "part")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, strings.Repeat("x", 200<<10))
	}))
	p.pick = func(_ context.Context, req *balance.Request) (balance.Grant, error) {
		if req.Path == "/refuse" {
			return balance.Grant{}, &balance.Refusal{Reason: balance.Shed, RetryAfter: time.Second}
		}
		return s1, nil
	}
	r := run(t, p, func(c *Config) {
		keeping(c)
		c.RespondAsync.Answer = 100 << 10
	})
	res, body := r.result(r.accepted(r.request("GET", "/refuse", "")))
	wantStatus(t, res, body, 429, "shed")
	for path, reason := range map[string]string{"/break": "broken", "/long": "answer-too-large"} {
		monitor := r.accepted(r.request("GET", path, ""))
		if d := r.over(monitor); d.State != "failed" || d.Reason != reason || d.Detail == "" {
			t.Errorf("%s: told %+v, want failed, %s", path, d, reason)
		}
		res, body := r.do(r.request("GET", monitor+"/result", ""))
		wantStatus(t, res, body, 502, reason)
	}
}

// What clients may have kept is bounded: a body, their number, and all bytes.
func TestKeptRequestsAreBounded(t *testing.T) {
	p := newFakePicker()
	p.pick = func(ctx context.Context, _ *balance.Request) (balance.Grant, error) {
		<-ctx.Done()
		return balance.Grant{}, ctx.Err()
	}
	r := run(t, p, func(c *Config) {
		keeping(c)
		c.RespondAsync = RespondAsync{Requests: 4, PerClient: 3, Memory: 1 << 20, Body: 300 << 10}
	})
	send := func(body string, chunked bool) (*http.Response, string) {
		req := r.request("POST", "/", body, "Prefer", "respond-async")
		if chunked {
			req.ContentLength = -1
		}
		return r.do(req)
	}
	for _, chunked := range []bool{false, true} {
		res, body := send(strings.Repeat("x", 301<<10), chunked)
		wantStatus(t, res, body, 413, "body-too-large")
	}
	for range 2 {
		if res, body := send(strings.Repeat("x", 256<<10), false); res.StatusCode != 202 {
			t.Fatalf("answered %s %s", res.Status, body)
		}
	}
	res, body := send(strings.Repeat("x", 256<<10), false) // a client may have half
	wantStatus(t, res, body, 503, "kept-full")
	if res, body := send("", false); res.StatusCode != 202 {
		t.Fatalf("answered %s %s", res.Status, body)
	}
	res, body = send("", false)
	if wantStatus(t, res, body, 429, "too-many-kept"); res.Header.Get("Retry-After") == "" {
		t.Error("429 without Retry-After")
	}
}

// A body that is longer than what stays in memory goes to the spool and to the server, twice if the first one fails, and so
// does the answer.
func TestASpool(t *testing.T) {
	p := newFakePicker()
	body := strings.Repeat("0123456789abcdef", 5<<20/16)
	fails := server(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		conn, _, _ := w.(http.Hijacker).Hijack()
		_ = conn.Close()
	})
	p.pick = among(granted("s1", fails), granted("s2", server(t, echo)))
	r := run(t, p, func(c *Config) {
		keeping(c)
		c.RespondAsync = RespondAsync{Memory: 1 << 20, Body: 6 << 20, Answer: 6 << 20, Spool: t.TempDir()}
	})
	for _, chunked := range []bool{false, true} {
		req := r.request("PUT", "/", body)
		if chunked {
			req.ContentLength = -1
		}
		monitor := r.accepted(req)
		if res, got := r.result(monitor); res.StatusCode != 200 || got != "PUT / "+body {
			t.Errorf("chunked %v: %s, %d bytes", chunked, res.Status, len(got))
		}
		if c := r.cfg.Kept.Counts(); c.Spool < int64(len(body))-100<<10 || c.Memory > 200<<10 {
			t.Errorf("taken: %+v", c)
		}
		r.do(r.request("DELETE", monitor, ""))
	}
	eventually(t, "all is freed", func() bool { c := r.cfg.Kept.Counts(); return c.Spool == 0 && c.Memory == 0 })
}

// Facts are read from a kept body, and a client that does not read its answer holds nothing up.
func TestFactsOfAKeptRequest(t *testing.T) {
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, echo)))
	r := run(t, p, func(c *Config) {
		keeping(c)
		c.Listeners[0].Routes[0].Facts = routing.Facts{Size: "json:/frames"}
	})
	r.result(r.accepted(r.request("POST", "/", `{"pad":"`+strings.Repeat("x", 40<<10)+`","frames":12}`)))
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asks[0].Size != 12 {
		t.Errorf("asked with %+v", p.asks[0])
	}
}

// Clients of HTTP/2 may have their answers later, too.
func TestAnswersComeLaterByHTTP2(t *testing.T) {
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, echo)))
	r := run(t, p, func(c *Config) {
		keeping(c)
		c.Listeners[0].H2C = true
	})
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols}
	defer transport.CloseIdleConnections()
	r.client.Transport = transport
	body := strings.Repeat("x", 300<<10)
	for _, length := range []int64{int64(len(body)), -1} {
		req := r.request("POST", "/", body)
		req.ContentLength = length
		if res, got := r.result(r.accepted(req)); res.ProtoMajor != 2 || res.StatusCode != 200 || got != "POST / "+body {
			t.Errorf("%s %s, %d bytes", res.Proto, res.Status, len(got))
		}
	}
}

// An edge that stops refuses what waits for a server, and lets what runs finish.
func TestAStoppingEdgeKeepsNothing(t *testing.T) {
	p := newFakePicker()
	arrived, answer, waits := make(chan struct{}, 1), make(chan struct{}), make(chan struct{}, 1)
	s1 := granted("s1", server(t, func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-answer
	}))
	p.pick = func(ctx context.Context, req *balance.Request) (balance.Grant, error) {
		if req.Path == "/run" {
			return s1, nil
		}
		waits <- struct{}{}
		<-ctx.Done()
		return balance.Grant{}, ctx.Err()
	}
	store := NewKeptStore()
	r := run(t, p, func(c *Config) {
		keeping(c)
		c.Kept = store
	})
	r.accepted(r.request("GET", "/run", ""))
	<-arrived
	r.accepted(r.request("GET", "/wait", ""))
	<-waits
	r.stop()
	eventually(t, "what waits has failed", func() bool { c := store.Counts(); return c.States[4] == 1 })
	if c := store.Counts(); c.States[2] != 1 {
		t.Errorf("states: %v, want one that runs", c.States)
	}
	close(answer)
	for err := range r.stopped {
		if err != nil {
			t.Errorf("run: %v", err)
		}
	}
	if c := store.Counts(); c.States[3] != 1 {
		t.Errorf("states: %v, want one that is done", c.States)
	}
}

// Without the preference, or where the route does not allow it, nothing is kept; nor below the monitors' path.
func TestNothingIsKeptUnasked(t *testing.T) {
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, echo)))
	r := run(t, p, keeping)
	if res, body := r.do(r.request("POST", "/", "x")); res.StatusCode != 200 || body != "POST / x" {
		t.Errorf("without the preference: %s %s", res.Status, body)
	}
	other := run(t, p, nil)
	if res, body := other.do(other.request("POST", "/.evenkeel/requests/x", "x", "Prefer", "respond-async")); res.StatusCode != 200 || body != "POST /.evenkeel/requests/x x" {
		t.Errorf("on another route: %s %s", res.Status, body)
	}
	if n := r.counted("evenkeel_edge_kept_ended_total") + other.counted("evenkeel_edge_kept_ended_total"); n != 0 {
		t.Errorf("%v were kept", n)
	}
}

// A client that does not read its answer holds only itself up: what is sent to it goes piece by piece.
func TestASlowReaderOfAKeptAnswer(t *testing.T) {
	p := newFakePicker()
	long := strings.Repeat("x", 8<<20)
	p.pick = among(granted("s1", server(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, long) })))
	r := run(t, p, func(c *Config) {
		keeping(c)
		c.RespondAsync.Answer = 16 << 20
	})
	monitor := r.accepted(r.request("GET", "/", ""))
	d := r.over(monitor)
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", d.Result)
	if _, got := r.result(monitor); got != long {
		t.Errorf("another reader got %d bytes", len(got))
	}
	r.do(r.request("DELETE", monitor, ""))
	got, err := io.ReadAll(conn)
	if err != nil || !strings.HasSuffix(string(got), "\r\n\r\n"+long) {
		t.Errorf("the slow reader got %d bytes, %v", len(got), err)
	}
	_ = conn.Close()
	eventually(t, "the answer is freed", func() bool { return r.cfg.Kept.Counts().Memory == 0 })
}

// Trailers that are none end a request before it is kept.
func TestMalformedTrailersAreNotKept(t *testing.T) { eachPicker(t, testMalformedTrailersAreNotKept) }

func testMalformedTrailersAreNotKept(t *testing.T) {
	r := run(t, newFakePicker(), keeping)
	head := "POST / HTTP/1.1\r\nHost: a\r\nPrefer: respond-async\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
	if got := r.raw(head + "no field\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 400 ") || strings.Count(got, "HTTP/1.1 ") != 1 {
		t.Errorf("answered %q, want 400 alone", got)
	}
	if n := r.counted("evenkeel_edge_kept_ended_total"); n != 0 {
		t.Errorf("%v were kept", n)
	}
}
