package edge

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/edge/tenants"
)

// traced starts an edge that takes part in tracing, whose servers answer with what they are told of the trace.
func traced(t *testing.T, p *fakePicker, change func(*Config)) (r *running, logged func() []map[string]any) {
	var mu sync.Mutex
	var lines bytes.Buffer
	s := granted("s1", server(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, strings.Join(r.Header["Traceparent"], "|")+" "+strings.Join(r.Header["Tracestate"], "|"))
	}))
	p.pick = among(dead(t, "s0"), s)
	r = run(t, p, func(c *Config) {
		c.AccessLog = slog.New(slog.NewJSONHandler(locked{&mu, &lines}, nil))
		c.Trace.From = tenants.Any
		change(c)
	})
	return r, func() (all []map[string]any) {
		r.stop()
		<-r.stopped
		mu.Lock()
		defer mu.Unlock()
		for text := range strings.Lines(lines.String()) {
			var line map[string]any
			if err := json.Unmarshal([]byte(text), &line); err != nil {
				t.Fatal(err)
			}
			all = append(all, line)
		}
		return all
	}
}

const (
	someTrace  = "0af7651916cd43dd8448eb211c80319c"
	someSpan   = "b7ad6b7169203331"
	someParent = "00-" + someTrace + "-" + someSpan + "-01"
)

// A trace is continued, or begun if there is none that counts. The server's parent is the lease, so that what is known of the
// decision is found by it.
func TestTraces(t *testing.T) { eachPicker(t, testTraces) }

func testTraces(t *testing.T) {
	everybody := netip.MustParsePrefix("127.0.0.0/8")
	for _, c := range []struct {
		name      string
		from      tenants.From
		trusted   bool
		sample    float64
		headers   []string
		continued bool
		flags     string
		state     string
	}{
		{"of any client", tenants.Any, false, 0, []string{"Traceparent", someParent, "Tracestate", "a=1", "Tracestate", "b=2"}, true, "01", "a=1|b=2"},
		{"not sampled", tenants.Any, false, 0, []string{"Traceparent", someParent[:53] + "00"}, true, "00", ""},
		{"of a trusted proxy", tenants.Trusted, true, 0, []string{"Traceparent", someParent, "Tracestate", "a=1"}, true, "01", "a=1"},
		{"of another client", tenants.Trusted, false, 0, []string{"Traceparent", someParent, "Tracestate", "a=1"}, false, "03", ""},
		{"none", tenants.Any, false, 0, nil, false, "03", ""},
		{"none, and none is sampled", tenants.Any, false, -1, nil, false, "02", ""},
		{"malformed", tenants.Any, false, 0, []string{"Traceparent", "00-1-2-3", "Tracestate", "a=1"}, false, "03", ""},
		{"two", tenants.Any, false, 0, []string{"Traceparent", someParent, "Traceparent", someParent, "Tracestate", "a=1"}, false, "03", ""},
		{"with a request id", tenants.Any, false, 0, []string{"X-Request-Id", "mine"}, false, "03", ""},
		{"a probe", tenants.Trusted, true, 0, []string{"Traceparent", someParent, "Max-Forwards", "9"}, true, "01", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newFakePicker()
			r, logged := traced(t, p, func(cfg *Config) {
				cfg.Trace = routing.Trace{From: c.from, Sample: c.sample}
				if c.trusted {
					cfg.Listeners[0].TrustedProxies = []netip.Prefix{everybody}
				}
			})
			method := "GET"
			if c.name == "a probe" {
				method = "OPTIONS"
			}
			res, body := r.do(r.request(method, "/", strings.Repeat("b", 1<<20), c.headers...)) // which takes the place of the head
			told := regexp.MustCompile(`^00-([0-9a-f]{32})-([0-9a-f]{16})-(0[0-3]) (.*)$`).FindStringSubmatch(body)
			if told == nil {
				t.Fatalf("the server was told %q", body)
			}
			lines := logged()
			if len(lines) != 1 {
				t.Fatalf("%d records, want 1", len(lines))
			}
			line := lines[0]
			if (told[1] == someTrace) != c.continued || told[3] != c.flags || told[4] != c.state {
				t.Errorf("the server was told %q, want flags %s, state %q", body, c.flags, c.state)
			}
			if line["trace_id"] != told[1] || line["span_id"] != told[2] || line["trace_flags"] != c.flags || line["lease"] != told[2] || line["attempts"] != 2. {
				t.Errorf("the server was told %q, the log is %v", body, line)
			}
			if parent := line["parent_span_id"]; c.continued && parent != someSpan || !c.continued && parent != nil {
				t.Errorf("the parent of the edge's span is %v", parent)
			}
			if id := res.Header.Get("X-Request-Id"); !c.continued && (id == told[1]) != (c.name != "with a request id") {
				t.Errorf("request %s has trace %s", id, told[1])
			}
		})
	}
}

// Without the setting, what clients say of traces goes on as it is, and nothing is logged.
func TestTracesAreLeftAlone(t *testing.T) {
	r, logged := traced(t, newFakePicker(), func(c *Config) { c.Trace = routing.Trace{} })
	for headers, want := range map[*[]string]string{{"Traceparent", "odd", "Tracestate", "a=1"}: "odd a=1", {}: " "} {
		if _, body := r.do(r.request("GET", "/", "", *headers...)); body != want {
			t.Errorf("the server was told %q, want %q", body, want)
		}
	}
	for _, line := range logged() {
		if line["trace_id"] != nil || line["span_id"] != nil || line["trace_flags"] != nil {
			t.Errorf("logged %v", line)
		}
	}
}

// Without a lease the span has an id all the same, and a redirected client gets none.
func TestSpansWithoutALease(t *testing.T) {
	p := newFakePicker()
	r, logged := traced(t, p, func(c *Config) { c.Listeners[0].Routes[0].Path = "/a" })
	if res, _ := r.do(r.request("GET", "/", "", "Traceparent", someParent)); res.StatusCode != 404 || res.Header.Get("Traceparent") != "" {
		t.Errorf("answered %s %v", res.Status, res.Header)
	}
	if line := logged()[0]; line["trace_id"] != someTrace || line["span_id"] != nil || line["parent_span_id"] != someSpan {
		t.Errorf("logged %v", line)
	}
}

// A kept request stays in the trace of the request that brought it, whatever that client's word counts.
func TestTraceOfAKeptRequest(t *testing.T) {
	for _, from := range []tenants.From{tenants.Any, tenants.Trusted} {
		r, logged := traced(t, newFakePicker(), func(c *Config) {
			keeping(c)
			c.Trace.From = from
		})
		_, body := r.result(r.accepted(r.request("POST", "/", "body", "Traceparent", someParent, "Tracestate", "a=1")))
		told, state, _ := strings.Cut(body, " ")
		var taken, kept map[string]any
		for _, line := range logged() {
			if line["kept"] == true {
				kept = line
			} else if line["status"] == 202. {
				taken = line
			}
		}
		if continued := from == tenants.Any; (taken["trace_id"] == someTrace) != continued || (taken["parent_span_id"] == someSpan) != continued || (state == "a=1") != continued {
			t.Errorf("from %v: the server was told %q; the request was taken as %v", from, body, taken)
		}
		if kept["trace_id"] != taken["trace_id"] || kept["parent_span_id"] != taken["span_id"] || kept["span_id"] != kept["lease"] || told != "00-"+kept["trace_id"].(string)+"-"+kept["span_id"].(string)+"-"+kept["trace_flags"].(string) {
			t.Errorf("from %v: the server was told %q; taken as %v, kept as %v", from, body, taken, kept)
		}
	}
}
