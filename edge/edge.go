package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/client"
	"github.com/evenkeel-lb/evenkeel/http1"
)

// Picker is whom the edge asks for servers. All methods may be called at once.
//
// Pick's error is a *balance.Refusal, or that of its context; any other says that no
// master answers. Done and Report do not block.
type Picker interface {
	Pick(ctx context.Context, pool string, req *balance.Request) (balance.Grant, error)
	Done(pool string, lease balance.LeaseID, o balance.Outcome)
	Report(pool string, r balance.Report)
}

// snapshots is a Picker that also knows what to choose from when no master answers:
// nil if it does not know yet.
type snapshots interface {
	Snapshot(pool string) *balance.Snapshot
}

// connected is a Picker that can tell whether a master would hear it now. One that
// cannot is always connected.
type connected interface {
	Connected() bool
}

// prompt is a Picker that need not make those wait whose answer is there, nor have the
// clock read for it.
type prompt interface {
	// Prompt is Pick, but does not wait: if the answer is still to come, wait is not nil
	// and waits for it as Pick would have. It must be called then. The request must stay
	// as it is until there is an answer. An answer at once is put into g. It is told the time.
	Prompt(now balance.Instant, pool string, req *balance.Request, g *balance.Grant) (wait func(context.Context) (balance.Grant, error), err error)
}

// taker is a Picker to which loops, who have just read the clock, give leases back; others
// are told by Done.
type taker interface {
	GiveBack(now balance.Instant, pool string, lease balance.LeaseID, o balance.Outcome)
}

// driven is a Picker whose connections a loop can drive, as client.Masters is.
type driven interface {
	Ask(pool string, req *balance.Request, a *client.Ask) error
	Withdraw(a *client.Ask) bool
	Flush(now balance.Instant, stays bool)
	Drive(d client.Driver)
	Undrive(d client.Driver)
}

// engine carries bytes between clients and servers.
type engine interface {
	// serve takes connections for a listener from l until ctx ends. Then it takes no
	// more, lets requests finish for the drain time, cuts the rest, and returns when
	// all exchanges are closed. An error tells why it stopped before.
	serve(ctx context.Context, listener *listener, l net.Listener) error
}

// listener is a Listener made ready.
type listener struct {
	Listener
	routes routes
	limits http1.Limits
	secure *tls.Config // nil: plain
	named  bool        // with ModeTCP: routes tell servers' names apart, which clients say by TLS
	mixed  atomic.Bool // some routes are known to lead to servers that speak TLS
}

// Edge is the built-in proxy. New makes one.
type Edge struct {
	cfg       Config // with defaults
	picker    Picker
	prompt    prompt    // nil: the picker knows no answer at once
	taker     taker     // nil: the picker is none
	driven    driven    // nil: the picker has no connections to drive
	snapshots snapshots // nil: none
	connected func() bool
	listeners []*listener
	pools     map[string]*pool
	metrics   *metrics
	engine    engine // goroutines, which can carry every request
	loops     engine // nil: none
	tunnels   engine // for listeners whose octets are carried as they are
	serving   atomic.Bool
	replaced  atomic.Bool
	lingers   atomic.Bool   // another goes on in its place
	finish    chan struct{} // closed by finishing
	finishing func()
	open      atomic.Int64 // exchanges that no loop carries
}

