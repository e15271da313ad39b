package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
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
	access *slog.Logger // nil: no access log
	turns  chan turn    // from reload to run
	over   chan struct{}

	mu      sync.Mutex
	current *edge.Edge
	living  map[*edge.Edge]bool
	sockets map[string]net.Listener // by the address that the settings name
	lends   bool                    // sockets can be shared by two edges; if not, the first edge has them for good
}

// turn is an edge that is about to serve, and its listeners.
type turn struct {
	edge      *edge.Edge
	listeners []net.Listener
}

var errNoHandover = errors.New("this system cannot hand listeners over from the old settings of an edge to new ones: restart instead")

// newEdges opens the sockets of an edge and makes it; run serves. Listeners may be few,
// so a socket that cannot be had fails it.
func newEdges(ctx context.Context, cfg edge.Config, picker edge.Picker, log, access *slog.Logger) (*edges, error) {
	es := &edges{picker: picker, log: log, access: access, turns: make(chan turn, 1), over: make(chan struct{}),
		living: make(map[*edge.Edge]bool), sockets: make(map[string]net.Listener), lends: true}
	t, err := es.prepare(ctx, cfg)
	if err != nil {
		return nil, err
	}
	es.turns <- t
	return es, nil
}

// reload makes the edge what cfg says. If it cannot, nothing changes.
func (es *edges) reload(ctx context.Context, cfg edge.Config) error {
	if !es.lends {
		return errNoHandover
	}
	t, err := es.prepare(ctx, cfg)
	if err != nil {
		return err
	}
	select {
	case es.turns <- t:
		return nil
	case <-es.over:
		closeAll(t.listeners)
		return errors.New("the edge has stopped")
	}
}

// prepare opens the sockets that cfg needs and lends them to a new edge.
func (es *edges) prepare(ctx context.Context, cfg edge.Config) (turn, error) {
	cfg.Log, cfg.AccessLog = es.log, es.access
	e, err := edge.New(cfg, es.picker)
	if err != nil {
		return turn{}, err
	}
	es.mu.Lock()
	defer es.mu.Unlock()
	sockets := make(map[string]net.Listener)
	t := turn{edge: e}
	for _, l := range cfg.Listeners {
		socket, had := es.sockets[l.Listen]
		if !had {
			if socket, err = listen(ctx, l.Listen); err != nil {
				break
			}
		}
		sockets[l.Listen] = socket
		lent, err := lend(socket)
		if err != nil {
			es.lends = false
			lent = socket
		}
		t.listeners = append(t.listeners, lent)
	}
	if err != nil {
		closeAll(t.listeners)
		closeOthers(sockets, es.sockets)
		return turn{}, err
	}
	closeOthers(es.sockets, sockets)
	es.sockets, es.current = sockets, e
	es.living[e] = true
	return t, nil
}

// closeOthers closes the sockets that are not kept.
func closeOthers(sockets, kept map[string]net.Listener) {
	for at, s := range sockets {
		if kept[at] != s {
			_ = s.Close() // nothing was taken from it by us
		}
	}
}

// lend returns a second listener on the same socket.
func lend(l net.Listener) (net.Listener, error) {
	has, ok := l.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, errNoHandover
	}
	file, err := has.File()
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return net.FileListener(file)
}

// run serves until ctx ends, then takes no more connections and returns when every
// request is done.
func (es *edges) run(ctx context.Context) error {
	var running sync.WaitGroup
	stop := func() {}
	failed := make(chan error, 1)
	defer func() {
		close(es.over)
		es.closeSockets()
		stop()
		running.Wait()
	}()
	for {
		select {
		case t := <-es.turns:
			own, cancel := context.WithCancel(context.WithoutCancel(ctx))
			running.Go(func() { es.serve(own, t, failed) })
			stop() // the edge before drains while this one serves
			stop = cancel
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

func (es *edges) serve(ctx context.Context, t turn, failed chan<- error) {
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

func (es *edges) closeSockets() {
	es.mu.Lock()
	defer es.mu.Unlock()
	closeOthers(es.sockets, nil)
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
