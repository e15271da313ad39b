//go:build !evenkeel_portable

package eventloop

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// A tunnel with much to move moves a part of it, and continues in the next iteration.
func TestATunnelsTurnEndsByTime(t *testing.T) {
	for most, want := range map[time.Duration]bool{-1: false, time.Hour: true} {
		l := idleLoop(t, Config{ReadSize: 1 << 10, MaxTurn: most}) // it takes many reads
		client, from := pairIn(t, l)
		server, _ := pairIn(t, l)
		piece := make([]byte, 1<<10)
		sent := int64(0)
		for { // as small messages, each of which is a read of its own
			n, err := from.Send(piece)
			if err != nil {
				break
			}
			sent += int64(n)
		}
		var j Tunnel
		j.Start(&client.Conn, &server.Conn, SendBuffer{}, SendBuffer{})
		j.Pump()
		moved := j.sides[ServerSide].received
		if all := moved == sent; all != want || moved == 0 {
			t.Errorf("with %v: moved %d bytes of %d in one turn", most, moved, sent)
		}
		if waits := len(l.deferred) > 0; waits == want {
			t.Errorf("with %v: it is to go on: %v", most, waits)
		}
	}
}

// look is a turn after which writes are not deferred.
func (s *sayer) look() {
	s.Loop.batching = true // so that it does not sleep
	s.turn()
	s.Loop.batching = false
}

// tunnelOf joins two pairs of sockets in a loop that reads size bytes at a time.
func tunnelOf(t *testing.T, size int) (j *Tunnel, client, server *sayer) {
	t.Helper()
	l := idleLoop(t, Config{ReadSize: size, MaxTurn: time.Hour})
	client, _ = pairIn(t, l)
	server, _ = pairIn(t, l)
	client.look()
	j = new(Tunnel)
	j.Start(&client.Conn, &server.Conn, SendBuffer{}, SendBuffer{})
	return j, client, server
}

// Whatever either peer sends, in whatever pieces and however slowly the other takes it, arrives in order, and so does the end.
func TestATunnelCarriesBothWays(t *testing.T) {
	piped := false
	for seed := range uint64(8) {
		t.Run("", func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			j, client, server := tunnelOf(t, 4<<10)
			sides := [2]*sayer{client, server}
			var said, heard [2]string
			ended := [2]bool{}
			for step := range 200 {
				i := rng.IntN(2)
				switch rng.IntN(4) {
				case 0:
					if ended[i] {
						continue
					}
					p := text(1 + rng.IntN(50_000))
					n, err := sides[i].peer.Write([]byte(p))
					if err != nil && err != syscall.EAGAIN {
						t.Fatal(err)
					}
					said[i] += p[:max(0, n)]
				case 1:
					heard[1-i] += sides[i].hears(1 + rng.IntN(100_000))
				case 2:
					client.look()
				case 3:
					if step > 150 && !ended[i] {
						ended[i] = true
						if err := sides[i].peer.CloseWrite(); err != nil {
							t.Fatal(err)
						}
					}
				}
				if j.Pump() {
					break
				}
				piped = piped || j.sides[0].out.HasPipe() || j.sides[1].out.HasPipe()
			}
			for i, s := range sides {
				if !ended[i] {
					if err := s.peer.CloseWrite(); err != nil {
						t.Fatal(err)
					}
				}
			}
			over := false
			for range 2000 {
				client.look()
				over = j.Pump()
				for i, s := range sides {
					heard[1-i] += s.hears(1 << 17)
				}
				if over {
					break
				}
			}
			for i, s := range sides {
				rest, end := s.heard()
				if heard[1-i] += rest; !end {
					t.Errorf("side %d does not hear the end", i)
				}
			}
			if !over || j.BrokeOff() != noSide || heard != said {
				t.Fatalf("over %v, broken by %d; heard %d and %d bytes, of %d and %d", over, j.BrokeOff(), len(heard[0]), len(heard[1]), len(said[0]), len(said[1]))
			}
			if j.MovedTo(ServerSide) != int64(len(said[0])) || j.MovedTo(ClientSide) != int64(len(said[1])) || j.Progress() != int64(len(said[0])+len(said[1])) {
				t.Errorf("%d and %d bytes are counted, want %d and %d", j.MovedTo(ServerSide), j.MovedTo(ClientSide), len(said[0]), len(said[1]))
			}
			if !j.CloseGracefully(true) || client.IsOpen() || server.IsOpen() {
				t.Error("a tunnel that has ended is not closed at once")
			}
		})
	}
	if fd.CanSplice && !piped {
		t.Error("no bytes went through a pipe")
	}
}

