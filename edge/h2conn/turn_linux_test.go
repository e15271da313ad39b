//go:build !evenkeel_portable

package h2conn

import (
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/h2"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// idleUser has nothing to do at the end of an iteration.
type idleUser struct{}

func (idleUser) EndTurn()  {}
func (idleUser) CloseAll() {}

// loopWithTurns is a loop that does not run and allows its connections some time in an iteration.
func loopWithTurns(t *testing.T, most time.Duration) *eventloop.Loop {
	t.Helper()
	l := new(eventloop.Loop)
	if err := l.Init(eventloop.Config{MaxTurn: most, ReadSize: 64 << 10}, idleUser{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Shutdown)
	return l
}

// Frames of a server for which there is no time are handled in the next iteration, each once; a large frame
// counts for more than a small one.
func TestAServersFramesEndTheirTurnByTime(t *testing.T) {
	for _, c := range []struct {
		size  int
		turns int // for 320 frames
	}{{0, 320 / limits.TurnLook}, {h2.FrameMost, 320}} {
		l := loopWithTurns(t, -1) // over at the first look
		k := &ClientConn{state: clientOpen}
		k.Loop, k.role, k.shared = l, k, new(Shared)
		var text []byte
		for range 320 {
			text = append(text, byte(c.size>>16), byte(c.size>>8), byte(c.size), 0xfa, 0, 0, 0, 0, 0)
			text = append(text, make([]byte, c.size)...)
		}
		turns := 0
		for p := text; ; p = k.partial {
			turn := l.NewTurn()
			k.parseFrames(p, &turn)
			if turns++; !k.pending {
				break
			}
			if len(k.partial) >= len(p) {
				t.Fatalf("%d bytes of %d are left", len(k.partial), len(p))
			}
		}
		if turns < c.turns {
			t.Errorf("frames of %d bytes: dealt with in %d turns, want %d", c.size, turns, c.turns)
		}
	}
}

// What an HTTP/2 client sends behind the end of its connection is discarded, so that it can read what it was
// sent. After a protocol error nothing is read: a client that only writes cannot reconnect at once.
func TestAClientThatBrokeTheProtocolIsNotRead(t *testing.T) {
	for _, broken := range []bool{false, true} {
		l := loopWithTurns(t, time.Hour)
		own, peer, err := fd.Pair()
		if err != nil {
			t.Fatal(err)
		}
		k := &ServerConn{state: serverLingering, broken: broken, cfg: new(ServerConfig)}
		k.Conn.Owner, k.Timer.Owner, k.recvWindow = k, k, ConnectionWindow
		if err := l.Register(&k.Conn, own, eventloop.Readiness); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			k.Conn.Close()
			peer.Close()
		})
		if n, err := peer.Send(make([]byte, 1000)); n != 1000 || err != nil {
			t.Fatal(n, err)
		}
		k.Readable, k.endAt = true, l.Now.Add(lingerTime)
		k.OnReady()
		if n, err := k.FD.Receive(make([]byte, 2000)); (n == 1000) != broken {
			t.Errorf("broken %v: %d bytes are left unread, %v", broken, n, err)
		}
	}
}
