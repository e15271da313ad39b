package edge

import (
	"context"
	"crypto/tls"
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

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/client"
	"github.com/evenkeel-lb/evenkeel/edge/policy"
	"github.com/evenkeel-lb/evenkeel/http1"
	"github.com/evenkeel-lb/evenkeel/internal/admin"
	"github.com/evenkeel-lb/evenkeel/internal/resolve"
)

// Picker is what the edge asks for servers. All methods are safe for concurrent use.
//
// Pick's error is a *balance.Refusal, or its context's; any other means that no master answers. Done and
// Report do not block.
type Picker interface {
	Pick(ctx context.Context, pool string, req *balance.Request) (balance.Grant, error)
	Done(pool string, lease balance.LeaseID, o balance.Outcome)
	Report(pool string, r balance.Report)
}

// snapshotPicker is a Picker that also knows what to choose from when no master answers: nil if it does not
// know yet.
type snapshotPicker interface {
	Snapshot(pool string) *balance.Snapshot
}

// localPicker is a snapshotPicker whose masters can be told of a server that the edge has chosen itself.
type localPicker interface {
	snapshotPicker
	// LocalFrom returns the trip to the pool's master from which the edge is to choose; zero: it is to ask.
	LocalFrom(pool string) time.Duration
	// Chosen tells the master that a request has been sent to a server since an instant, and returns its lease.
	Chosen(pool string, server balance.ServerID, since balance.Instant, req *balance.Request) (balance.LeaseID, error)
}

// connectedPicker is a Picker that knows whether a master is connected. One that is not counts as connected.
type connectedPicker interface {
	Connected() bool
}

// problemPicker is a Picker that knows what prevents asking masters, if a person has to fix it.
type problemPicker interface {
	Problem() error
}

// immediatePicker is a Picker that need not wait if the answer is there, nor read the clock.
type immediatePicker interface {
	// TryPick is Pick without waiting: if there is no answer yet, wait is not nil, waits as Pick would have,
	// and must be called. The request must not change until there is an answer. An immediate grant is stored
	// in g.
	TryPick(now balance.Instant, pool string, req *balance.Request, g *balance.Grant) (wait func(context.Context) (balance.Grant, error), err error)
}

// leaseReturner is a Picker to which loops, which know the time, return leases; for others Done is called.
type leaseReturner interface {
	ReturnLease(now balance.Instant, pool string, lease balance.LeaseID, o balance.Outcome)
}

// polledPicker is a Picker whose connections a loop can poll, as client.Masters is.
type polledPicker interface {
	Ask(pool string, req *balance.Request, a *client.Ask) error
	Withdraw(a *client.Ask) bool
	Flush(now balance.Instant, stays bool)
	Poll(d client.ConnPoller)
	Unpoll(d client.ConnPoller)
}

// boundListener is a Listener prepared for use.
type boundListener struct {
	Listener
	routes       boundRoutes
	limits       http1.Limits
	access       policy.Access // which addresses may connect
	clients      *clientLimits // nil: none
	secure       *tls.Config   // nil: not encrypted
	looksAtPaths bool          // routes or Paths depend on paths
	routesByName bool          // with ModeTCP: routes are chosen by server name, which clients send by TLS
}

// Edge is the built-in proxy. New makes one.
type Edge struct {
	cfg          Config // defaults are filled in
	picker       Picker
	immediate    immediatePicker // nil: the picker is none
	returner     leaseReturner   // nil: the picker is none
	owes         owesPicker      // nil: the picker is none
	polled       polledPicker    // nil: the picker is none
	snapshots    snapshotPicker  // nil: the picker is none
	local        localPicker     // nil: the picker is none
	connected    func() bool
	problem      func() error // what prevents asking masters, if a person has to fix it; nil: nothing
	listeners    []*boundListener
	pools        map[string]*pool
	metrics      *metrics
	names        *resolve.Follower // resolves servers' names at the edge
	resolvers    string            // DNS servers, comma-separated; empty: those of the machine
	reaches      *resolve.Dialer   // connects to servers
	loops        *loopEngine
	serving      atomic.Bool
	accepting    chan struct{} // closed once all listeners accept connections
	notAccepting atomic.Int32  // listeners that do not accept connections yet
	replaced     atomic.Bool
	keepsRunning atomic.Bool   // another process continues in its place
	finish       chan struct{} // closed by finishing
	finishing    func()
	open         atomic.Int64 // of TCP listeners
	bodies       bodyMemory
}

