package sample

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/evenkeel-lb/evenkeel/internal/echo"
	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/orca"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running starts a server without sockets; it ends with the test.
func running(t *testing.T, cfg Config) *Server {
	t.Helper()
	if cfg.ID == "" {
		cfg.ID = "s1"
	}
	s := New(cfg)
	start(t, s)
	return s
}

func start(t *testing.T, s *Server) {
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
}

func ask(s *Server, method, target, body string, header ...string) *httptest.ResponseRecorder {
	return askUntil(context.Background(), s, method, target, body, header...)
}

func askUntil(ctx context.Context, s *Server, method, target, body string, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, req)
	return w
}

func answered(t *testing.T, w *httptest.ResponseRecorder) (body served) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &body); w.Code != 200 || err != nil {
		t.Fatalf("status %d, %v: %s", w.Code, err, w.Body)
	}
	return body
}

// reported reads a response's load report.
func reported(t *testing.T, w *httptest.ResponseRecorder) map[string]float64 {
	t.Helper()
	metrics, err := orca.Parse(w.Result().Header.Values)
	if err != nil || len(metrics) != 3 {
		t.Fatalf("load report %q: %v, %v", w.Header(), metrics, err)
	}
	got := make(map[string]float64)
	for _, m := range metrics {
		got[m.Name] = m.Value
	}
	return got
}

func TestAnswersComeWhenTheModelSays(t *testing.T) {
	for _, test := range []struct {
		model string
		want  []time.Duration // of three requests of 100 ms each at once, on one slot of speed 2
	}{
		{PS, []time.Duration{150 * time.Millisecond, 150 * time.Millisecond, 150 * time.Millisecond}},
		{FCFS, []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 150 * time.Millisecond}},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := running(t, Config{Model: test.model, Speed: 2})
			var mu sync.Mutex
			var got []time.Duration
			var all sync.WaitGroup
			began := time.Now()
			for i := range 3 {
				all.Go(func() {
					target, header := "/x?work=0.1", []string(nil)
					if i == 0 {
						target, header = "/x", []string{"Sample-Work", "0.100"}
					}
					body := answered(t, ask(s, "GET", target, "", header...))
					mu.Lock()
					defer mu.Unlock()
					got = append(got, time.Since(began).Round(time.Microsecond))
					if body.Server != "s1" || body.Work != .1 || body.WaitedMS < 49 {
						t.Errorf("body %+v", body)
					}
				})
			}
			all.Wait()
			if !slices.Equal(got, test.want) {
				t.Errorf("%s: answers after %v, want %v", test.model, got, test.want)
			}
		})
	}
}

func TestNoWorkIsAnsweredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := running(t, Config{})
		w := ask(s, "POST", "/x", "body")
		if body := answered(t, w); body.WaitedMS != 0 || w.Header().Get("Evenkeel-Server") != "s1" {
			t.Errorf("body %+v, header %v", body, w.Header())
		}
	})
}

func TestLoadReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := running(t, Config{Slots: 4})
		if got := reported(t, ask(s, "GET", "/healthz", "")); got["application_utilization"] != 0 || got["named_metrics.in_flight"] != 0 {
			t.Errorf("idle: %v", got)
		}
		ask(s, "POST", "/load", `{"in_flight": 2}`)
		time.Sleep(50 * time.Millisecond)
		if got := reported(t, ask(s, "GET", "/healthz", "")); got["named_metrics.in_flight"] != 2 || got["application_utilization"] != .5 {
			t.Errorf("2 of 4 slots for 50 ms, all of its life: %v", got)
		}
		time.Sleep(time.Second)
		ask(s, "POST", "/load", `{"in_flight": 9}`)
		time.Sleep(50 * time.Millisecond)
		if got := reported(t, ask(s, "GET", "/healthz", "")); got["named_metrics.in_flight"] != 9 || got["application_utilization"] != .75 {
			t.Errorf("half full and then full, 50 ms each: %v", got)
		}
		ask(s, "POST", "/load", `{"in_flight": 0}`)
		time.Sleep(time.Second)
		if got := reported(t, ask(s, "GET", "/healthz", "")); got["named_metrics.in_flight"] != 0 || got["application_utilization"] != 0 {
			t.Errorf("load taken away: %v", got)
		}
		for range 1000 {
			ask(s, "GET", "/x", "")
			time.Sleep(10 * time.Millisecond)
		}
		if got := reported(t, ask(s, "GET", "/healthz", ""))["rps_fractional"]; got < 90 || got > 110 {
			t.Errorf("100 requests a second: rps_fractional %v", got)
		}
		if n := len(s.engine.marks); n > 2*int(window/finest) {
			t.Errorf("%d marks are kept", n)
		}
	})
}

func TestOccupiedSlotsDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := running(t, Config{Slots: 2})
		ask(s, "POST", "/load", `{"in_flight": 3}`)
		if body := answered(t, ask(s, "GET", "/x?work=0.1", "")); body.WaitedMS != 200 {
			t.Errorf("a fourth request on two slots waited %v ms, want 200", body.WaitedMS)
		}
	})
}

func TestAbortedRequestLeavesTheModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := running(t, Config{Model: FCFS})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		var both sync.WaitGroup
		both.Go(func() { askUntil(ctx, s, "GET", "/gone?work=10", "") })
		synctest.Wait()
		var waited float64
		both.Go(func() { waited = answered(t, ask(s, "GET", "/next?work=0.1", "")).WaitedMS })
		both.Wait()
		if waited != 130 {
			t.Errorf("the next waited %v ms, want 130", waited)
		}
		var last event
		for _, e := range s.record.all() {
			if e.Path == "/gone" {
				last = e
			}
		}
		if last.Kind != "done" || !last.Aborted {
			t.Errorf("last event of the aborted request: %+v", last)
		}
	})
}

func TestBadRequests(t *testing.T) {
	s := running(t, Config{})
	for _, test := range []struct{ method, target, body string }{
		{"GET", "/x?work=-1", ""},
		{"GET", "/x?work=NaN", ""},
		{"GET", "/x?work=much", ""},
		{"POST", "/load", "{"},
		{"POST", "/load", `{"in_flight": -1}`},
		{"POST", "/load", `{"in_flight": 1e9}`},
		{"POST", "/dispatch", "?"},
	} {
		if w := ask(s, test.method, test.target, test.body); w.Code != http.StatusBadRequest {
			t.Errorf("%s %s %s: status %d, want 400", test.method, test.target, test.body, w.Code)
		}
	}
}

func TestDispatchAndRecord(t *testing.T) {
	s := running(t, Config{})
	if w := ask(s, "POST", "/dispatch", `{"lease": "0000000000000001", "path": "/a?b=c", "pool": "p"}`); w.Code != http.StatusNoContent {
		t.Errorf("dispatch: %d", w.Code)
	}
	ask(s, "GET", "/a?b=c", "", "Evenkeel-Lease", "0000000000000001", "Evenkeel-Edge", "e1")
	var got []event
	if err := json.Unmarshal(ask(s, "GET", "/record", "").Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := []event{
		{Kind: "dispatch", Lease: "0000000000000001", Path: "/a"},
		{Kind: "request", Method: "GET", Lease: "0000000000000001", Edge: "e1", Path: "/a"},
		{Kind: "done", Lease: "0000000000000001", Path: "/a"},
	}
	var at int64
	for i := range got {
		if got[i].At < at {
			t.Errorf("event %d came before the one before it", i)
		}
		at, got[i].At = got[i].At, 0
	}
	if !slices.Equal(got, want) {
		t.Errorf("record\n got %+v\nwant %+v", got, want)
	}

	refusing := running(t, Config{Refuse: true})
	if w := ask(refusing, "POST", "/dispatch", `{"lease": "0000000000000001", "path": "/a"}`); w.Code != http.StatusServiceUnavailable {
		t.Errorf("refused dispatch: %d", w.Code)
	}
	if e := refusing.record.all()[0]; !e.Refused || e.Kind != "dispatch" {
		t.Errorf("record of a refusal: %+v", e)
	}
}

func TestRecordKeepsTheLast(t *testing.T) {
	r := newRecord(nil)
	for i := range mostEvents + 7 {
		r.add(event{Path: fmt.Sprint(i)})
	}
	all := r.all()
	if len(all) != mostEvents || all[0].Path != "7" || all[mostEvents-1].Path != fmt.Sprint(mostEvents+6) {
		t.Errorf("%d events from %q to %q", len(all), all[0].Path, all[len(all)-1].Path)
	}
	for i := range mostAwaited + 5 {
		r.dispatched(event{Lease: fmt.Sprint(i), Path: "/x"})
	}
	if len(r.awaited) != mostAwaited || r.awaited[0].lease != "5" {
		t.Errorf("%d dispatches are awaited, the first is %q", len(r.awaited), r.awaited[0].lease)
	}
}

// What is written down outlives the server, and has come before its answer.
func TestRecordIsWrittenDown(t *testing.T) {
	var out strings.Builder
	s := running(t, Config{Record: &out})
	ask(s, "POST", "/dispatch", `{"lease": "00000000000000aa", "path": "/x?y", "edge": "e1", "fence": 7}`)
	ask(s, "PUT", "/x", "abc", "X-Request-Id", "r1", "Evenkeel-Lease", "00000000000000aa", "Evenkeel-Fence", "7")
	var got []string
	for line := range strings.Lines(out.String()) {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.At == 0 {
			t.Fatalf("%q: %v", line, err)
		}
		got = append(got, strings.Join([]string{e.Kind, e.ID, e.Method, e.Lease, e.Edge, e.Path, e.Fence}, " "))
	}
	want := []string{"dispatch   00000000000000aa e1 /x 7", "request r1 PUT 00000000000000aa  /x 7", "done r1  00000000000000aa  /x "}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAnAnswerProvesWhoseItIs(t *testing.T) {
	s := running(t, Config{})
	q := echo.Question{ID: "r1", Body: 1000, Fill: 5000}
	body, err := io.ReadAll(q.Content())
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Check(ask(s, "PUT", "/x", string(body), echo.HeaderID, "r1", echo.HeaderFill, "5000").Result()); err != nil {
		t.Error(err)
	}
	if w := ask(s, "GET", "/x", "", echo.HeaderFill, "-1"); w.Code != http.StatusBadRequest {
		t.Errorf("a fill of -1 got %d, want 400", w.Code)
	}
}

func TestMetrics(t *testing.T) {
	s := running(t, Config{Slots: 2})
	ask(s, "GET", "/x", "")
	ask(s, "POST", "/load", `{"in_flight": 3}`)
	said := ask(s, "GET", "/metrics", "").Body.String()
	for _, want := range []string{"# TYPE in_flight gauge\nin_flight{server=\"s1\"} 3\n", "requests_total{server=\"s1\"} 1\n", "utilization{server=\"s1\"} "} {
		if !strings.Contains(said, want) {
			t.Errorf("/metrics lacks %q:\n%s", want, said)
		}
	}
}

func TestConfigValidate(t *testing.T) {
	cfg := Config{Model: "x", Slots: -1, Speed: -1, Agent: "127.0.0.1:1"}
	var got []string
	cfg.Validate(func(field, _ string) { got = append(got, field) })
	if want := []string{"model", "slots", "speed", "agent"}; !slices.Equal(got, want) {
		t.Errorf("bad fields %v, want %v", got, want)
	}
}

// agentAPI stands for an agent: it passes on what it is told.
func agentAPI(t *testing.T) (url string, told <-chan string) {
	ch := make(chan string, 1000)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		said, _ := io.ReadAll(r.Body)
		ch <- r.Method + " " + r.URL.Path + " " + string(said)
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(api.Close)
	return api.URL, ch
}

// await reads what the agent is told until it is told that.
func await(t *testing.T, told <-chan string, parts ...string) string {
	t.Helper()
	for said := range told {
		if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(said, p) }) {
			return said
		}
	}
	return ""
}

