//go:build !evenkeel_portable

package edge

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/h2"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// idleLoop is a loop that does not run and allows its connections some time in an iteration.
func idleLoop(t *testing.T, most time.Duration) *loop {
	t.Helper()
	l, err := newLoop(&loopEngine{edge: &Edge{cfg: Config{maxTurn: most}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.shutdown)
	return l
}

// Frames of a server for which there is no time are handled in the next iteration, each once; a large frame
// counts for more than a small one.
func TestAServersFramesEndTheirTurnByTime(t *testing.T) {
	for _, c := range []struct {
		size  int
		turns int // for 320 frames
	}{{0, 320 / limits.TurnLook}, {h2.FrameMost, 320}} {
		l := idleLoop(t, -1) // over at the first look
		k := &h2ClientConn{state: h2ClientOpen}
		k.loop = l
		var text []byte
		for range 320 {
			text = append(text, byte(c.size>>16), byte(c.size>>8), byte(c.size), 0xfa, 0, 0, 0, 0, 0)
			text = append(text, make([]byte, c.size)...)
		}
		turns := 0
		for p := text; ; p = k.partial {
			turn := l.newTurn()
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

// A tunnel with much to move moves a part of it, and continues in the next iteration.
func TestATunnelsTurnEndsByTime(t *testing.T) {
	for most, want := range map[time.Duration]bool{-1: false, time.Hour: true} {
		l := idleLoop(t, most)
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
		l.readBuf = l.readBuf[:headSpace+1<<10] // so that it takes many reads
		var j tunnel
		j.start(&client.conn, &server.conn, sendBuffer{}, sendBuffer{})
		j.pump()
		moved := j.sides[serverSide].received
		if all := moved == sent; all != want || moved == 0 {
			t.Errorf("with %v: moved %d bytes of %d in one turn", most, moved, sent)
		}
		if waits := len(l.deferred) > 0; waits == want {
			t.Errorf("with %v: it is to go on: %v", most, waits)
		}
	}
}

// However short turns are, bodies pass whole, both ways.
func TestBodiesPassInTheShortestTurns(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for _, secure := range []bool{false, true} {
		for _, two := range []bool{false, true} {
			if two && !secure {
				continue // clients of HTTP/1.1 get nothing from servers of HTTP/2
			}
			t.Run(fmt.Sprintf("secure-%v/server-h2-%v", secure, two), func(t *testing.T) {
				p := newFakePicker()
				start := run
				if secure {
					start = runSecure
				}
				own := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					got, err := io.ReadAll(r.Body)
					if err != nil || !bytes.Equal(got, body) {
						http.Error(w, fmt.Sprintf("got %d bytes, %v", len(got), err), http.StatusBadRequest)
						return
					}
					_, _ = w.Write(body)
				}))
				if two {
					own.Config.Protocols = new(http.Protocols)
					own.Config.Protocols.SetUnencryptedHTTP2(true)
				}
				own.Start()
				t.Cleanup(own.Close)
				p.pick = among(granted("s1", own))
				r := start(t, p, func(c *Config) {
					c.maxTurn, c.Loops = time.Nanosecond, 1
					if two {
						c.Listeners[0].Routes[0].ServerProtocol = HTTP2
					}
				})
				scheme := map[bool]string{false: "http", true: "https"}[secure]
				if two {
					transport := r.client.Transport.(*http.Transport)
					transport.ForceAttemptHTTP2 = true
				}
				for range 2 {
					res, err := r.client.Post(scheme+"://"+r.address+"/", "", bytes.NewReader(body))
					if err != nil {
						t.Fatal(err)
					}
					got, err := io.ReadAll(res.Body)
					_ = res.Body.Close()
					if err != nil || res.StatusCode != 200 || !bytes.Equal(got, body) {
						t.Errorf("got %d, %d bytes, %v", res.StatusCode, len(got), err)
					}
				}
				p.wantResults(t, balance.OK, balance.OK)
			})
		}
	}
}

// What an HTTP/2 client sends behind the end of its connection is discarded, so that it can read what it was
// sent. After a protocol error nothing is read: a client that only writes cannot reconnect at once.
func TestAClientThatBrokeTheProtocolIsNotRead(t *testing.T) {
	for _, broken := range []bool{false, true} {
		l := idleLoop(t, time.Hour)
		own, peer, err := fd.Pair()
		if err != nil {
			t.Fatal(err)
		}
		k := &h2ServerConn{state: h2ServerLingering, broken: broken, recvWindow: connectionWindow, service: &listenerService{listener: new(boundListener)}}
		k.conn.owner, k.timer.owner = k, k
		if err := l.register(&k.conn, own, readiness); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			k.conn.close()
			peer.Close()
		})
		if n, err := peer.Send(make([]byte, 1000)); n != 1000 || err != nil {
			t.Fatal(n, err)
		}
		k.readable, k.endAt = true, l.now.Add(h2LingerTime)
		k.onReady()
		if n, err := k.fd.Receive(make([]byte, 2000)); (n == 1000) != broken {
			t.Errorf("broken %v: %d bytes are left unread, %v", broken, n, err)
		}
	}
}
