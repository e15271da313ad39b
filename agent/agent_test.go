package agent

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// recorder is a Sender that notes when it was told what.
type recorder struct {
	start time.Time
	away  bool

	mu      sync.Mutex
	reports []balance.Report
	at      []time.Duration
	done    []string
	serving []string
}

func (r *recorder) Report(report balance.Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reports = append(r.reports, report)
	r.at = append(r.at, time.Since(r.start))
}

func (r *recorder) Done(lease balance.TaggedLease, o balance.Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = append(r.done, fmt.Sprint(lease, " ", o.Result, " ", o.Duration))
}

func (r *recorder) Serving(problem string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.serving = append(r.serving, problem)
}

func (r *recorder) Connected() bool { return !r.away }

// times returns when reports came that have that value of a metric.
func (r *recorder) times(name string, value float64) (at []time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, report := range r.reports {
		if slices.Contains(report.Metrics, balance.Metric{Name: name, Value: value}) {
			at = append(at, r.at[i])
		}
	}
	return at
}

// running starts an agent and returns what it sends; it ends with the test.
func running(t *testing.T, cfg Config) (*Agent, *recorder) {
	t.Helper()
	cfg.Server = "s1"
	r := &recorder{start: time.Now()}
	a, err := New(cfg, r)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	return a, r
}

// call asks the agent's API and returns status and body.
func call(a *Agent, method, path, contentType, body string) (int, string) {
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	w := httptest.NewRecorder()
	a.Handler().ServeHTTP(w, req)
	return w.Code, w.Body.String()
}

func push(t *testing.T, a *Agent, body string) {
	t.Helper()
	if status, said := call(a, "POST", "/v1/report", "application/json", body); status != http.StatusNoContent {
		t.Errorf("report %s: status %d, %s", body, status, said)
	}
}

func TestReportsComeAtTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, r := running(t, Config{Interval: 100 * time.Millisecond})
		push(t, a, `{"in_flight": 1, "metrics": {"queue": 0}}`)
		time.Sleep(350 * time.Millisecond)
		synctest.Wait()
		want := []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 300 * time.Millisecond}
		if got := r.times(balance.InFlight, 1); !slices.Equal(got, want) {
			t.Errorf("reports at %v, want %v", got, want)
		}
		if got := r.reports[0]; got.Server != "s1" || got.Age != 0 || len(got.Metrics) != 2 {
			t.Errorf("report %+v", got)
		}
	})
}

func TestReportsComeSoonerOnBigChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, r := running(t, Config{Interval: 100 * time.Millisecond})
		time.Sleep(130 * time.Millisecond)
		push(t, a, `{"in_flight": 5}`) // much more than none: at once
		time.Sleep(2 * time.Millisecond)
		push(t, a, `{"in_flight": 6}`) // little: waits for the interval
		time.Sleep(2 * time.Millisecond)
		push(t, a, `{"in_flight": 9}`) // much, but 4 ms after the last report
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		var all []time.Duration
		for _, v := range []float64{5, 6, 9} {
			all = append(all, r.times(balance.InFlight, v)...)
		}
		want := []time.Duration{130 * time.Millisecond, 140 * time.Millisecond, 200 * time.Millisecond}
		if !slices.Equal(all, want) {
			t.Errorf("reports at %v, want %v", all, want)
		}
	})
}

func TestSilentWithoutAnythingToSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, r := running(t, Config{})
		time.Sleep(time.Second)
		synctest.Wait()
		if len(r.reports) != 0 {
			t.Errorf("reports %v, want none", r.reports)
		}
	})
}

