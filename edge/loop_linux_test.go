//go:build !evenkeel_portable

package edge

import (
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// noUser has nothing to do at the end of an iteration.
type noUser struct{}

func (noUser) endTurn()  {}
func (noUser) closeAll() {}

// idleLoop is a loop that does not run.
func idleLoop(t *testing.T, cfg loopConfig) *loop {
	t.Helper()
	l := new(loop)
	if err := l.init(cfg, noUser{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.shutdown)
	return l
}

// pairIn is a pair of sockets: one is in the loop, the other is the test's.
func pairIn(t *testing.T, l *loop) (*sayer, *fd.FD) {
	t.Helper()
	own, peer, err := fd.Pair()
	if err != nil {
		t.Fatal(err)
	}
	s := &sayer{t: t, peer: peer}
	s.conn.owner = s
	if err := l.register(&s.conn, own, readiness); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.conn.close()
		peer.Close()
	})
	s.conn.readable, s.conn.writable = true, true
	return s, peer
}
