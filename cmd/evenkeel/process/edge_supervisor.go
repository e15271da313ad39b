package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/evenkeel-lb/evenkeel/agent"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/config"
	"github.com/evenkeel-lb/evenkeel/edge"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/internal/admin"
	"github.com/evenkeel-lb/evenkeel/internal/inside"
)

// EdgeSupervisor is the edge of this process across reloads. Every reload makes a new
// edge.Edge on the same sockets; the one before finishes what it has.
type EdgeSupervisor struct {
	file   string // that the settings come from; empty: flags
	picker edge.Picker
	Watch  func(pools []string) // called with the pools that all generations route to; nil: the picker has all pools
	inside *inside.Set          // where our own components listen
	EdgeLogs
	first   edgeGeneration      // what run begins with
	next    chan edgeGeneration // from reload to run
	stopped chan struct{}       // closed when run takes no more turns
	places  edge.Places         // that clients of all of them have
	kept    *edge.KeptStore     // requests that any of them keeps
	shares  bool                // sockets can be shared by two edges; if not, the first edge has them for good

	managed   map[net.Listener]bool // sockets that a service manager has too
	succeeded atomic.Bool           // a new program has the sockets
	wasReady  atomic.Bool           // of all edges

	mu      sync.Mutex
	current *edge.Edge
	active  map[*edge.Edge][]string // those whose requests are not all done, and the pools that they route to
	sockets map[string]net.Listener // by socketKey of the address that the settings name
}

// EdgeLogs are the logs of an edge.
type EdgeLogs struct {
	Log          *slog.Logger
	Access       *slog.Logger  // nil: no access log
	LogClient    bool          // the access log needs what only the client's head says
	Dropped      func() uint64 // lines that were not written; nil: whose metric is shown elsewhere
	ReloadFailed func() string // why the last reload failed; nil: a metric elsewhere shows whether it did
}

// edgeGeneration is an edge that is about to serve, the sockets it needs, and the listeners on
// them that are its own.
type edgeGeneration struct {
	edge      *edge.Edge
	pools     []string            // that it routes to
	files     *settings.EdgeFiles // that it uses
	sockets   map[string]net.Listener
	listeners []net.Listener
	exclusive chan struct{} // closed once the edge before takes no more connections
}

// release prepares the end of the edge's listeners. Those whose sockets are kept by others accept no more when it returns. Those whose
// sockets end with them go on until the edge has accepted all that the kernel has connected.
func (t edgeGeneration) release(isKept func(socket net.Listener) bool) {
	for _, l := range t.listeners {
		switch l, isShared := l.(*sharedListener); {
		case isShared && isKept(l.of):
			l.pause()
		case isShared:
			l.stopConnecting()
		}
	}
}

// has reports whether the edge serves a socket.
func (t edgeGeneration) has(socket net.Listener) bool {
	for _, s := range t.sockets {
		if s == socket {
			return true
		}
	}
	return false
}

// closeListeners closes the listeners of an edge that has failed. It may not have begun to
// accept from some of them, and pause would wait for that without end.
func (t edgeGeneration) closeListeners() {
	for _, l := range t.listeners {
		_ = l.Close() // the error that matters is why the edge has failed
	}
}

// NewEdgeSupervisor opens the sockets of an edge and makes the edge; Run serves. file is the path of the file that cfg comes
// from; empty: cfg comes from flags.
func NewEdgeSupervisor(ctx context.Context, file string, cfg edge.Config, keys *settings.EdgeFiles, picker edge.Picker, to EdgeLogs) (*EdgeSupervisor, error) {
	es := &EdgeSupervisor{file: file, inside: cfg.Inside, picker: picker, EdgeLogs: to, next: make(chan edgeGeneration), stopped: make(chan struct{}), active: make(map[*edge.Edge][]string), shares: true, managed: make(map[net.Listener]bool), kept: edge.NewKeptStore()}
	t, err := es.prepare(ctx, cfg, keys)
	if err != nil {
		return nil, err
	}
	es.first = t
	es.setCurrent(t)
	return es, nil
}

