package edge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/edge/proxy"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/internal/admin"
	"github.com/evenkeel-lb/evenkeel/internal/resolve"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
)

// connectedPicker is a Picker that knows whether a master is connected. One that is not counts as connected.
type connectedPicker interface {
	Connected() bool
}

// problemPicker is a Picker that knows what prevents asking masters, if a person has to fix it.
type problemPicker interface {
	Problem() error
}

// missingPicker is a Picker that knows which pools no master has, and what a master says of them.
type missingPicker interface {
	MissingPools() map[string]string
}

// Edge is the built-in proxy. New makes one.
type Edge struct {
	cfg          Config // defaults are filled in
	deps         *exchange.Deps
	connected    func() bool
	problem      func() error             // what prevents asking masters, if a person has to fix it; nil: nothing
	missing      func() map[string]string // pools that no master has, and what one says of each
	listeners    []*routing.BoundListener
	names        *resolve.Follower // resolves servers' names at the edge
	bodies       *limits.BodyMemory
	engine       *proxy.Engine
	serving      atomic.Bool
	accepting    chan struct{} // closed once all listeners accept connections
	notAccepting atomic.Int32  // listeners that do not accept connections yet
}

// New returns an Edge that asks picker. It also uses the optional methods that picker has, such as Snapshot or
// Connected of client.Client.
func New(cfg Config, picker exchange.Picker) (*Edge, error) {
	var problems []error
	cfg.Validate(func(field, problem string) { problems = append(problems, fmt.Errorf("edge: %s: %s", field, problem)) })
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	cfg = cfg.withDefaults()
	if err := cfg.RespondAsync.checkSpool(); err != nil {
		return nil, err
	}
	e := &Edge{cfg: cfg, deps: exchange.NewDeps(exchange.Settings{ID: cfg.ID, Via: cfg.Via, MaxHops: cfg.MaxHops, Log: cfg.Log, AccessLog: cfg.AccessLog, LogClient: cfg.LogClient, Trace: cfg.Trace}, picker), connected: func() bool { return true }}
	e.names = resolve.NewFollower()
	e.names.Log(cfg.Log)
	e.names.Forget(nameUnused)
	e.bodies = limits.NewBodyMemory(cfg.BufferMemory)
	e.accepting = make(chan struct{})
	e.notAccepting.Store(int32(len(cfg.Listeners)))
	if c, ok := picker.(connectedPicker); ok {
		e.connected = c.Connected
	}
	e.problem = func() error { return nil }
	if p, ok := picker.(problemPicker); ok {
		e.problem = p.Problem
	}
	e.missing = func() map[string]string { return nil }
	if p, ok := picker.(missingPicker); ok {
		e.missing = p.MissingPools
	}
	for _, l := range cfg.Listeners {
		ready, err := routing.Bind(l, e.deps.PoolNumber)
		if err != nil {
			return nil, fmt.Errorf("edge: listener %s: %w", l.Listen, err)
		}
		e.listeners = append(e.listeners, ready)
	}
	e.engine = proxy.New(e.engineConfig(), e.deps, e.listeners)
	e.register(picker)
	return e, nil
}

// engineConfig returns how the engine is to work.
func (e *Edge) engineConfig() proxy.Config {
	c := &e.cfg
	servers := &resolve.Dialer{Dialer: e.dialer(), Names: e.names, Resolvers: strings.Join(c.Resolvers, ","), Refuse: c.Inside.RefuseSocket}
	return proxy.Config{
		Loops: c.Loops, SingleCalls: c.SingleCalls,
		ConnectTimeout: c.ConnectTimeout, ResponseTimeout: c.ResponseTimeout, TCP: c.TCP, Net: servers, Inside: c.Inside,
		Places: c.Places, Bodies: e.bodies, DrainTime: c.DrainTime,
		Kept: c.Kept, KeptURL: c.RespondAsync.URL, KeptEdges: c.RespondAsync.Edges,
		BodyWindow: c.bodyWindow, WaitEvery: c.waitEvery, MaxTurn: c.maxTurn, AlwaysBatch: c.alwaysBatch,
	}
}

// nameUnused is how long a name is looked up that no request needs any more.
const nameUnused = 10 * time.Minute

// register registers the metrics, besides those of deps.
func (e *Edge) register(picker exchange.Picker) {
	to := e.deps.Metrics.Registry
	to.MustRegister(exchange.NewStatsCollector(e.deps, e.engine.VisitStats), masterConnected(e.connected), lookups{e.names}, exchange.NewSharers(e.deps),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "evenkeel_edge_client_connections", Help: "Client connections that are open."},
			func() float64 { return float64(e.cfg.Places.Taken()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "evenkeel_edge_client_connections_limit", Help: "How many may be; others wait. 0: any number."},
			func() float64 { return float64(e.cfg.Places.Most()) }))
	registerBodies(to, e.bodies)
	to.MustRegister(keptCollector{e.cfg.Kept})
	if dropped := e.cfg.LogDropped; dropped != nil {
		to.MustRegister(logDropped(dropped))
	}
	if failed := e.cfg.ReloadFailed; failed != nil {
		to.MustRegister(reloadGood(failed))
	}
	if g, ok := picker.(authPicker); ok {
		to.MustRegister(refusalCollector{g})
	}
}

