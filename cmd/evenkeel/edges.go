package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/evenkeel-lb/evenkeel/edge"
)

// edges is the edge of this process across reloads. Every reload makes a new
// edge.Edge on the same sockets; the one before finishes what it has.
type edges struct {
	picker edge.Picker
	log    *slog.Logger
	access *slog.Logger  // nil: no access log
	first  turn          // what run begins with
	turns  chan turn     // from reload to run
	over   chan struct{} // closed when run takes no more turns
	lends  bool          // sockets can be shared by two edges; if not, the first edge has them for good

	mu      sync.Mutex
	current *edge.Edge
	living  map[*edge.Edge]bool     // those whose requests are not all done
	sockets map[string]net.Listener // by the address that the settings name
}

// turn is an edge that is about to serve, the sockets it needs, and the listeners on
// them that it is lent.
type turn struct {
	edge      *edge.Edge
	keys      *keyrings // that it uses
	sockets   map[string]net.Listener
	listeners []net.Listener
}

// park stops the edge's listeners from taking connections.
func (t turn) park() {
	for _, l := range t.listeners {
		if l, ok := l.(*lent); ok {
			l.park()
		}
	}
}

// newEdges opens the sockets of an edge and makes it; run serves.
func newEdges(ctx context.Context, cfg edge.Config, keys *keyrings, picker edge.Picker, log, access *slog.Logger) (*edges, error) {
	es := &edges{picker: picker, log: log, access: access, turns: make(chan turn), over: make(chan struct{}), living: make(map[*edge.Edge]bool), lends: true}
	t, err := es.prepare(ctx, cfg, keys)
	if err != nil {
		return nil, err
	}
	es.first = t
	es.take(t)
	return es, nil
}

// reload makes the edge what cfg says, and calls also when nothing can fail any more
// but that. If it fails nothing changes.
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
	select {
	case es.turns <- t:
		es.take(t)
		return nil
	case <-es.over:
		es.abandon(t)
		return errors.New("the edge has stopped")
	}
}

// prepare opens the sockets that cfg needs and are not open, and lends all to a new edge.
func (es *edges) prepare(ctx context.Context, cfg edge.Config, keys *keyrings) (turn, error) {
	cfg.Log, cfg.AccessLog = es.log, es.access
	e, err := edge.New(cfg, es.picker)
	if err != nil {
		return turn{}, err
	}
	t := turn{edge: e, keys: keys, sockets: make(map[string]net.Listener)}
	for _, l := range cfg.Listeners {
		socket, had := es.sockets[l.Listen]
		if !had {
			if socket, err = listen(ctx, l.Listen); err != nil {
				es.abandon(t)
				return turn{}, err
			}
		}
		t.sockets[l.Listen] = socket
		if second, err := lend(socket); err == nil {
			socket = second
		} else {
			es.lends = false
		}
		t.listeners = append(t.listeners, socket)
	}
	return t, nil
}

// take makes a prepared edge the present one.
func (es *edges) take(t turn) {
	es.mu.Lock()
	defer es.mu.Unlock()
	closeOthers(es.sockets, t.sockets)
	es.sockets, es.current = t.sockets, t.edge
	es.living[t.edge] = true
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
		select {
		case failed <- err:
		default: // one failure ends them all
		}
	}
	es.mu.Lock()
	defer es.mu.Unlock()
	delete(es.living, t.edge)
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

// open returns the sockets of the present settings, in no order that matters.
func (es *edges) open() (all []heirloom) {
	es.mu.Lock()
	defer es.mu.Unlock()
	for at, l := range es.sockets {
		all = append(all, heirloom{at, l})
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

// ServeHTTP answers for the present edge: its metrics and health.
func (es *edges) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	es.mu.Lock()
	e := es.current
	es.mu.Unlock()
	e.Handler().ServeHTTP(w, r)
}

// inFlight returns the number of requests taken and not yet answered, also by edges
// that drain, as their metrics tell it.
func (es *edges) inFlight() int {
	es.mu.Lock()
	defer es.mu.Unlock()
	n := 0
	for e := range es.living {
		n += gauge(e.Handler(), "evenkeel_edge_in_flight")
	}
	return n
}

// gauge adds up the series of a family on a metrics page.
func gauge(metrics http.Handler, family string) int {
	p := page{header: make(http.Header)}
	r, err := http.NewRequest(http.MethodGet, "/metrics", nil)
	if err != nil {
		return 0
	}
	metrics.ServeHTTP(&p, r)
	total := 0.
	for line := range strings.Lines(p.String()) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if name, _, _ := strings.Cut(name, "{"); !ok || name != family {
			continue
		}
		if x, err := strconv.ParseFloat(value, 64); err == nil {
			total += x
		}
	}
	return int(total)
}

// page is a response kept in memory.
type page struct {
	bytes.Buffer
	header http.Header
}

func (p *page) Header() http.Header { return p.header }

func (p *page) WriteHeader(int) {}
