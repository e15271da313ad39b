package master

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// This file serves GET /v1/tap: decisions, outcomes and refusals as they happen, as server-sent events, for a few callers at once. Each
// has a balance.Tap in every pool that it asks about, which keeps a bounded number of requests; what is filtered out costs a comparison.

const (
	tapInterval = 250 * time.Millisecond // between events
	mostTaps    = 8                      // callers at once
	mostTapped  = 100                    // requests in an event, of all pools together
	leastTapped = 4                      // of each pool
)

// taps are the callers.
type taps struct {
	mu       sync.Mutex
	open     int
	stopped  bool          // the master stops
	end      chan struct{} // closed then; nil: no call has waited for it yet
	interval time.Duration // zero: tapInterval; another for tests
}

// join admits a caller; nil: there are too many, or the master stops. The channel is closed when the master stops.
func (t *taps) join() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped || t.open >= mostTaps {
		return nil
	}
	if t.end == nil {
		t.end = make(chan struct{})
	}
	t.open++
	return t.end
}

func (t *taps) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open--
}

// stop ends what every caller gets, for good.
func (t *taps) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped = true; t.end != nil {
		close(t.end)
	}
}

func (m *Master) getTap(w http.ResponseWriter, r *http.Request) *document {
	query := r.URL.Query()
	filter, err := tapFilter(query)
	if err != nil {
		return malformed(err)
	}
	name := query.Get("pool")
	if name != "" && m.poolNamed(name) == nil {
		return newProblem(http.StatusNotFound, noSuchPool, unknownPool(name).Detail)
	}
	stopped := m.taps.join()
	if stopped == nil {
		p := newProblem(http.StatusServiceUnavailable, tooManyViewers, fmt.Sprintf("%d callers tap this master already, or it stops", mostTaps))
		p.RetryAfter = 5 * time.Second
		return p
	}
	defer m.taps.leave()
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // a proxy in between must not wait for more
	t := &tapper{master: m, pool: name, filter: filter, taps: make(map[*pool]*balance.Tap)}
	defer t.detach()
	t.feed(r.Context(), w, stopped)
	return nil
}

// tapFilter reads the filter of a query.
func tapFilter(query url.Values) (f balance.TapFilter, err error) {
	for name := range query {
		switch name {
		case "pool", "server", "edge", "slower_than_ms", "errors":
		default:
			return f, fmt.Errorf("%s: want pool, server, edge, slower_than_ms or errors", clip(name))
		}
	}
	f.Server, f.Edge = balance.ServerID(query.Get("server")), balance.EdgeID(query.Get("edge"))
	if text := query.Get("slower_than_ms"); text != "" {
		ms, err := strconv.ParseFloat(text, 64)
		if err != nil || !(ms >= 0 && ms <= float64(longestHold.Milliseconds())) {
			return f, fmt.Errorf("slower_than_ms: %q, want 0 to %d", clip(text), longestHold.Milliseconds())
		}
		f.SlowerThan = time.Duration(ms * float64(time.Millisecond))
	}
	if text := query.Get("errors"); text != "" {
		if f.Errors, err = strconv.ParseBool(text); err != nil {
			return f, fmt.Errorf("errors: %q, want true or false", clip(text))
		}
	}
	return f, nil
}

// tapper feeds one caller. Its goroutine owns its fields.
type tapper struct {
	master *Master
	pool   string // empty: all
	filter balance.TapFilter
	taps   map[*pool]*balance.Tap
	unled  []unledBody // as it was told last
}

// feed writes an event at once, and then whenever there is something, until the caller leaves, takes nothing for too long, or the master
// stops.
func (t *tapper) feed(ctx context.Context, w http.ResponseWriter, stopped <-chan struct{}) {
	interval := t.master.taps.interval
	if interval == 0 {
		interval = tapInterval
	}
	out, tick := http.NewResponseController(w), time.NewTicker(interval)
	defer tick.Stop()
	for first := true; ; first = false {
		body := t.take(clock.Now())
		if first || body.Matched > 0 || body.Unled != nil {
			text, _ := json.Marshal(body) // it has nothing that cannot be written
			if _, err := fmt.Fprintf(w, "event: tap\ndata: %s\n\n", text); err != nil || out.Flush() != nil {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-stopped:
			return
		case <-tick.C:
		}
	}
}

// take returns what has happened since it was called last. Pools that have come since are tapped from now on.
func (t *tapper) take(now balance.Instant) *tapBody {
	body := newTapBody(now)
	list := t.master.pools.Load().list
	if t.pool != "" {
		list = nil
		if p := t.master.poolNamed(t.pool); p != nil {
			list = []*pool{p}
		}
	}
	var unled []unledBody
	present := make(map[*pool]bool, len(list))
	for _, p := range list {
		present[p] = true
		if leader, led := t.takePool(now, p, max(leastTapped, mostTapped/len(list)), body); !led {
			unled = append(unled, unledBody{p.name, leader})
		}
	}
	for p := range t.taps { // removed since
		if !present[p] {
			t.detachFrom(p)
		}
	}
	if !slices.Equal(unled, t.unled) {
		t.unled, body.Unled = unled, append([]unledBody{}, unled...) // also to say that there are none any more
	}
	return body
}

// takePool adds what has happened in a pool to body, and reports who leads it.
func (t *tapper) takePool(now balance.Instant, p *pool, most int, body *tapBody) (leader string, led bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	tap := t.taps[p]
	if tap == nil {
		tap = balance.NewTap(t.filter, most)
		t.taps[p] = tap
		p.core.Attach(tap)
	}
	list, matched, oneIn := p.core.TakeTapped(now, tap)
	body.Matched, body.OneIn = body.Matched+matched, max(body.OneIn, oneIn)
	for i := range list {
		body.Requests = append(body.Requests, p.newTappedBody(&list[i]))
	}
	return p.lead.leader, p.isLeadingLocked(now)
}

func (t *tapper) detach() {
	for p := range t.taps {
		t.detachFrom(p)
	}
}

func (t *tapper) detachFrom(p *pool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.core.Detach(t.taps[p])
	delete(t.taps, p)
}