// Run serves clients until ctx ends, then drains, and returns when every exchange has ended and its lease is
// returned. The picker must live until then.
//
// The network listeners correspond to Config.Listeners in order and are closed by Run; without any, Run
// listens as configured.
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
	e.cfg.Places.SetMost(e.cfg.Connections)
	e.cfg.Kept.Configure(e.cfg.RespondAsync.bounds(), e.cfg.RespondAsync.fileMaker())
	following, unfollow := context.WithCancel(context.WithoutCancel(ctx)) // also while the edge drains
	var besides sync.WaitGroup
	besides.Go(func() { e.names.Run(following, nil) })
	if slices.ContainsFunc(e.listeners, func(l *routing.BoundListener) bool { return l.KeepsRequests }) {
		besides.Go(func() { e.expireKept(following) })
	}
	defer besides.Wait()
	defer unfollow()
	group, ctx := errgroup.WithContext(ctx)
	for i, l := range listeners {
		group.Go(func() error {
			if err := e.engine.Serve(ctx, e.listeners[i], l, e.listenerAccepting); err != nil {
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

// Replace announces, before Run's context ends, that another edge of the same process continues in this one's
// place: then open requests, tunnels too, may take as long as they do, until Finish.
func (e *Edge) Replace() { e.engine.Replace() }

// Linger announces, before Run's context ends, that another edge continues in this one's place, in the same
// process or in a new one, so that there is no hurry.
func (e *Edge) Linger() { e.engine.Linger() }

// Finish starts the drain time of an edge that was replaced. It may be called again.
func (e *Edge) Finish() { e.engine.Finish() }

// Accepting is closed once Run accepts connections from all listeners.
func (e *Edge) Accepting() <-chan struct{} { return e.accepting }

// listenerAccepting records that one more listener accepts connections.
func (e *Edge) listenerAccepting() {
	if e.notAccepting.Add(-1) == 0 {
		close(e.accepting)
	}
}

// Open returns how many requests are in progress.
func (e *Edge) Open() int {
	n := e.deps.Open.Load()
	e.engine.VisitStats(func(b *exchange.LoopStats) { n += b.OpenExchanges })
	return int(n)
}

// dialer makes connections to servers, with the edge's TCP options. It refuses addresses of our own
// components, whatever a server's name resolves to.
func (e *Edge) dialer() net.Dialer {
	control := func(network, address string, c syscall.RawConn) error {
		if err := e.cfg.Inside.Control(network, address, c); err != nil {
			return err
		}
		return e.cfg.TCP.Control(network, address, c)
	}
	return net.Dialer{Timeout: e.cfg.ConnectTimeout, KeepAliveConfig: e.cfg.TCP.KeepAliveConfig(), Control: control}
}

func (e *Edge) listen(ctx context.Context) ([]net.Listener, error) {
	var listeners []net.Listener
	for _, l := range e.listeners {
		var plain net.ListenConfig
		plain.SetMultipathTCP(false) // multipath sockets have no TCP_USER_TIMEOUT that connections could inherit
		nl, err := plain.Listen(ctx, "tcp", l.Listen)
		if err != nil {
			for _, open := range listeners {
				_ = open.Close() // nothing was accepted from it
			}
			return nil, fmt.Errorf("edge: %w", err)
		}
		listeners = append(listeners, nl)
	}
	return listeners, nil
}

// Endpoints are the edge's own: /metrics, /healthz (it runs) and /readyz (it can find servers for clients).
// They are not for clients.
func (e *Edge) Endpoints() []admin.Endpoint {
	return []admin.Endpoint{
		{Method: "GET", Path: "/metrics", Role: admin.Read, Handle: promhttp.HandlerFor(e.deps.Metrics.Registry, promhttp.HandlerOpts{}).ServeHTTP},
		{Method: "GET", Path: "/healthz", Role: admin.Anyone, Handle: func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") }},
		{Method: "GET", Path: "/readyz", Role: admin.Anyone, Handle: e.getReady},
	}
}

// getReady says whether the edge can find servers for clients. One that begins with a route to a pool that no master has is not ready: a
// rollout of a wrong file ends at the first edge. Once a process has been ready it stays so while a route is left that leads to a pool:
// all edges lose a pool at the same moment, and clients of the others would have no edge left.
func (e *Edge) getReady(w http.ResponseWriter, _ *http.Request) {
	misdirected, all := e.misdirected()
	switch {
	case !e.serving.Load():
		say(w, http.StatusServiceUnavailable, "not listening")
	case !e.connected() && !e.deps.KnowsServers():
		say(w, http.StatusServiceUnavailable, "no master and no snapshot")
	case !e.connected():
		say(w, http.StatusOK, "degraded: no master answers, servers are chosen from the last snapshot")
	case misdirected != "" && (all || !e.cfg.WasReady.Load()):
		say(w, http.StatusServiceUnavailable, misdirected)
	case misdirected != "":
		say(w, http.StatusOK, "degraded: requests of some routes are refused, the others go on\n"+misdirected)
	case e.problem() != nil:
		say(w, http.StatusOK, "degraded: "+e.problem().Error())
	default:
		if e.deps.KnowsServers() {
			e.cfg.WasReady.Store(true)
		}
		say(w, http.StatusOK, "ready")
	}
}

// misdirected says which routes lead to pools that no master has, and whether all routes do; empty: none.
func (e *Edge) misdirected() (text string, all bool) {
	missing := e.missing()
	if len(missing) == 0 {
		return "", false // nearly always
	}
	var lines []string
	said := make(map[string]bool)
	all = true
	for _, l := range e.cfg.Listeners {
		for _, r := range l.Routes {
			why := missing[r.Pool]
			switch {
			case why == "":
				all = false
			case !said[r.Pool]:
				said[r.Pool] = true
				lines = append(lines, fmt.Sprintf("no master has pool %q, to which %s leads: %s", r.Pool, cmp.Or(r.Where, "a route of "+l.Listen), why))
			}
		}
	}
	return strings.Join(lines, "\n"), all
}

func say(w http.ResponseWriter, status int, word string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(word + "\n")) // the caller may be gone
}
