//go:build !evenkeel_portable

package master

import (
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// Every edge is read by a loop, and an agent as soon as it is registered.
func TestLoopsTakePlaintext(t *testing.T) {
	r := start(t, web("a"))
	e, a, stranger := r.dialEdge("e1"), r.dialAgent("s1"), r.dial(wire.RoleAgent, "s2")
	for _, p := range []*remotePeer{e, a, stranger} {
		p.sync()
	}
	taken := func(c *conn) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.loopWriter != nil
	}
	if !taken(r.edgeConn("e1")) || !taken(r.peers.agentOf("web", "s1").conn) {
		t.Error("an edge or an agent has a goroutine for itself")
	}
	if n := r.loops.agents[0].conns.Load(); n != 1 {
		t.Errorf("the agents' loop has %d connections, want that of the one that has registered", n)
	}
}

// A verdict that is waited for is read at once, however long reports may wait.
func TestAVerdictWaitsForNobody(t *testing.T) {
	r := start(t, dispatching(time.Minute), func(m *Master) {
		m.loops.gather, m.limits.quiet, m.limits.write = time.Hour, time.Hour, time.Hour // no look ends the wait
	})
	a, e := r.dial(wire.RoleAgent, "s1"), r.dialEdge("e1")
	a.send(&wire.Register{Pool: "web", Server: spec("s1")}) // whose answer may already have to wait for more
	eventually(t, "the loop has the agent, and waits for more", func() bool {
		a.send(&wire.Pong{})
		return r.loops.agents[0].conns.Load() == 1 && r.loops.agents[0].coalescing.Load()
	})
	e.ask(wire.Ask{Seq: 1, Pool: "web", Request: balance.Request{Key: "k"}})
	d := a.dispatched()
	a.send(&wire.Verdict{Lease: d.Lease, Accepted: true})
	if g := e.granted(); g.Grant.Lease != d.Lease {
		t.Fatalf("got %+v, want lease %s", g, d.Lease)
	}
}

// Letters come until a loop has ended, and after: those of connections whose context ends
// late. They are dropped and do not write the eventfd, since its descriptor's number may be another's.
func TestLettersAfterTheEnd(t *testing.T) {
	for range 100 {
		l, err := newLoop(new(loopGroup), 0)
		if err != nil {
			t.Fatal(err)
		}
		var posting sync.WaitGroup
		for range 4 {
			posting.Go(func() {
				for range 10 {
					l.post(func() {})
				}
			})
		}
		l.close()
		posting.Wait()
		l.mu.Lock()
		rung, letters := l.woken, len(l.mailbox)
		l.mu.Unlock()
		l.post(func() { t.Error("a letter was read") })
		if len(l.mailbox) != letters || l.woken != rung || l.wakeFD.IsOpen() {
			t.Fatalf("%d letters, rung %v, bell open %v; want what there was when it ended: %d, %v and a closed bell", len(l.mailbox), l.woken, l.wakeFD.IsOpen(), letters, rung)
		}
	}
}
