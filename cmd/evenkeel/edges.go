package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/evenkeel-lb/evenkeel/edge"
	"github.com/evenkeel-lb/evenkeel/internal/admin"
	"github.com/evenkeel-lb/evenkeel/internal/inside"
)

// edges is the edge of this process across reloads. Every reload makes a new
// edge.Edge on the same sockets; the one before finishes what it has.
type edges struct {
	picker edge.Picker
	watch  func(pools []string) // is told what pools all of them route to; nil: the picker has them all
	inside *inside.Set          // where our own components listen
	edgeLogs
	first  turn          // what run begins with
	turns  chan turn     // from reload to run
	over   chan struct{} // closed when run takes no more turns
	places edge.Places   // that clients of all of them have
	lends  bool          // sockets can be shared by two edges; if not, the first edge has them for good

	mu      sync.Mutex
	current *edge.Edge
	living  map[*edge.Edge][]string // those whose requests are not all done, and the pools that they route to
	sockets map[string]net.Listener // by socketKey of the address that the settings name
}

// edgeLogs are the logs of an edge.
type edgeLogs struct {
	log     *slog.Logger
	access  *slog.Logger  // nil: no access log
	dropped func() uint64 // lines that were not written; nil: whose metric is shown elsewhere
	failed  func() string // why the last reload failed; nil: a metric elsewhere shows whether it did
}

// turn is an edge that is about to serve, the sockets it needs, and the listeners on
// them that it is lent.
type turn struct {
	edge      *edge.Edge
	pools     []string  // that it routes to
	keys      *keyrings // that it uses
	sockets   map[string]net.Listener
	listeners []net.Listener
	alone     chan struct{} // closed once the edge before takes no more connections
}

// park stops the edge's listeners from taking connections.
func (t turn) park() {
	for _, l := range t.listeners {
		if l, ok := l.(*lent); ok {
			l.park()
		}
	}
}

// closeListeners closes the listeners of an edge that has failed. It may not have begun to
// accept from some of them, and park would wait for that without end.
func (t turn) closeListeners() {
	for _, l := range t.listeners {
		_ = l.Close() // the error that matters is why the edge has failed
	}
}

// newEdges opens the sockets of an edge and makes it; run serves.
func newEdges(ctx context.Context, cfg edge.Config, keys *keyrings, picker edge.Picker, to edgeLogs) (*edges, error) {
	es := &edges{inside: cfg.Inside, picker: picker, edgeLogs: to, turns: make(chan turn), over: make(chan struct{}), living: make(map[*edge.Edge][]string), lends: true}
	t, err := es.prepare(ctx, cfg, keys)
	if err != nil {
		return nil, err
	}
	es.first = t
	es.take(t)
	return es, nil
}

// reload makes the edge what cfg says, and calls also when nothing can fail any more
// but that. If it fails nothing changes. When it returns, every connection that is made from then on is served by cfg.
func (es *edges) reload(ctx context.Context, cfg edge.Config, keys *keyrings, also func() error) error {
	if !es.lends {
		return errNoHandover
	}
	t, err := es.prepare(ctx, cfg, keys)
	if err != nil {
		return err
	}
	if err := also(); err != nil {
		es.abandon(t)
		return err
	}
	es.mu.Lock()
	es.living[t.edge] = t.pools
	es.watchPools() // before it serves
	es.mu.Unlock()
	select {
	case es.turns <- t:
		es.take(t)
		select {
		case <-t.alone:
		case <-es.over:
		}
		return nil
	case <-es.over:
		es.mu.Lock()
		delete(es.living, t.edge)
		es.mu.Unlock()
		es.abandon(t)
		return errors.New("the edge has stopped")
	}
}

// prepare opens the sockets that cfg needs and are not open, and lends all to a new edge. A listener
// for which a service manager has opened several sockets, as for IPv4 and IPv6, serves all of them.
func (es *edges) prepare(ctx context.Context, cfg edge.Config, keys *keyrings) (turn, error) {
	cfg.Log, cfg.AccessLog, cfg.LogDropped, cfg.ReloadFailed, cfg.Inside, cfg.Places = es.log, es.access, es.dropped, es.failed, es.inside, &es.places
	t := turn{pools: poolsOf(cfg), keys: keys, sockets: make(map[string]net.Listener), alone: make(chan struct{})}
	var each []edge.Listener // one for each socket
	for _, l := range cfg.Listeners {
		sockets, err := es.socketsFor(ctx, l.Listen)
		if err != nil {
			es.abandon(t)
			return turn{}, err
		}
		for i, socket := range sockets {
			t.sockets[socketKey(l.Listen, i)] = socket
			if second, err := lend(socket); err == nil {
				socket = second
			} else {
				es.lends = false
			}
			t.listeners, each = append(t.listeners, socket), append(each, l)
		}
	}
	cfg.Listeners = each
	e, err := edge.New(cfg, es.picker)
	if err != nil {
		es.abandon(t)
		return turn{}, err
	}
	t.edge = e
	return t, nil
}

// socketsFor returns the open sockets of a listener, or opens one, or takes all that were inherited for it.
func (es *edges) socketsFor(ctx context.Context, address string) (all []net.Listener, err error) {
	for es.sockets[socketKey(address, len(all))] != nil {
		all = append(all, es.sockets[socketKey(address, len(all))])
	}
	if all != nil {
		return all, nil
	}
	first, err := listen(ctx, address)
	if err != nil {
		return nil, err
	}
	all = append(all, first)
	for more := inherited(address); more != nil; more = inherited(address) {
		all = append(all, more)
	}
	return all, nil
}

