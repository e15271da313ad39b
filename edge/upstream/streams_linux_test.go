//go:build !evenkeel_portable

package upstream

import (
	"io"
	"net"
	"testing"

	"github.com/evenkeel-lb/evenkeel/h2"
)

// http2Server accepts connections, of which each takes so many streams at once, and answers no request.
func http2Server(t *testing.T, streams uint32) string {
	t.Helper()
	l := listen(t, "tcp", "127.0.0.1:0")
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serveHTTP2(conn, streams)
		}
	}()
	return l.Addr().String()
}

func serveHTTP2(conn net.Conn, streams uint32) {
	defer func() { _ = conn.Close() }()
	if _, err := io.ReadFull(conn, make([]byte, len(h2.Preface))); err != nil {
		return
	}
	_, _ = conn.Write(h2.AppendSettings(nil, h2.Chosen{Setting: h2.MaxConcurrentStreams, Value: streams}))
	_, _ = io.Copy(io.Discard, conn)
}

// caller has a stream, and says what becomes of it.
type caller struct {
	conn    *Conn
	then    func(c *caller)
	another bool // it was told to try another connection
}

func (c *caller) OnReady()    { c.then(c) }
func (c *caller) TryAnother() { c.another = true; c.then(c) }

func call(t *testing.T, p *Pool, to Target, then func(*caller)) *caller {
	t.Helper()
	b, err := p.OpenStream(to, ServerRef{"web", "a"}, false)
	if err != nil {
		t.Fatal(err)
	}
	c := &caller{conn: b, then: then}
	b.User = c
	if !b.Connecting || b.Stream == nil {
		t.Errorf("a new stream: connecting %t, a stream %t", b.Connecting, b.Stream != nil)
	}
	return c
}

// Streams share a connection as long as the server allows. Those that are beyond, once that is known, try another one, and later ones
// know from the start.
func TestStreamsShareConnections(t *testing.T) {
	p, to := newPool(t), Target{Address: http2Server(t, 2)}
	var callers []*caller
	ready, others := 0, 0
	then := func(c *caller) {
		switch ok, err := c.conn.IsConnected(); {
		case err != nil:
			t.Errorf("a stream: %v", err)
			p.loop.Stop()
		case c.another:
			others++
		case ok:
			ready++
		}
		if ready == 2 && others == 1 {
			p.loop.Stop()
		}
	}
	for range 3 {
		callers = append(callers, call(t, p, to, then))
	}
	list := p.h2Conns[to]
	if len(p.h2Conns) != 1 || len(list.conns) != 1 {
		t.Fatalf("three streams of a server that was not heard of are on %d connections, want 1", len(list.conns))
	}
	p.loop.Run()
	if ready != 2 || others != 1 || !callers[2].another {
		t.Errorf("%d streams were opened and %d told to try another connection, want 2 and the last", ready, others)
	}
	if list.limit != 2 {
		t.Errorf("the server is known to allow %d streams, want 2", list.limit)
	}
}

// A connection that has as many streams as it may is passed over, and the next one begins with what is known of the server.
func TestAFullConnectionIsPassedOver(t *testing.T) {
	p, to := newPool(t), Target{Address: http2Server(t, 1)}
	call(t, p, to, func(c *caller) {
		if ok, err := c.conn.IsConnected(); err != nil || !ok {
			t.Errorf("%t, %v", ok, err)
		}
		for n := 2; n <= 3; n++ {
			if call(t, p, to, func(*caller) {}); len(p.h2Conns[to].conns) != n {
				t.Errorf("%d streams are on %d connections to a server that allows one on each", n, len(p.h2Conns[to].conns))
			}
		}
		p.loop.Stop()
	})
	p.loop.Run()
	if len(p.h2Conns) != 0 {
		t.Errorf("connections to %d targets are left when the loop has stopped", len(p.h2Conns))
	}
}

// When a server has another address its connections to the earlier one open no more streams. Other servers' do.
func TestConnectionsToAnEarlierAddressDrain(t *testing.T) {
	p := newPool(t)
	old, now, others := Target{Address: http2Server(t, 9)}, Target{Address: http2Server(t, 9)}, Target{Address: http2Server(t, 9)}
	call(t, p, old, func(*caller) {})
	other, err := p.OpenStream(others, ServerRef{"web", "b"}, false)
	if err != nil {
		t.Fatal(err)
	}
	other.User = new(user)
	call(t, p, now, func(*caller) {})
	if p.h2Conns[old] != nil || p.h2Conns[now] == nil || p.h2Conns[others] == nil {
		t.Errorf("connections are kept to the earlier address: %t, to the new one: %t, to another server: %t; want only the last two", p.h2Conns[old] != nil, p.h2Conns[now] != nil, p.h2Conns[others] != nil)
	}
}

// A connection that cannot be begun is forgotten.
func TestAConnectionThatCannotBeBegunIsForgotten(t *testing.T) {
	p, own := newPool(t), listen(t, "tcp", "127.0.0.1:0")
	p.dialer.Inside.AddOwn(own)
	b, err := p.OpenStream(Target{Address: own.Addr().String()}, ServerRef{"web", "a"}, false)
	if b != nil || err == nil || len(p.h2Conns) != 0 {
		t.Errorf("a stream to one of our own listeners: %t, %v, %d targets kept", b != nil, err, len(p.h2Conns))
	}
}

// A stream that its user has dropped is used again for another.
func TestStreamsAreUsedAgain(t *testing.T) {
	p, to := newPool(t), Target{Address: http2Server(t, 9)}
	first := call(t, p, to, func(*caller) {})
	first.conn.Drop()
	if first.conn.User != nil || len(p.freeStreams) != 1 {
		t.Fatalf("a dropped stream has a user: %t, and %d are free", first.conn.User != nil, len(p.freeStreams))
	}
	if second := call(t, p, to, func(*caller) {}); second.conn != first.conn || len(p.freeStreams) != 0 {
		t.Error("a free stream was not used again")
	}
}