func TestTellsTheAgent(t *testing.T) {
	url, told := agentAPI(t)
	s := running(t, Config{Agent: url + "/", Slots: 2})
	ask(s, "POST", "/load", `{"in_flight": 5}`)
	await(t, told, "POST /v1/report", `"named_metrics.in_flight":5`)
	await(t, told, `"application_utilization":1`)

	ask(s, "GET", "/a?work=0.001&lease=0000000000000009", "")
	if said := await(t, told, "/done"); !strings.Contains(said, "/v1/leases/0000000000000009/done") || !strings.Contains(said, `"result":"ok"`) {
		t.Errorf("a redirected request ended, the agent was told %s", said)
	}
	ask(s, "POST", "/dispatch", `{"lease": "0000000000000007", "path": "/b"}`)
	ask(s, "POST", "/dispatch", `{"lease": "0000000000000008", "path": "/b?x=1"}`)
	ask(s, "GET", "/b", "", "Evenkeel-Edge", "e", "Evenkeel-Lease", "0000000000000007") // through an edge, which says done itself
	ask(s, "GET", "/b", "")
	if said := await(t, told, "/done"); !strings.Contains(said, "0000000000000008") {
		t.Errorf("the second dispatch came directly, the agent was told %s", said)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	askUntil(ctx, s, "GET", "/c?work=100&lease=000000000000000a", "")
	if said := await(t, told, "/done"); !strings.Contains(said, `"result":"canceled"`) {
		t.Errorf("a redirected client went away, the agent was told %s", said)
	}
}

func TestAgentAway(t *testing.T) {
	s := running(t, Config{Agent: "http://" + freeport.Address(t)})
	if body := answered(t, ask(s, "GET", "/x", "")); body.Server != "s1" {
		t.Errorf("body %+v", body)
	}
}

// TestOverSockets holds that a client that goes away is noticed on a real connection.
func TestOverSockets(t *testing.T) {
	s := running(t, Config{})
	web := httptest.NewServer(s.Handler())
	defer web.Close()
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "GET", web.URL+"/long?work=1000", nil)
	ended := make(chan error, 1)
	go func() {
		_, err := web.Client().Do(req)
		ended <- err
	}()
	until(t, func() bool { return s.engine.load().inFlight == 1 })
	cancel()
	if err := <-ended; err == nil {
		t.Error("the request was answered")
	}
	until(t, func() bool { return s.engine.load().inFlight == 0 })
}

// until waits for something that another goroutine is about to do.
func until(t *testing.T, is func() bool) {
	t.Helper()
	for !is() {
		select {
		case <-t.Context().Done():
			t.Fatal("it did not happen")
		case <-time.After(time.Millisecond):
		}
	}
}

func BenchmarkServe(b *testing.B) {
	s := New(Config{ID: "s1", Slots: 4})
	h := s.Handler()
	req := httptest.NewRequest("GET", "/x", nil)
	for b.Loop() {
		h.ServeHTTP(httptest.NewRecorder(), req)
	}
}
