//go:build !evenkeel_portable

package master

import (
	"cmp"
	"context"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// loops serves plaintext connections without a goroutine for each. Those of edges and
// those of agents have loops of their own: an ask is urgent, and a report is not.
type loops struct {
	none   bool          // goroutines serve all
	gather time.Duration // for which reports may wait for more; zero: gathered
	urgent atomic.Int32  // verdicts of agents that somebody waits for

	mu      sync.Mutex // guards the following, which change only while nobody is served
	limits  *limits    // the master's
	serving int        // listeners
	edges   []*loop
	agents  []*loop
	running sync.WaitGroup
	stop    chan struct{} // closed when all are to end
}

// loopsFor returns how many loops there are of each kind: one does for two cores, and
// keeps a pool's lock, which all want, where it is.
func loopsFor(processors int) int { return max(1, processors/4) }

// enter starts the loops for the first listener. If the system has none to give,
// goroutines serve all.
func (all *loops) enter(m *Master) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.serving++; all.serving > 1 || all.none {
		return
	}
	all.limits = &m.limits
	each, err := all.make(loopsFor(runtime.GOMAXPROCS(0)))
	if err != nil {
		m.log.Warn("no event loop: each connection has a goroutine instead", "err", err)
		return
	}
	for _, l := range each {
		all.running.Go(l.run)
	}
	// A loop keeps its processor while it works; the rest of the program needs one too.
	if want := len(each) + 1; runtime.GOMAXPROCS(0) < want {
		runtime.GOMAXPROCS(want)
	}
	all.stop = make(chan struct{})
	stop, period := all.stop, min(m.limits.quiet, m.limits.write)/4
	all.running.Go(func() { beat(each, period, stop) })
}

// make makes so many loops of each kind, and returns them all.
func (all *loops) make(n int) (each []*loop, err error) {
	for i := range 2 * n {
		l, err := newLoop(all, time.Duration(i%2)*cmp.Or(all.gather, gathered))
		if err != nil {
			for _, l := range each {
				l.close()
			}
			return nil, err
		}
		each = append(each, l)
	}
	for i, l := range each {
		if i%2 == 0 {
			all.edges = append(all.edges, l)
		} else {
			all.agents = append(all.agents, l)
		}
	}
	return each, nil
}

// leave stops them after the last. All connections have ended.
func (all *loops) leave() {
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.serving--; all.serving > 0 || all.stop == nil {
		return
	}
	close(all.stop)
	all.running.Wait()
	all.edges, all.agents, all.stop = nil, nil, nil
}

// beat has the loops look at their connections every period. They have no timers: to set
// one at each wait would cost more than the rest of it.
func beat(all []*loop, period time.Duration, stop <-chan struct{}) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			for _, l := range all {
				if l.taken.Load() > 0 {
					l.post(l.look)
				}
			}
		case <-stop:
			for _, l := range all {
				l.post(func() { l.stopped = true })
			}
			return
		}
	}
}

// hurry says that so many more verdicts of agents are waited for: none of them may gather.
func (all *loops) hurry(n int32) {
	if all.urgent.Add(n) != n || n < 0 {
		return
	}
	for _, l := range all.agents {
		l.hurry()
	}
}

// move gives a connection over which nothing else is spoken to a loop, with what has come
// of its next frame; false: it stays with its goroutine.
func (all *loops) move(s *stay, rest []byte) bool {
	l := all.choose(s.peer)
	if l == nil {
		return false
	}
	switch s.Conn.(type) {
	case *net.TCPConn, *net.UnixConn:
	default:
		return false
	}
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writing || len(c.out) > 0 {
		return false // by the connection; the next time, perhaps
	}
	descriptor, err := fd.Copy(c.Conn)
	if err != nil {
		return false
	}
	if !s.stop() {
		descriptor.Close()
		return false
	}
	_ = c.Conn.Close() // the descriptor has been copied, and Go need not know of that
	at := &seat{stay: s, loop: l, fd: descriptor.Move(), rest: append([]byte(nil), rest...)}
	c.Conn, c.window, c.writeBy = nil, at, 0
	s.stop = context.AfterFunc(s.ctx, at.recall)
	l.taken.Add(1)
	l.post(at.begin)
	return true
}

// choose returns the loop of a peer's kind that has fewest; nil: there is none.
func (all *loops) choose(p peer) (least *loop) {
	among := all.edges
	if _, ok := p.(*agent); ok {
		among = all.agents
	}
	for _, l := range among {
		if least == nil || l.taken.Load() < least.taken.Load() {
			least = l
		}
	}
	return least
}