// New returns an Edge that asks picker. It also uses the optional methods that picker has, such as Snapshot or
// Connected of client.Client.
func New(cfg Config, picker Picker) (*Edge, error) {
	var problems []error
	cfg.Validate(func(field, problem string) { problems = append(problems, fmt.Errorf("edge: %s: %s", field, problem)) })
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	cfg = cfg.withDefaults()
	e := &Edge{cfg: cfg, picker: picker, connected: func() bool { return true }, pools: make(map[string]*pool)}
	e.names, e.resolvers = resolve.NewFollower(), strings.Join(cfg.Resolvers, ",")
	e.names.Log(cfg.Log)
	e.names.Forget(nameUnused)
	e.reaches = &resolve.Dialer{Dialer: e.dialer(), Names: e.names, Resolvers: e.resolvers, Refuse: e.cfg.Inside.RefuseSocket}
	e.bodies.budget.Limit = e.cfg.BufferMemory
	e.finish, e.accepting = make(chan struct{}), make(chan struct{})
	e.notAccepting.Store(int32(len(cfg.Listeners)))
	e.finishing = sync.OnceFunc(func() { close(e.finish) })
	e.immediate, _ = picker.(immediatePicker)
	e.returner, _ = picker.(leaseReturner)
	e.owes, _ = picker.(owesPicker)
	e.polled, _ = picker.(polledPicker)
	e.snapshots, _ = picker.(snapshotPicker)
	e.local, _ = picker.(localPicker)
	if c, ok := picker.(connectedPicker); ok {
		e.connected = c.Connected
	}
	e.problem = func() error { return nil }
	if p, ok := picker.(problemPicker); ok {
		e.problem = p.Problem
	}
	e.metrics = newMetrics(e.connected)
	e.metrics.registry.MustRegister(newStatsCollector(e))
	e.metrics.bodies(&e.bodies)
	e.metrics.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "evenkeel_edge_client_connections", Help: "Client connections that are open."},
			func() float64 { return float64(cfg.Places.Taken()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "evenkeel_edge_client_connections_limit", Help: "How many may be; others wait. 0: any number."},
			func() float64 { return float64(cfg.Places.Most()) }))
	e.metrics.registry.MustRegister(lookups{e.names})
	if dropped := cfg.LogDropped; dropped != nil {
		e.metrics.registry.MustRegister(logDropped(dropped))
	}
	if failed := cfg.ReloadFailed; failed != nil {
		e.metrics.registry.MustRegister(reloadGood(failed))
	}
	if g, ok := picker.(authPicker); ok {
		e.metrics.registry.MustRegister(refusalCollector{g})
	}
	for _, l := range cfg.Listeners {
		routes, err := bindRoutes(l.Routes, e.pool)
		if err != nil {
			return nil, fmt.Errorf("edge: listener %s: %w", l.Listen, err)
		}
		for _, r := range routes {
			r.fixedHeaders = r.makeFixedHeaders(e.cfg.ID)
			r.setTenantRule(len(l.TrustedProxies) > 0)
		}
		ready := &boundListener{Listener: l.withDefaults(), routes: routes}
		ready.limits, ready.secure = ready.parserLimits(), ready.tlsConfig()
		ready.looksAtPaths = ready.lookAtPaths()
		ready.access = policy.Access{Allow: policy.NewPrefixes(l.Allow), Deny: policy.NewPrefixes(l.Deny)}
		ready.clients = newClientLimits(&l.ClientLimits, e.metrics)
		ready.routesByName = slices.ContainsFunc(l.Routes, func(r Route) bool { return r.Host != "" })
		e.listeners = append(e.listeners, ready)
	}
	e.loops = newLoops(e)
	return e, nil
}

func (e *Edge) pool(name string) *pool {
	if e.pools[name] == nil {
		e.pools[name] = newPool(name, len(e.pools), e.metrics, e.cfg.Log)
	}
	return e.pools[name]
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
	following, unfollow := context.WithCancel(context.WithoutCancel(ctx)) // also while the edge drains
	var names sync.WaitGroup
	names.Go(func() { e.names.Run(following, nil) })
	defer names.Wait()
	defer unfollow()
	group, ctx := errgroup.WithContext(ctx)
	for i, l := range listeners {
		group.Go(func() error {
			if err := e.loops.serve(ctx, e.listeners[i], l); err != nil {
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
	n := e.open.Load()
	e.loops.audit(func(b *loopStats) { n += b.openExchanges })
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
		{Method: "GET", Path: "/metrics", Role: admin.Read, Handle: promhttp.HandlerFor(e.metrics.registry, promhttp.HandlerOpts{}).ServeHTTP},
		{Method: "GET", Path: "/healthz", Role: admin.Anyone, Handle: func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") }},
		{Method: "GET", Path: "/readyz", Role: admin.Anyone, Handle: e.getReady},
	}
}

func (e *Edge) getReady(w http.ResponseWriter, _ *http.Request) {
	switch {
	case !e.serving.Load():
		say(w, http.StatusServiceUnavailable, "not listening")
	case !e.connected() && !e.knowsServers():
		say(w, http.StatusServiceUnavailable, "no master and no snapshot")
	case !e.connected():
		say(w, http.StatusOK, "degraded: no master answers, servers are chosen from the last snapshot")
	case e.problem() != nil:
		say(w, http.StatusOK, "degraded: "+e.problem().Error())
	default:
		say(w, http.StatusOK, "ready")
	}
}

// knowsServers reports whether fallback could choose in every pool.
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
	_, _ = w.Write([]byte(word + "\n")) // the caller may be gone
}