// socketKey is the key of the n-th socket of a listener.
func socketKey(address string, n int) string {
	if n == 0 {
		return address
	}
	return address + "\x00" + strconv.Itoa(n)
}

// take makes a prepared edge the present one.
func (es *edges) take(t turn) {
	es.mu.Lock()
	defer es.mu.Unlock()
	closeOthers(es.sockets, t.sockets)
	es.sockets, es.current = t.sockets, t.edge
	es.living[t.edge] = t.pools
}

// poolsOf returns the pools that an edge routes to, each once.
func poolsOf(cfg edge.Config) (pools []string) {
	for _, l := range cfg.Listeners {
		for _, r := range l.Routes {
			pools = append(pools, r.Pool)
		}
	}
	slices.Sort(pools)
	return slices.Compact(pools)
}

// watchPools tells the picker which pools are routed to, also by edges that finish what they have:
// their requests may need another server, and the ends of their leases a master. mu is held.
func (es *edges) watchPools() {
	if es.watch == nil {
		return
	}
	var all []string
	for _, pools := range es.living {
		all = append(all, pools...)
	}
	slices.Sort(all)
	es.watch(slices.Compact(all))
}

// abandon gives up a prepared edge.
func (es *edges) abandon(t turn) {
	closeAll(t.listeners)
	closeOthers(t.sockets, es.sockets)
}

// closeOthers closes the sockets that are not kept.
func closeOthers(sockets, kept map[string]net.Listener) {
	for at, s := range sockets {
		if kept[at] != s {
			_ = s.Close() // nothing was taken from it by us
		}
	}
}

// run serves until ctx ends, then takes no more connections and returns when every
// request is done.
func (es *edges) run(ctx context.Context) error {
	var running sync.WaitGroup
	failed := make(chan error, 1)
	begin := func(t turn) (stop context.CancelFunc) {
		own, stop := context.WithCancel(context.WithoutCancel(ctx))
		running.Go(func() { es.serve(own, t, failed) })
		return stop
	}
	current, stop := es.first, begin(es.first)
	defer func() {
		close(es.over)
		es.closeSockets()
		current.park()
		stop()
		es.finish()
		running.Wait()
	}()
	for {
		select {
		case t := <-es.turns:
			before, stopBefore := current, stop
			current, stop = t, begin(t)
			running.Go(func() {
				before.park()
				close(t.alone)
				before.edge.Replace()
				stopBefore()
			})
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

func (es *edges) serve(ctx context.Context, t turn, failed chan<- error) {
	watch, stopWatch := context.WithCancel(context.WithoutCancel(ctx)) // those that drain may still have to say who they are
	var watching sync.WaitGroup
	watching.Go(func() { t.keys.watch(watch, es.log) })
	defer watching.Wait()
	defer stopWatch()
	if err := t.edge.Run(ctx, t.listeners...); err != nil {
		t.closeListeners()
		select {
		case failed <- err:
		default: // one failure ends them all
		}
	}
	es.mu.Lock()
	defer es.mu.Unlock()
	delete(es.living, t.edge)
	if len(es.living) > 0 { // else the process ends
		es.watchPools()
	}
}

// finish starts the drain time of those that were replaced.
func (es *edges) finish() {
	es.mu.Lock()
	defer es.mu.Unlock()
	for e := range es.living {
		e.Finish()
	}
}

func (es *edges) closeSockets() {
	es.mu.Lock()
	defer es.mu.Unlock()
	closeOthers(es.sockets, nil)
}

// accepting is closed once the edge that run begins with takes connections.
func (es *edges) accepting() <-chan struct{} { return es.first.edge.Accepting() }

// open returns the sockets of the present settings, in no order that matters.
func (es *edges) open() (all []heirloom) {
	es.mu.Lock()
	defer es.mu.Unlock()
	for at, l := range es.sockets {
		address, _, _ := strings.Cut(at, "\x00")
		all = append(all, heirloom{address, l})
	}
	return all
}

// yield says that a new program serves what this one has served.
func (es *edges) yield() {
	es.mu.Lock()
	defer es.mu.Unlock()
	es.current.Linger()
}

// addresses returns where the edge listens, in the order of its settings.
func (es *edges) addresses(cfg edge.Config) string {
	es.mu.Lock()
	defer es.mu.Unlock()
	var all []net.Listener
	for _, l := range cfg.Listeners {
		all = append(all, es.sockets[l.Listen])
	}
	return addresses(all)
}

// endpoints are those of the present edge, below a prefix.
func (es *edges) endpoints(prefix string) []admin.Endpoint {
	all := es.present().Endpoints()
	for i := range all {
		all[i].Path = prefix + all[i].Path
		all[i].Handle = func(w http.ResponseWriter, r *http.Request) { es.present().Endpoints()[i].Handle(w, r) }
	}
	return all
}

func (es *edges) present() *edge.Edge {
	es.mu.Lock()
	defer es.mu.Unlock()
	return es.current
}

// inFlight returns the number of requests taken and not yet answered, also by edges that drain.
func (es *edges) inFlight() int {
	es.mu.Lock()
	defer es.mu.Unlock()
	n := 0
	for e := range es.living {
		n += e.Open()
	}
	return n
}