// Reload makes the edge what cfg says, and calls also when nothing can fail any more
// but that. If it fails nothing changes. When it returns, every connection that is made from then on is served by cfg.
func (es *EdgeSupervisor) Reload(ctx context.Context, cfg edge.Config, keys *settings.EdgeFiles, also func() error) error {
	if !es.shares {
		return errCannotShare
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
	es.active[t.edge] = t.pools
	es.watchPoolsLocked() // before it serves
	es.mu.Unlock()
	select {
	case es.next <- t:
		es.setCurrent(t)
		select {
		case <-t.exclusive:
		case <-es.stopped:
		}
		return nil
	case <-es.stopped:
		es.mu.Lock()
		delete(es.active, t.edge)
		es.mu.Unlock()
		es.abandon(t)
		return errors.New("the edge has stopped")
	}
}

// prepare opens the sockets that cfg needs and are not open, and makes listeners on all of them for a new edge. A listener
// for which a service manager has opened several sockets, as for IPv4 and IPv6, serves all of them.
func (es *EdgeSupervisor) prepare(ctx context.Context, cfg edge.Config, keys *settings.EdgeFiles) (edgeGeneration, error) {
	cfg.Log, cfg.AccessLog, cfg.LogClient, cfg.LogDropped, cfg.ReloadFailed, cfg.Inside = es.Log, es.Access, es.LogClient, es.Dropped, es.ReloadFailed, es.inside
	cfg.Shared = edge.Shared{Places: &es.places, Kept: es.kept, WasReady: &es.wasReady}
	t := edgeGeneration{pools: poolsOf(cfg), files: keys, sockets: make(map[string]net.Listener), exclusive: make(chan struct{})}
	var each []routing.Listener // one for each socket
	for i, l := range cfg.Listeners {
		sockets, err := es.socketsFor(ctx, l.Listen)
		if err != nil {
			es.abandon(t)
			return edgeGeneration{}, ForKey(es.listenKey(i), err)
		}
		for i, socket := range sockets {
			t.sockets[socketKey(l.Listen, i)] = socket
			if second, err := shareListener(socket); err == nil {
				second.of, second.managed = socket, es.managed[socket]
				socket = second
			} else {
				es.shares = false
			}
			t.listeners, each = append(t.listeners, socket), append(each, l)
		}
	}
	cfg.Listeners = each
	e, err := edge.New(cfg, es.picker)
	if err != nil {
		es.abandon(t)
		return edgeGeneration{}, err
	}
	t.edge = e
	if problem := TooMuchMemory(cfg.BufferMemory, agent.MemoryLimit()); problem != "" {
		es.Log.Warn("buffer_memory is more than this process may use: it may be killed when clients send large bodies", "err", problem)
	}
	return t, nil
}

// TooMuchMemory returns what is wrong with the memory for request bodies of an edge, in bytes, where a process may use so much as limit;
// empty: nothing, or the limit is not known.
func TooMuchMemory(buffers int64, limit uint64) string {
	buffers = cmp.Or(buffers, edge.DefaultBufferMemory)
	if limit == 0 || uint64(buffers) < limit {
		return ""
	}
	return fmt.Sprintf("%d MiB for request bodies, but this machine or control group has %d MiB: set edge.buffer_memory to at most half of that", buffers>>20, limit>>20)
}

// listenKey is where the address of a listener was written.
func (es *EdgeSupervisor) listenKey(i int) string {
	if es.file == "" {
		return "--listen"
	}
	return es.file + ": " + config.Item("edge.listeners", i) + ".listen"
}

// socketsFor returns the open sockets of a listener, or opens one, or takes all that were inherited for it.
func (es *EdgeSupervisor) socketsFor(ctx context.Context, address string) (all []net.Listener, err error) {
	for es.sockets[socketKey(address, len(all))] != nil {
		all = append(all, es.sockets[socketKey(address, len(all))])
	}
	if all != nil {
		return all, nil
	}
	for more, managed := takeInherited(address); more != nil; more, managed = takeInherited(address) {
		all = append(all, more)
		es.managed[more] = managed
	}
	if all != nil {
		return all, nil
	}
	first, err := Listen(ctx, address)
	if err != nil {
		return nil, err
	}
	return append(all, first), nil
}

// socketKey is the key of the n-th socket of a listener.
func socketKey(address string, n int) string {
	if n == 0 {
		return address
	}
	return address + "\x00" + strconv.Itoa(n)
}

// setCurrent makes a prepared edge the present one.
func (es *EdgeSupervisor) setCurrent(t edgeGeneration) {
	es.mu.Lock()
	defer es.mu.Unlock()
	closeExcept(es.sockets, t.sockets)
	es.sockets, es.current = t.sockets, t.edge
	es.active[t.edge] = t.pools
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

// watchPoolsLocked calls Watch with the pools that are routed to, also by edges that finish what they have:
// their requests may need another server, and the ends of their leases a master. mu is held.
func (es *EdgeSupervisor) watchPoolsLocked() {
	if es.Watch == nil {
		return
	}
	var all []string
	for _, pools := range es.active {
		all = append(all, pools...)
	}
	slices.Sort(all)
	es.Watch(slices.Compact(all))
}

// abandon gives up a prepared edge.
func (es *EdgeSupervisor) abandon(t edgeGeneration) {
	CloseAll(t.listeners)
	closeExcept(t.sockets, es.sockets)
}

// closeExcept closes the sockets that are not kept.
func closeExcept(sockets, kept map[string]net.Listener) {
	for at, s := range sockets {
		if kept[at] != s {
			_ = s.Close() // nothing was taken from it by us
		}
	}
}

// Run serves until ctx ends, then takes no more connections and returns when every
// request is done.
func (es *EdgeSupervisor) Run(ctx context.Context) error {
	var running sync.WaitGroup
	failed := make(chan error, 1)
	begin := func(t edgeGeneration) (stop context.CancelFunc) {
		own, stop := context.WithCancel(context.WithoutCancel(ctx))
		running.Go(func() { es.serve(own, t, failed) })
		return stop
	}
	current, stop := es.first, begin(es.first)
	defer func() {
		close(es.stopped)
		es.CloseSockets()
		current.release(func(net.Listener) bool { return es.succeeded.Load() })
		stop()
		es.startDrainTimes()
		running.Wait()
	}()
	for {
		select {
		case t := <-es.next:
			before, stopBefore := current, stop
			current, stop = t, begin(t)
			running.Go(func() {
				before.release(t.has)
				close(t.exclusive)
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

func (es *EdgeSupervisor) serve(ctx context.Context, t edgeGeneration, failed chan<- error) {
	watch, stopWatch := context.WithCancel(context.WithoutCancel(ctx)) // those that drain may still have to say who they are
	var watching sync.WaitGroup
	watching.Go(func() { t.files.Watch(watch, es.Log) })
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
	delete(es.active, t.edge)
	if len(es.active) > 0 { // else the process ends
		es.watchPoolsLocked()
	}
}

// startDrainTimes starts the drain time of those that were replaced.
func (es *EdgeSupervisor) startDrainTimes() {
	es.mu.Lock()
	defer es.mu.Unlock()
	for e := range es.active {
		e.Finish()
	}
}

func (es *EdgeSupervisor) CloseSockets() {
	es.mu.Lock()
	defer es.mu.Unlock()
	closeExcept(es.sockets, nil)
}

// Accepting is closed once the edge that run begins with takes connections.
func (es *EdgeSupervisor) Accepting() <-chan struct{} { return es.first.edge.Accepting() }

// Sockets returns the sockets of the present settings, in no order that matters.
func (es *EdgeSupervisor) Sockets() (all []InheritedSocket) {
	es.mu.Lock()
	defer es.mu.Unlock()
	for at, l := range es.sockets {
		address, _, _ := strings.Cut(at, "\x00")
		all = append(all, InheritedSocket{address, es.managed[l], l})
	}
	return all
}

// StopAccepting says that a new program serves what this one has served.
func (es *EdgeSupervisor) StopAccepting() {
	es.succeeded.Store(true)
	es.mu.Lock()
	defer es.mu.Unlock()
	es.current.Linger()
}

// Addresses returns where the edge listens, in the order of its settings.
func (es *EdgeSupervisor) Addresses(cfg edge.Config) string {
	es.mu.Lock()
	defer es.mu.Unlock()
	var all []net.Listener
	for _, l := range cfg.Listeners {
		all = append(all, es.sockets[l.Listen])
	}
	return Addresses(all)
}

// Endpoints are those of the present edge, below a prefix.
func (es *EdgeSupervisor) Endpoints(prefix string) []admin.Endpoint {
	all := es.currentEdge().Endpoints()
	for i := range all {
		all[i].Path = prefix + all[i].Path
		all[i].Handle = func(w http.ResponseWriter, r *http.Request) { es.currentEdge().Endpoints()[i].Handle(w, r) }
	}
	return all
}

func (es *EdgeSupervisor) currentEdge() *edge.Edge {
	es.mu.Lock()
	defer es.mu.Unlock()
	return es.current
}

// InFlight returns the number of requests taken and not yet answered, also by edges that drain.
func (es *EdgeSupervisor) InFlight() int {
	es.mu.Lock()
	defer es.mu.Unlock()
	n := 0
	for e := range es.active {
		n += e.Open()
	}
	return n
}
