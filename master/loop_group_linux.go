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

// loopGroup serves plaintext connections without a goroutine for each. Edges and agents have separate loops:
// asks are urgent, reports are not.
type loopGroup struct {
	disabled       bool          // goroutines serve all connections
	gather         time.Duration // how long reports may be gathered; zero: agentGather
	urgentVerdicts atomic.Int32  // agents' verdicts that are waited for

	mu        sync.Mutex // guards the following, which change only while there is no connection
	limits    *limits    // the master's
	listeners int        // listeners that are served
	edges     []*loop
	agents    []*loop
	running   sync.WaitGroup
	stop      chan struct{} // closed to stop all loops
}

// loopCount returns how many loops there are of each kind: one for up to seven cores, which also keeps a
// pool's lock on one core.
func loopCount(processors int) int { return max(1, processors/4) }

// startFirst starts the loops for the first listener. If the system supports none, goroutines serve all
// connections.
func (all *loopGroup) startFirst(m *Master) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.listeners++; all.listeners > 1 || all.disabled {
		return
	}
	all.limits = &m.limits
	each, err := all.newLoops(loopCount(runtime.GOMAXPROCS(0)))
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
	all.running.Go(func() { tick(each, period, stop) })
}

// newLoops creates n loops of each kind and returns them all.
func (all *loopGroup) newLoops(n int) (each []*loop, err error) {
	for i := range 2 * n {
		l, err := newLoop(all, time.Duration(i%2)*cmp.Or(all.gather, agentGather))
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

// stopLast stops the loops after the last listener, when all connections have ended.
func (all *loopGroup) stopLast() {
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.listeners--; all.listeners > 0 || all.stop == nil {
		return
	}
	close(all.stop)
	all.running.Wait()
	all.edges, all.agents, all.stop = nil, nil, nil
}

// tick has the loops check their connections every period. They have no timers: setting one for each wait
// would cost more than the wait itself.
func tick(all []*loop, period time.Duration, stop <-chan struct{}) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			for _, l := range all {
				if l.conns.Load() > 0 {
					l.post(l.checkQuiet)
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

// expectVerdicts adds n to the verdicts that are waited for. While there are any, agents' loops do not gather.
func (all *loopGroup) expectVerdicts(n int32) {
	if all.urgentVerdicts.Add(n) != n || n < 0 {
		return
	}
	for _, l := range all.agents {
		l.endCoalescing()
	}
}

// moveConn moves a connection to a loop, with the start of its next frame. It reports whether it did; if not,
// the goroutine goes on. The connection must carry nothing but frames.
func (all *loopGroup) moveConn(s *connSession, rest []byte) bool {
	l := all.leastLoaded(s.peer)
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
		return false // a write is in progress; perhaps the next time
	}
	descriptor, err := fd.Copy(c.Conn)
	if err != nil {
		return false
	}
	if !s.stop() {
		descriptor.Close()
		return false
	}
	_ = c.Conn.Close() // the descriptor is copied, so Go may close its own
	at := &loopConn{connSession: s, loop: l, fd: descriptor.Move(), partial: append([]byte(nil), rest...)}
	c.Conn, c.loopWriter, c.writeDeadline = nil, at, 0
	s.stop = context.AfterFunc(s.ctx, at.postDetach)
	l.conns.Add(1)
	l.post(at.register)
	return true
}

// leastLoaded returns the loop with the fewest connections for a peer's kind; nil: there is none.
func (all *loopGroup) leastLoaded(p peer) (least *loop) {
	among := all.edges
	if _, ok := p.(*agent); ok {
		among = all.agents
	}
	for _, l := range among {
		if least == nil || l.conns.Load() < least.conns.Load() {
			least = l
		}
	}
	return least
}