// New returns an Edge that asks picker. If picker also has Snapshot or Connected, as
// client.Client has, it falls back on the one and shows the other.
func New(cfg Config, picker Picker) (*Edge, error) {
	var problems []error
	cfg.Validate(func(field, problem string) { problems = append(problems, fmt.Errorf("edge: %s: %s", field, problem)) })
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	e := &Edge{cfg: cfg.withDefaults(), picker: picker, connected: func() bool { return true }, pools: make(map[string]*pool)}
	e.finish = make(chan struct{})
	e.finishing = sync.OnceFunc(func() { close(e.finish) })
	e.prompt, _ = picker.(prompt)
	e.taker, _ = picker.(taker)
	e.driven, _ = picker.(driven)
	e.snapshots, _ = picker.(snapshots)
	if c, ok := picker.(connected); ok {
		e.connected = c.Connected
	}
	e.metrics = newMetrics(e.connected)
	e.metrics.registry.MustRegister(newCounted(e))
	if g, ok := picker.(guarded); ok {
		e.metrics.registry.MustRegister(refusals{g.Refused()})
	}
	for _, l := range cfg.Listeners {
		routes, err := newRoutes(l.Routes, e.pool)
		if err != nil {
			return nil, fmt.Errorf("edge: listener %s: %w", l.Listen, err)
		}
		for _, r := range routes {
			r.told = r.toldBy(e.cfg.ID)
		}
		ready := &listener{Listener: l.withDefaults(), routes: routes}
		ready.limits, ready.secure = ready.parserLimits(), ready.tlsConfig()
		ready.named = slices.ContainsFunc(l.Routes, func(r Route) bool { return r.Host != "" })
		e.listeners = append(e.listeners, ready)
	}
	e.engine, e.tunnels = newCarrier(e), newTunnels(e)
	if e.cfg.Engine != EngineGoroutines {
		e.loops = newLoops(e)
	}
	return e, nil
}

func (e *Edge) pool(name string) *pool {
	if e.pools[name] == nil {
		e.pools[name] = newPool(name, len(e.pools), e.metrics)
	}
	return e.pools[name]
}

// Run serves clients until ctx ends, then drains, and returns when every exchange is
// over and its lease given back. The picker must live until then.
//
// The network listeners stand for Config.Listeners in their order and are closed by
// Run; without any, Run listens where the config says.
func (e *Edge) Run(ctx context.Context, listeners ...net.Listener) error {
	if len(listeners) == 0 {
		var err error
		if listeners, err = e.listen(ctx); err != nil {
			return err
		}
	}
	if len(listeners) != len(e.listeners) {
		return fmt.Errorf("edge: got %d network listeners for %d configured ones", len(listeners), len(e.listeners))
	}
	group, ctx := errgroup.WithContext(ctx)
	for i, l := range listeners {
		group.Go(func() error {
			if err := e.engineFor(e.listeners[i], l).serve(ctx, e.listeners[i], l); err != nil {
				return fmt.Errorf("edge: listener %s: %w", l.Addr(), err)
			}
			return nil
		})
	}
	e.serving.Store(true)
	stop := context.AfterFunc(ctx, func() { e.serving.Store(false) })
	defer stop()
	return group.Wait()
}

// engineFor returns what can serve a listener: a loop needs its descriptor.
func (e *Edge) engineFor(l *listener, nl net.Listener) engine {
	_, open := nl.(syscall.Conn)
	switch {
	case open && e.loops != nil:
		return e.loops
	case l.Mode == ModeTCP:
		return e.tunnels
	}
	return e.engine
}

// Open returns how many requests have been taken and are not yet answered in full.
func (e *Edge) Open() int {
	n := e.open.Load()
	e.audit(func(b *books) { n += b.open })
	return int(n)
}

func (e *Edge) listen(ctx context.Context) ([]net.Listener, error) {
	var listeners []net.Listener
	for _, l := range e.listeners {
		nl, err := new(net.ListenConfig).Listen(ctx, "tcp", l.Listen)
		if err != nil {
			for _, open := range listeners {
				_ = open.Close() // nothing was taken from it
			}
			return nil, fmt.Errorf("edge: %w", err)
		}
		listeners = append(listeners, nl)
	}
	return listeners, nil
}

// Handler serves the edge's own /metrics, /healthz (it runs) and /readyz (it would
// find servers for clients). They are not for clients to see.
func (e *Edge) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(e.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		switch {
		case !e.serving.Load():
			say(w, http.StatusServiceUnavailable, "not listening")
		case !e.connected() && !e.knowsServers():
			say(w, http.StatusServiceUnavailable, "no master and no snapshot")
		case !e.connected():
			say(w, http.StatusOK, "degraded: no master answers, servers are chosen from the last snapshot")
		default:
			say(w, http.StatusOK, "ready")
		}
	})
	return mux
}

// knowsServers tells whether every pool could be chosen from without a master.
func (e *Edge) knowsServers() bool {
	for name := range e.pools {
		if e.snapshots == nil || e.snapshots.Snapshot(name) == nil {
			return false
		}
	}
	return true
}

func say(w http.ResponseWriter, status int, word string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(word + "\n")) // whoever asked has left
}
