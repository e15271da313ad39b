package edge

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
)

// counted returns the sum of a metric's series.
func (r *running) counted(name string) (sum float64) {
	r.t.Helper()
	families, err := r.deps.Metrics.Registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.Metric {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// What a route says of its requests goes with the ask, from a body in one piece, in several buffers and in chunks. The
// server gets the body all the same.
func TestFactsOfARequest(t *testing.T) { eachPicker(t, testFactsOfARequest) }

func testFactsOfARequest(t *testing.T) {
	p := newFakePicker()
	got := make(chan string, 1)
	p.pick = among(granted("s1", server(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- string(body)
	})))
	r := run(t, p, func(c *Config) {
		route := &c.Listeners[0].Routes[0]
		route.BufferRequest, route.Key, route.Timeout = 64<<10, "json:/user", time.Hour
		route.Facts = routing.Facts{Size: `expr:json("/frames") * 2`, Class: "json:/kind", Priority: "query:p", Labels: map[string]string{"gpu": "json:/gpu"},
			Location: "header:X-At", Hold: "90s", Deadline: "header:X-Deadline"}
	})
	const facts = `"frames":12,"kind":"long","gpu":"a100","user":"ann"}`
	for i, c := range []struct {
		body    string
		chunked bool
	}{{"{" + facts, false}, {`{"pad":"` + strings.Repeat("x", 40<<10) + `",` + facts, false}, {"{" + facts, true}, {`{"pad":"` + strings.Repeat("x", 40<<10) + `",` + facts, true}} {
		req := r.request("POST", "/?p=7", c.body, "X-At", "eu", "X-Deadline", "60s")
		if c.chunked {
			req.ContentLength = -1
		}
		if res, _ := r.do(req); res.StatusCode != 200 {
			t.Fatalf("%d: answered %s", i, res.Status)
		}
		if have := <-got; have != c.body {
			t.Errorf("%d: the server got %d bytes, want %d", i, len(have), len(c.body))
		}
		p.mu.Lock()
		q := p.asks[i]
		p.mu.Unlock()
		if q.Size != 24 || q.Class != "long" || q.Priority != 7 || q.Location != "eu" || q.Hold != 90*time.Second || q.Key != "ann" || !slices.Equal(q.Labels, []balance.Label{{Key: "gpu", Value: "a100"}}) {
			t.Errorf("%d: asked with %+v", i, q)
		}
		if left := q.Deadline.Sub(balance.Instant(0)); q.Deadline == 0 || left <= 0 {
			t.Errorf("%d: deadline %v", i, q.Deadline)
		}
	}
	if n := r.counted("evenkeel_edge_facts_unreadable_total") + r.counted("evenkeel_edge_facts_unbuffered_total"); n != 0 {
		t.Errorf("%v facts are counted as not read", n)
	}
}

// The deadline of a request shortens the route's timeout and never extends it.
func TestDeadlinesBoundTheAsk(t *testing.T) {
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, func(http.ResponseWriter, *http.Request) {})))
	r := run(t, p, func(c *Config) {
		c.Listeners[0].Routes[0].Timeout = 10 * time.Hour
		c.Listeners[0].Routes[0].Facts.Deadline = "header:x"
	})
	for _, x := range []string{"24h", "1h", ""} {
		r.do(r.request("GET", "/", "", "X", x))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	long, short, none := p.asks[0].Deadline, p.asks[1].Deadline, p.asks[2].Deadline
	const between = balance.Instant(5 * time.Hour)
	if long-short < between || none-short < between || long-none > between || none-long > between {
		t.Errorf("deadlines %v, %v and %v; want the route's 10 h, the request's 1 h, and the route's again", long, short, none)
	}
}

