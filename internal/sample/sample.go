// Package sample is a server to try the balancer with. It does no work: a model from
// package station says how long each request takes, in virtual time against the real
// clock, so that dozens of servers fit on one machine and none disturbs another.
//
//	request ──▶ engine (model, one timer) ──▶ response with an ORCA report
//	               │        │
//	             record    teller ──▶ the agent's local API
//
// A request brings its work with it, in seconds at speed 1: in the header Sample-Work, or in the query parameter work. The response to a
// request with an X-Request-Id proves that it belongs to it (package echo). A WebSocket echoes every message.
package sample

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/echo"
	"github.com/evenkeel-lb/evenkeel/internal/orca"
)

// Models by their names.
const (
	PS   = "ps"   // processor sharing: all progress, beyond the slots more slowly
	FCFS = "fcfs" // first come, first served: beyond the slots they wait
)

// Config is what a server is told once.
type Config struct {
	ID     string
	Model  string        // PS or FCFS; empty: PS
	Slots  int           // zero: 1
	Speed  float64       // zero: 1
	Agent  string        // base URL of the agent's local API; empty: the load is not reported
	Refuse bool          // every dispatch
	Window time.Duration // over which the utilisation is a mean; zero: 100 ms
	Quiet  bool          // answers carry no load report
	Exact  bool          // answers are in time to a tenth of a millisecond, not to a whole one
	Record io.Writer     // gets each event of the record as a line of JSON, before its request is worked on; nil: nothing does
	Log    *slog.Logger
}

// Validate calls bad once for every field that cannot be.
func (c *Config) Validate(bad func(field, problem string)) {
	if c.Model != "" && c.Model != PS && c.Model != FCFS {
		bad("model", fmt.Sprintf("%q, want %s or %s", c.Model, PS, FCFS))
	}
	if c.Slots < 0 || c.Slots > 1e6 {
		bad("slots", fmt.Sprintf("%d, want 1 to 1000000", c.Slots))
	}
	if !(c.Speed >= 0 && c.Speed <= 1e6) {
		bad("speed", fmt.Sprintf("%v, want more than 0, at most 1000000", c.Speed))
	}
	if c.Window < 0 || c.Window > time.Hour {
		bad("window", fmt.Sprintf("%v, want 0 (100 ms) to 1h", c.Window))
	}
	if u, err := url.Parse(c.Agent); c.Agent != "" && (err != nil || u.Scheme != "http" || u.Host == "") {
		bad("agent", fmt.Sprintf("%q, want a URL such as http://127.0.0.1:7482", c.Agent))
	}
}

// Server answers requests when its model says that they are done.
type Server struct {
	cfg    Config
	engine *engine
	record *record
	teller *teller // nil: no agent
}

// New returns a server that answers once Run has begun. It panics if Validate finds
// fault with cfg.
func New(cfg Config) *Server {
	cfg.Validate(func(field, problem string) { panic("sample: " + field + ": " + problem) })
	s := &Server{cfg: cfg, engine: newEngine(cfg), record: newRecord(cfg.Record)}
	if cfg.Agent != "" {
		s.teller = newTeller(cfg, s.engine.load)
		s.engine.changed = s.teller.wake
	}
	return s
}

// Run works until ctx ends, and returns nil when all it started has ended.
func (s *Server) Run(ctx context.Context) error {
	var tell sync.WaitGroup
	defer tell.Wait()
	if s.teller != nil {
		tell.Go(func() { s.teller.run(ctx) })
	}
	s.engine.run(ctx)
	return nil
}

// Handler returns the server for clients, and beside it
//
//	POST /dispatch  an agent's hook: accepts, or refuses with 503
//	POST /load      {"in_flight": n}: n requests without end, which occupy slots
//	GET  /record    the last 10,000 events in order of arrival, as JSON
//	GET  /metrics   Prometheus
//	GET  /healthz   lives; the answer carries the load in its header, as every other does
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", s.serve)
	mux.HandleFunc("POST /dispatch", s.dispatch)
	mux.HandleFunc("POST /load", s.load)
	mux.HandleFunc("GET /record", s.events)
	mux.HandleFunc("GET /metrics", s.metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { s.head(w) })
	return mux
}

// head puts who we are and how loaded into a response's header.
func (s *Server) head(w http.ResponseWriter) {
	w.Header().Set("Evenkeel-Server", s.cfg.ID)
	if !s.cfg.Quiet {
		w.Header().Set(orca.Header, string(orca.AppendText(nil, s.engine.load().metrics())))
	}
}

// Metrics returns the load now, as a report has it, for callers that run the server in
// its own process and reports for it.
func (s *Server) Metrics() []balance.Metric { return s.engine.load().metrics() }