// The kernel moves the bytes after full reads in a row, until it has moved few of them too often.
func TestWhenATunnelSplices(t *testing.T) {
	for _, c := range []struct {
		score int
		much  bool
		want  int
	}{
		{0, true, 0}, {spliceAfter - 1, true, spliceAfter - 1}, {spliceAfter, true, spliceAfter + spliceDoubt}, {spliceAfter + 5, true, spliceAfter + spliceDoubt},
		{spliceAfter + spliceDoubt, false, spliceAfter + spliceDoubt - 1}, {spliceAfter + 1, false, spliceAfter}, {spliceAfter, false, 0}, {spliceAfter - 1, false, spliceAfter - 1},
	} {
		side := tunnelSide{spliceScore: c.score}
		if side.updateScore(c.much); side.spliceScore != c.want {
			t.Errorf("%d, much %v: %d, want %d", c.score, c.much, side.spliceScore, c.want)
		}
	}
	j, client, _ := tunnelOf(t, 1<<10)
	dst, src := &j.sides[ServerSide], &j.sides[ClientSide]
	for _, c := range []struct{ n, want int }{{1 << 10, 1}, {1, 0}, {1 << 10, 1}, {1 << 10, spliceAfter + spliceDoubt}} {
		if _, err := client.peer.Write(make([]byte, c.n)); err != nil {
			t.Fatal(err)
		}
		src.Readable = true
		if n, _, _ := dst.receive(src); n != int64(c.n) || dst.spliceScore != c.want {
			t.Errorf("%d bytes: score %d, want %d", n, dst.spliceScore, c.want)
		}
	}
}

// A side that takes nothing more breaks the tunnel, and the other is closed by a reset, if possible after it has what was sent to it.
func TestATunnelThatBreaks(t *testing.T) {
	for what, c := range map[string]struct {
		is      func(j *Tunnel, client, server *sayer)
		brokeBy int
	}{
		"the server is gone": {func(j *Tunnel, client, server *sayer) {
			server.peer.Close()
			_, _ = client.peer.Write([]byte("hello"))
		}, ServerSide},
		"the client is gone": {func(j *Tunnel, client, server *sayer) {
			client.peer.Close()
			_, _ = server.peer.Write([]byte("hello"))
		}, ClientSide},
		"what came before it is not taken": {func(j *Tunnel, client, server *sayer) {
			server.peer.Close()
			j.SendEarly(ServerSide, []byte("hello"))
		}, ServerSide},
		"it is aborted": {func(j *Tunnel, client, server *sayer) { j.Abort() }, ClientSide},
	} {
		j, client, server := tunnelOf(t, 1<<10)
		c.is(j, client, server)
		for range 3 {
			client.look()
			client.Readable, server.Readable = true, true
			j.Pump()
		}
		if got := j.BrokeOff(); got != c.brokeBy {
			t.Errorf("%s: broken by %d, want %d", what, got, c.brokeBy)
		}
		if j.CloseGracefully(false); client.IsOpen() || server.IsOpen() {
			t.Errorf("%s: open %v, %v", what, client.IsOpen(), server.IsOpen())
		}
	}
}

// After a break a peer has some time for what is on its way to it.
func TestATunnelWaitsForWhatIsOnItsWay(t *testing.T) {
	for _, reads := range []bool{false, true} {
		j, client, _ := tunnelOf(t, 1<<10)
		j.SendEarly(ClientSide, []byte("hello"))
		j.Abort()
		if j.MovedTo(ClientSide) != 5 {
			t.Errorf("%d bytes moved, want 5", j.MovedTo(ClientSide))
		}
		if !client.FD.Unacked() {
			t.Skip("this system does not tell")
		}
		tries := 0
		for waited := time.Duration(0); !j.CloseGracefully(true); waited += j.Pause {
			if tries++; j.Pause <= 0 || j.Pause > 50*time.Millisecond || waited > 2*maxCloseWait {
				t.Fatalf("pause of %v after %v", j.Pause, waited)
			}
			if reads && tries == 3 {
				client.hears(10)
			}
		}
		if reads && tries != 3 || !reads && j.paused < maxCloseWait {
			t.Errorf("reads %v: closed after %d tries and %v", reads, tries, j.paused)
		}
		if client.IsOpen() {
			t.Error("not closed")
		}
	}
}
