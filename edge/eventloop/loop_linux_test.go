//go:build !evenkeel_portable

package eventloop

import (
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// noUser has nothing to do at the end of an iteration.
type noUser struct{}

func (noUser) EndTurn()  {}
func (noUser) CloseAll() {}

// idleLoop is a loop that does not run.
func idleLoop(t *testing.T, cfg Config) *Loop {
	t.Helper()
	l := new(Loop)
	if err := l.Init(cfg, noUser{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Shutdown)
	return l
}

// pairIn is a pair of sockets: one is in the loop, the other is the test's.
func pairIn(t *testing.T, l *Loop) (*sayer, *fd.FD) {
	t.Helper()
	own, peer, err := fd.Pair()
	if err != nil {
		t.Fatal(err)
	}
	s := &sayer{t: t, peer: peer}
	s.Conn.Owner = s
	if err := l.Register(&s.Conn, own, Readiness); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Conn.Close()
		peer.Close()
	})
	s.Conn.Readable, s.Conn.Writable = true, true
	return s, peer
}
