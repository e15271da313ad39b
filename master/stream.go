package master

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// This file serves GET /v1/stream: how the servers stand, as server-sent events, to any number of viewers. A snapshot comes first, then
// ticks with what has changed.
//
// One goroutine, the producer, looks at the pools while there are viewers, and makes each event once for all of them. It waits for no
// viewer: one that falls behind misses ticks and gets a snapshot instead.

const (
	streamInterval     = time.Second     // between ticks
	slowStreamInterval = 2 * time.Second // the same, with more than manyServers servers
	manyServers        = 2000
	maxViewers         = 64
	viewerBehind       = 8 // ticks that a viewer may be behind before it gets a snapshot instead
)

// stream is the viewers and their producer.
type stream struct {
	mu       sync.Mutex
	viewers  map[*viewer]struct{}
	producer *producer     // nil: there are no viewers
	samples  []sample      // decisions that viewers were shown, oldest first
	stopped  bool          // the master stops
	interval time.Duration // zero: as the constants say; others for tests
}

// viewer is one request for the stream. The stream's lock guards its fields but news.
type viewer struct {
	news         chan struct{} // has room for one: something is pending, or the stream has ended
	pending      [][]byte      // events to be written; their bytes are shared with other viewers
	wantSnapshot bool
	ended        bool
}

// wake has the viewer's goroutine look.
func (v *viewer) wake() {
	select {
	case v.news <- struct{}{}:
	default:
	}
}

// join adds a viewer, and starts the producer for the first. It returns nil if there are too many, or the master stops.
func (s *stream) join(m *Master) *viewer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || len(s.viewers) >= maxViewers {
		return nil
	}
	if s.viewers == nil {
		s.viewers = make(map[*viewer]struct{})
	}
	v := &viewer{news: make(chan struct{}, 1), wantSnapshot: true}
	s.viewers[v] = struct{}{}
	if s.producer == nil {
		s.producer = &producer{master: m, joined: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
		go s.producer.run()
	}
	select {
	case s.producer.joined <- struct{}{}:
	default:
	}
	return v
}

// leave removes a viewer. With the last one the producer ends, and leave waits for it.
func (s *stream) leave(v *viewer) {
	s.mu.Lock()
	delete(s.viewers, v)
	var last *producer
	if len(s.viewers) == 0 {
		last, s.producer = s.producer, nil
	}
	s.mu.Unlock()
	if last != nil {
		close(last.quit)
		<-last.done
	}
}

// end ends the stream of every viewer, for good.
func (s *stream) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	for v := range s.viewers {
		v.ended = true
		v.wake()
	}
}

// publish hands a tick to all viewers, and a snapshot to those that need one. snapshot is called at most once.
func (s *stream) publish(tick []byte, snapshot func() []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []byte
	for v := range s.viewers {
		switch {
		case v.wantSnapshot && len(v.pending) > 0: // it has not taken what it had
			v.pending = nil
		case !v.wantSnapshot && len(v.pending) >= viewerBehind:
			v.pending, v.wantSnapshot = nil, true
		}
		if v.wantSnapshot {
			if all == nil {
				all = snapshot()
			}
			v.pending, v.wantSnapshot = append(v.pending, all), false
		} else if tick != nil {
			v.pending = append(v.pending, tick)
		}
		v.wake()
	}
}

// take returns what is to be written to a viewer; false: its stream has ended.
func (s *stream) take(v *viewer) (events [][]byte, goOn bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	events, v.pending = v.pending, nil
	return events, !v.ended
}

func (m *Master) getStream(w http.ResponseWriter, r *http.Request) *document {
	v := m.stream.join(m)
	if v == nil {
		p := newProblem(http.StatusServiceUnavailable, tooManyViewers, fmt.Sprintf("%d viewers see the stream already, or this master stops", maxViewers))
		p.RetryAfter = 5 * time.Second
		return p
	}
	defer m.stream.leave(v)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // a proxy in between must not wait for more
	m.feedViewer(r.Context(), w, v)
	return nil
}

// feedViewer writes to a viewer until it leaves, takes nothing for too long, or the stream ends.
func (m *Master) feedViewer(ctx context.Context, w http.ResponseWriter, v *viewer) {
	out := http.NewResponseController(w)
	for {
		select {
		case <-ctx.Done():
			return
		case <-v.news:
		}
		events, goOn := m.stream.take(v)
		for _, e := range events {
			if _, err := w.Write(e); err != nil {
				return
			}
		}
		if out.Flush() != nil || !goOn {
			return
		}
	}
}

// producer looks at the pools at intervals. Its goroutine owns its fields.
type producer struct {
	master *Master
	joined chan struct{} // has room for one: a viewer wants a snapshot
	quit   chan struct{} // closed with the last viewer
	done   chan struct{} // closed at the end of run
	seq    uint64        // of the last tick
	at     balance.Instant
	pools  map[uint32]*poolPicture // by the pools' numbers
	order  []*poolPicture          // by name
	views  []balance.View          // scratch
	events uint64                  // seq of the newest that was sent
}

func (p *producer) run() {
	defer close(p.done)
	for {
		tick := p.tick(clock.Now())
		p.master.stream.publish(tick, p.snapshot)
		if !p.pause() {
			return
		}
	}
}

// pause waits until the next tick is due, and gives new viewers a snapshot meanwhile. It returns false when there are no viewers.
func (p *producer) pause() bool {
	due := time.NewTimer(p.interval())
	defer due.Stop()
	for {
		select {
		case <-p.quit:
			return false
		case <-p.joined:
			p.master.stream.publish(nil, p.snapshot)
		case <-due.C:
			return true
		}
	}
}

func (p *producer) interval() time.Duration {
	if fixed := p.master.stream.interval; fixed > 0 {
		return fixed
	}
	servers := 0
	for _, pool := range p.order {
		servers += len(pool.places)
	}
	if servers > manyServers {
		return slowStreamInterval
	}
	return streamInterval
}