// application serves what polls ask for, over connections in memory, so that
// a bubble's time goes on.
func application(t *testing.T, a *Agent, handler http.Handler) {
	t.Helper()
	a.http.Transport = roundTrip(func(req *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, req)
		res := w.Result()
		res.Request = req
		return res, req.Context().Err()
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func TestPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		var mu sync.Mutex
		broken, scrapes := false, 0
		handler := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case broken:
				http.Error(w, "no", http.StatusInternalServerError)
			case req.URL.Path == "/metrics":
				scrapes++
				fmt.Fprintf(w, "waiting{m=\"a\"} %d\nwaiting{m=\"b\"} 100\n", scrapes)
			case req.Header.Get("Endpoint-Load-Metrics-Format") == "TEXT":
				w.Header().Set("Endpoint-Load-Metrics", "TEXT application_utilization=0.25")
			}
		})
		a, r := newPolling(t, &log)
		application(t, a, handler)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()

		time.Sleep(1250 * time.Millisecond)
		synctest.Wait()
		if got, want := r.times("named_metrics.queue", 4), []time.Duration{500 * time.Millisecond}; !slices.Equal(got, want) {
			t.Errorf("second scrape reported at %v, want %v", got, want)
		}
		if got, want := r.times("named_metrics.queue", 6), []time.Duration{900 * time.Millisecond}; !slices.Equal(got, want) {
			t.Errorf("third scrape reported at %v, want %v", got, want)
		}
		if i := slices.Index(r.at, 500*time.Millisecond); i < 0 || r.reports[i].Age != 70*time.Millisecond {
			t.Errorf("reports at %v, want one at 500ms with the scrape's age of 70ms", r.at)
		}
		if got := r.times("application_utilization", .25); len(got) != 8 || got[0] != 0 {
			t.Errorf("ORCA reported at %v, want 8 times, first at once, for it is much", got)
		}

		mu.Lock()
		broken = true
		mu.Unlock()
		reports := len(r.reports)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if len(r.reports) != reports {
			t.Errorf("%d reports from broken sources", len(r.reports)-reports)
		}
		if got := strings.Count(log.String(), "a source of metrics fails"); got != 2 {
			t.Errorf("two sources broke, logged %d times:\n%s", got, log.String())
		}
		mu.Lock()
		broken = false
		mu.Unlock()
		time.Sleep(time.Second)
		stop()
		if err := <-ended; err != nil || strings.Count(log.String(), "a source of metrics works again") != 2 {
			t.Errorf("after recovery: %v\n%s", err, log.String())
		}
	})
}

func TestHandlerReport(t *testing.T) {
	for _, test := range []struct {
		contentType, body string
		status            int
		want              []balance.Metric
		detail            string
	}{
		{"", `{"in_flight": 3, "metrics": {"kv": 0.5, "cpu_utilization": 0.1}}`, 204, list(m{"cpu_utilization", .1}, m{balance.InFlight, 3}, m{"named_metrics.kv", .5}), ""},
		{"application/json", `{}`, 204, nil, ""},
		{"text/plain; charset=utf-8", "TEXT named_metrics.in_flight=2,eps=1", 204, list(m{balance.InFlight, 2}, m{"eps", 1}), ""},
		{"text/plain", "eps=1,nonsense=2\n", 204, list(m{"eps", 1}), ""},
		{"text/plain", "nonsense=2", 400, nil, "nonsense"},
		{"application/json", `{"in_flight": 3`, 400, nil, "body"},
		{"application/json", `{"inflight": 3}`, 400, nil, "inflight"},
		{"application/json", `{} {}`, 400, nil, "more than one"},
		{"application/json", `{"metrics": {"": 1}}`, 400, nil, "name of 0 bytes"},
		{"application/json", `{"in_flight": -3, "metrics": {"a": 1}}`, 422, list(m{"named_metrics.a", 1}), "in_flight"},
		{"application/json", strings.Repeat(" ", mostBody+1), 413, nil, "more than"},
		{"application/xml", `<a/>`, 415, nil, "application/xml"},
	} {
		a, err := New(Config{Server: "s"}, &recorder{})
		if err != nil {
			t.Fatal(err)
		}
		status, said := call(a, "POST", "/v1/report", test.contentType, test.body)
		got, _, _ := a.board.take(ms)
		if status != test.status || !slices.Equal(got, test.want) || !strings.Contains(said, test.detail) {
			t.Errorf("%s %.60s\n got %d, %v, %s\nwant %d, %v, %q", test.contentType, test.body, status, got, said, test.status, test.want, test.detail)
		}
	}
}

func TestHandlerDone(t *testing.T) {
	r := &recorder{}
	a, err := New(Config{Server: "s"}, r)
	if err != nil {
		t.Fatal(err)
	}
	const id = "0003f00000000017a1b2c3d4e5f60718"
	for _, test := range []struct {
		id, body string
		status   int
	}{
		{id, "", 204},
		{id, `{"result": "fault", "duration_ms": 1.5}`, 204},
		{id, `{"result": "bad"}`, 400},
		{id, `{"duration_ms": -1}`, 400},
		{"17", "", 400},
		{id[:16], "", 400}, // without the tag
	} {
		if status, said := call(a, "POST", "/v1/leases/"+test.id+"/done", "", test.body); status != test.status {
			t.Errorf("%s %s: got %d %s, want %d", test.id, test.body, status, said, test.status)
		}
	}
	if want := []string{id + " ok 0s", id + " fault 1.5ms"}; !slices.Equal(r.done, want) {
		t.Errorf("told %q, want %q", r.done, want)
	}
}

