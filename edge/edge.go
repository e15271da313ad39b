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

// Picker is whom the edge asks for servers. All methods may be called at once.
//
// Pick's error is a *balance.Refusal, or that of its context; any other says that no
// master answers. Done and Report do not block.
type Picker interface {
	Pick(ctx context.Context, pool string, req *balance.Request) (balance.Grant, error)
	Done(pool string, lease balance.LeaseID, o balance.Outcome)
	Report(pool string, r balance.Report)
}

// snapshotPicker is a Picker that also knows what to choose from when no master answers:
// nil if it does not know yet.
type snapshotPicker interface {
	Snapshot(pool string) *balance.Snapshot
}

// connectedPicker is a Picker that can tell whether a master would hear it now. One that
// cannot is always connected.
type connectedPicker interface {
	Connected() bool
}

// problemPicker is a Picker that can tell what keeps masters from being asked, if a person must mend it.
type problemPicker interface {
	Problem() error
}

// immediatePicker is a Picker that need not make those wait whose answer is there, nor have the
// clock read for it.
type immediatePicker interface {
	// TryPick is Pick, but does not wait: if the answer is still to come, wait is not nil
	// and waits for it as Pick would have. It must be called then. The request must stay
	// as it is until there is an answer. An answer at once is put into g. It is told the time.
	TryPick(now balance.Instant, pool string, req *balance.Request, g *balance.Grant) (wait func(context.Context) (balance.Grant, error), err error)
}

// leaseReturner is a Picker to which loops, who have just read the clock, give leases back; others
// are told by Done.
type leaseReturner interface {
	ReturnLease(now balance.Instant, pool string, lease balance.LeaseID, o balance.Outcome)
}

// polledPicker is a Picker whose connections a loop can drive, as client.Masters is.
type polledPicker interface {
	Ask(pool string, req *balance.Request, a *client.Ask) error
	Withdraw(a *client.Ask) bool
	Flush(now balance.Instant, stays bool)
	Poll(d client.ConnPoller)
	Unpoll(d client.ConnPoller)
}

// boundListener is a Listener made ready.
type boundListener struct {
	Listener
	routes       boundRoutes
	limits       http1.Limits
	access       policy.Access // who may connect
	clients      *clientLimits // of each client; nil: none
	secure       *tls.Config   // nil: plain
	looksAtPaths bool          // paths mean something to routes, or to Paths
	routesByName bool          // with ModeTCP: routes tell servers' names apart, which clients say by TLS
}

// Edge is the built-in proxy. New makes one.
type Edge struct {
	cfg          Config // with defaults
	picker       Picker
	immediate    immediatePicker // nil: the picker knows no answer at once
	returner     leaseReturner   // nil: the picker is none
	owes         owesPicker      // nil: the picker is none
	polled       polledPicker    // nil: the picker has no connections to drive
	snapshots    snapshotPicker  // nil: none
	connected    func() bool
	problem      func() error // what keeps masters from being asked, if a person must mend it; nil: nothing
	listeners    []*boundListener
	pools        map[string]*pool
	metrics      *metrics
	names        *resolve.Follower // of servers whose names are to be looked up here
	resolvers    string            // whom it asks; empty: those of the machine
	reaches      *resolve.Dialer   // connects to servers, wherever they are
	loops        *loopEngine
	serving      atomic.Bool
	accepting    chan struct{} // closed once all listeners take connections
	notAccepting atomic.Int32  // listeners that do not take connections yet
	replaced     atomic.Bool
	keepsRunning atomic.Bool   // another goes on in its place
	finish       chan struct{} // closed by finishing
	finishing    func()
	open         atomic.Int64 // exchanges of TCP listeners
	bodies       bodyMemory
}

// New returns an Edge that asks picker. If picker also has Snapshot or Connected, as
// client.Client has, it falls back on the one and shows the other.
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
	e.cfg.Places.SetMost(e.cfg.Connections)
	following, unfollow := context.WithCancel(context.WithoutCancel(ctx)) // while the edge drains, too
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

// Accepting is closed once Run takes connections from all listeners.
func (e *Edge) Accepting() <-chan struct{} { return e.accepting }

// listenerAccepting says that one more listener takes connections.
func (e *Edge) listenerAccepting() {
	if e.notAccepting.Add(-1) == 0 {
		close(e.accepting)
	}
}

// Open returns how many requests have been taken and are not yet answered in full.
func (e *Edge) Open() int {
	n := e.open.Load()
	e.loops.audit(func(b *loopStats) { n += b.openExchanges })
	return int(n)
}

// dialer makes connections to servers, with the edge's TCP options. It connects to none of our own
// components, whatever a server's name leads to.
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
		plain.SetMultipathTCP(false) // whose sockets have no TCP_USER_TIMEOUT that connections could inherit
		nl, err := plain.Listen(ctx, "tcp", l.Listen)
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

// Endpoints are the edge's own: /metrics, /healthz (it runs) and /readyz (it would find
// servers for clients). They are not for clients to see.
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

// knowsServers reports whether every pool could be chosen from without a master.
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