// A body that is longer than what is read first has the size of its Content-Length, and is counted; so is what cannot be
// read. No client is told.
func TestFactsThatAreNotThere(t *testing.T) {
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })))
	var log bytes.Buffer
	r := run(t, p, func(c *Config) {
		c.AccessLog = slog.New(slog.NewTextHandler(&log, nil))
		c.Listeners[0].Routes[0].BufferRequest = 4 << 10
		c.Listeners[0].Routes[0].Facts = routing.Facts{Size: "json:/frames", Class: "header:X-Class", Priority: "header:X-Priority"}
	})
	body := `{"pad":"` + strings.Repeat("x", 200<<10) + `","frames":12}`
	for _, c := range []struct {
		body, priority string
		size           float64
	}{{body, "high", float64(len(body))}, {"no JSON", "", 0}, {"", "2", 0}} {
		if res, _ := r.do(r.request("POST", "/", c.body, "X-Priority", c.priority, "X-Class", "batch")); res.StatusCode != 200 {
			t.Fatalf("answered %s", res.Status)
		}
		p.mu.Lock()
		q := p.asks[len(p.asks)-1]
		p.mu.Unlock()
		if q.Size != c.size || q.Class != "batch" || (q.Priority == 2) != (c.priority == "2") {
			t.Errorf("asked with size %v, class %s, priority %d; want size %v", q.Size, q.Class, q.Priority, c.size)
		}
	}
	if bad, beyond := r.counted("evenkeel_edge_facts_unreadable_total"), r.counted("evenkeel_edge_facts_unbuffered_total"); bad != 2 || beyond != 1 {
		t.Errorf("%v facts are counted as unreadable and %v as unbuffered, want 2 and 1", bad, beyond)
	}
	p.wantResults(t, balance.OK, balance.OK, balance.OK)
	r.stop()
	<-r.stopped
	if text := log.String(); !strings.Contains(text, "class=batch") || !strings.Contains(text, "size=204") {
		t.Errorf("the access log has no size or class: %s", text)
	}
}

// A request that names no class has that of its method and route.
func TestDefaultClassIsAsked(t *testing.T) {
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, func(http.ResponseWriter, *http.Request) {})))
	r := run(t, p, func(c *Config) { c.Listeners[0].Routes[0].Path = "/v1" })
	r.do(r.request("DELETE", "/v1/x", ""))
	p.mu.Lock()
	defer p.mu.Unlock()
	if q := p.asks[0]; q.Class != "DELETE:/v1" || q.Size != 0 {
		t.Errorf("asked with class %q and size %v", q.Class, q.Size)
	}
}

// What a server says of the size that turned out goes with the done, and not to the client.
func TestSizesThatTurnOut(t *testing.T) { eachPicker(t, testSizesThatTurnOut) }

func testSizesThatTurnOut(t *testing.T) {
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/header":
			w.Header().Set("Evenkeel-Size", "180.5")
		case "/trailer":
			w.Header().Set("Trailer", "Evenkeel-Size, X-Kept")
			defer func() { w.Header().Set("Evenkeel-Size", "42"); w.Header().Set("X-Kept", "yes") }()
		case "/orca":
			w.Header().Set("endpoint-load-metrics", "TEXT cpu_utilization=0.5,request_cost.tokens=77")
		case "/bad":
			w.Header().Set("Evenkeel-Size", "-1")
		}
		_, _ = io.WriteString(w, "0123456789")
		w.(http.Flusher).Flush()
	})))
	r := run(t, p, nil)
	for i, c := range []struct {
		path string
		size float64
	}{{"/header", 180.5}, {"/trailer", 42}, {"/orca", 77}, {"/bad", 0}, {"/none", 0}} {
		res, body := r.do(r.request("GET", c.path, ""))
		if body != "0123456789" || res.Header.Get("Evenkeel-Size") != "" || res.Trailer.Get("Evenkeel-Size") != "" || (c.path == "/trailer") != (res.Trailer.Get("X-Kept") == "yes") {
			t.Errorf("%s: the client got %q with %v and the trailers %v", c.path, body, res.Header, res.Trailer)
		}
		want := slices.Repeat([]balance.Result{balance.OK}, i+1)
		p.wantResults(t, want...)
		p.mu.Lock()
		o := p.done[balance.LeaseID(i+1)][0]
		p.mu.Unlock()
		if o.Size != c.size || o.Bytes != 10 || o.FirstByte <= 0 || o.FirstByte > o.Duration {
			t.Errorf("%s: told %+v, want size %v, 10 bytes, and a first byte before the last", c.path, o, c.size)
		}
	}
}