func TestHandlerRest(t *testing.T) {
	r := &recorder{}
	hook, err := NewHook("")
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(Config{Server: "s", Hook: hook}, r)
	if err != nil {
		t.Fatal(err)
	}
	push(t, a, `{"in_flight": 3}`)
	if status, said := call(a, "GET", "/metrics", "", ""); status != 200 || !strings.Contains(said, `evenkeel_agent_metric{name="named_metrics.in_flight"} 3`) || !strings.Contains(said, "evenkeel_agent_connected 1") {
		t.Errorf("/metrics: %d\n%s", status, said)
	}
	for _, test := range []struct {
		method, path string
		away         bool
		want         int
	}{
		{"GET", "/healthz", true, 200},
		{"GET", "/readyz", false, 200},
		{"GET", "/readyz", true, 503},
		{"GET", "/v1/report", false, 405},
		{"POST", "/metrics", false, 405},
		{"GET", "/nowhere", false, 404},
	} {
		r.away = test.away
		status, said := call(a, test.method, test.path, "", "")
		if status != test.want || status >= 400 && !strings.Contains(said, fmt.Sprintf(`"status":%d`, status)) {
			t.Errorf("%s %s: got %d %s, want %d", test.method, test.path, status, said, test.want)
		}
	}
}

func TestConfigValidate(t *testing.T) {
	cfg := Config{Interval: time.Millisecond, Application: Application{Cgroup: "a", PID: "x"},
		Prometheus: Prometheus{URL: "ftp://x", Metrics: []Series{{"", "a{", -1}}},
		ORCA:       ORCA{URL: "x", Interval: -1}}
	var got []string
	cfg.Validate(func(field, _ string) { got = append(got, field) })
	slices.Sort(got)
	want := []string{"cgroup", "interval", "orca.interval", "orca.url", "pid", "prometheus.metrics[0].name", "prometheus.metrics[0].scale", "prometheus.metrics[0].selector", "prometheus.url", "server"}
	if !slices.Equal(got, want) {
		t.Errorf("bad fields:\n got %q\nwant %q", got, want)
	}
	if _, err := New(cfg, &recorder{}); err == nil {
		t.Error("New took it")
	}
	for _, odd := range []Prometheus{{URL: "http://a/metrics"}, {Metrics: []Series{{"a", "b", 0}}}} {
		cfg := Config{Server: "s", Prometheus: odd}
		if _, err := New(cfg, &recorder{}); err == nil {
			t.Errorf("New took %+v", odd)
		}
	}
}

// TestPollOverSockets holds the real client against a real server.
func TestPollOverSockets(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Endpoint-Load-Metrics", "TEXT eps=2")
	}))
	server.Listener = listener
	server.Start()
	defer server.Close()
	told := make(chan balance.Report, 100)
	a, err := New(Config{Server: "s", Interval: minGap, ORCA: ORCA{URL: server.URL, Interval: minGap}}, telling{told})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	for range 2 {
		if r := <-told; !slices.Equal(r.Metrics, list(m{"eps", 2})) {
			t.Errorf("report %+v", r)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// telling is a Sender that passes reports on while there is room.
type telling struct{ to chan<- balance.Report }

func (t telling) Report(r balance.Report) {
	select {
	case t.to <- r:
	default:
	}
}
func (telling) Done(balance.TaggedLease, balance.Outcome) {}
func (telling) Serving(string)                            {}
func (telling) Connected() bool                           { return true }

func newPolling(t *testing.T, log *strings.Builder) (*Agent, *recorder) {
	t.Helper()
	r := &recorder{start: time.Now()}
	a, err := New(Config{Server: "s", Interval: 100 * time.Millisecond,
		Prometheus: Prometheus{URL: "http://app/metrics", Interval: 430 * time.Millisecond, Metrics: []Series{{"queue", `waiting{m="a"}`, 2}}},
		ORCA:       ORCA{URL: "http://app/orca", Interval: 170 * time.Millisecond},
		Log:        slog.New(slog.NewTextHandler(log, nil))}, r)
	if err != nil {
		t.Fatal(err)
	}
	return a, r
}

// A source that comes and goes does not fill the log.
func TestAFlappingSourceIsLoggedOnceAMinute(t *testing.T) {
	m := newMetrics(&Agent{})
	at := func(second int) balance.Instant {
		return balance.Instant(time.Hour) + balance.Instant(second)*balance.Instant(time.Second)
	}
	for i, step := range []struct {
		second int
		fails  bool
		want   turn
	}{
		{0, true, beginsToFail}, {1, true, goesOn}, {2, false, isWellAgain}, {3, false, goesOn},
		{4, true, goesOn}, {5, false, goesOn}, {59, true, goesOn}, {61, false, goesOn}, {62, true, beginsToFail}, {200, false, isWellAgain},
	} {
		if got := m.judge("prometheus", at(step.second), step.fails); got != step.want {
			t.Errorf("step %d: got %d, want %d", i, got, step.want)
		}
	}
}