// served is the body of a response.
type served struct {
	echo.Line
	Lease    string  `json:"lease,omitempty"`
	Path     string  `json:"path"`
	Work     float64 `json:"work"` // seconds at speed 1
	WaitedMS float64 `json:"waited_ms"`
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	work, err := workOf(r)
	if err != nil {
		s.head(w)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if echo.IsWebSocket(r) {
		s.stream(w, r)
		return
	}
	got, err := echo.Receive(r)
	if bad := new(echo.BadFill); errors.As(err, &bad) {
		s.head(w)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	} else if err != nil {
		return // the client broke off; nothing has begun
	}
	v := s.record.arrived(r)
	began := time.Now()
	finished := s.engine.work(r.Context(), work)
	took := time.Since(began)
	s.over(v, finished, took)
	if !finished {
		return // the client has disconnected
	}
	s.head(w)
	w.Header().Set("Content-Type", "application/json")
	body := served{Line: echo.Line{Server: s.cfg.ID}, Lease: v.lease, Path: r.URL.Path, Work: work, WaitedMS: float64(took.Microseconds()) / 1000}
	if got.ID != "" {
		body.Receipt = got.String()
		w.Header().Set(echo.HeaderReceipt, body.Receipt)
	}
	_ = json.NewEncoder(w).Encode(body) // a client that has left reads nothing
	_, _ = got.WriteFill(w)
}

// stream serves a WebSocket, which counts as no work.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	v := s.record.arrived(r)
	began := time.Now()
	echo.ServeWebSocket(w, r, s.cfg.ID)
	s.over(v, true, time.Since(began))
}

// over notes the end of a visit and, of a redirected one, tells the agent; no edge does that for a redirected request.
func (s *Server) over(v visit, finished bool, took time.Duration) {
	s.record.add(event{Kind: "done", ID: v.id, Lease: v.lease, Path: v.path, Aborted: !finished})
	if s.teller == nil || !v.direct || v.lease == "" {
		return
	}
	result := balance.OK
	if !finished {
		result = balance.Canceled
	}
	s.teller.done(v.lease, result, took)
}

// workOf reads how much work a request brings; none is zero.
func workOf(r *http.Request) (seconds float64, err error) {
	said := r.Header.Get("Sample-Work")
	if said == "" {
		said = r.URL.Query().Get("work")
	}
	if said == "" {
		return 0, nil
	}
	seconds, err = strconv.ParseFloat(said, 64)
	if err != nil || !(seconds >= 0 && seconds <= 1e6) {
		return 0, fmt.Errorf("work %q: want seconds, such as 0.100", said)
	}
	return seconds, nil
}

func (s *Server) dispatch(w http.ResponseWriter, r *http.Request) {
	var d struct {
		Lease string `json:"lease"`
		Path  string `json:"path"`
		Edge  string `json:"edge"`
		Fence uint64 `json:"fence"`
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, 64<<10)).Decode(&d); err != nil {
		http.Error(w, "want a dispatch as JSON: "+err.Error(), http.StatusBadRequest)
		return
	}
	e := event{Kind: "dispatch", Lease: d.Lease, Edge: d.Edge, Path: d.Path, Refused: s.cfg.Refuse}
	if d.Fence != 0 {
		e.Fence = strconv.FormatUint(d.Fence, 10)
	}
	s.record.dispatched(e)
	s.head(w)
	if s.cfg.Refuse {
		http.Error(w, "this server refuses every dispatch", http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// mostLoad bounds the requests that /load puts in flight.
const mostLoad = 100_000

func (s *Server) load(w http.ResponseWriter, r *http.Request) {
	var body struct {
		InFlight int `json:"in_flight"`
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<10)).Decode(&body); err != nil || body.InFlight < 0 || body.InFlight > mostLoad {
		http.Error(w, fmt.Sprintf(`want {"in_flight": n} with n from 0 to %d`, mostLoad), http.StatusBadRequest)
		return
	}
	s.engine.occupy(body.InFlight)
	s.head(w)
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) events(w http.ResponseWriter, _ *http.Request) {
	s.head(w)
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(s.record.all())
}

func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	l := s.engine.load()
	s.head(w)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	var b strings.Builder
	for _, m := range []struct {
		kind, name, help string
		value            float64
	}{
		{"gauge", "in_flight", "Requests in work or waiting.", float64(l.inFlight)},
		{"gauge", "utilization", "Busy share of the slots, of late.", l.busy},
		{"counter", "requests_total", "Requests answered.", float64(l.answered)},
	} {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n%s{server=%q} %v\n", m.name, m.help, m.name, m.kind, m.name, s.cfg.ID, m.value)
	}
	io.WriteString(w, b.String())
}

// figures are a server's load at one time.
type figures struct {
	inFlight int
	busy     float64 // share of the slots, mean over the window
	rate     float64 // answers a second, of late
	answered uint64
}

func (f figures) metrics() []balance.Metric {
	return []balance.Metric{
		{Name: balance.ApplicationUtilization, Value: math.Round(f.busy*1e4) / 1e4},
		{Name: balance.InFlight, Value: float64(f.inFlight)},
		{Name: balance.RPS, Value: math.Round(f.rate*100) / 100},
	}
}
