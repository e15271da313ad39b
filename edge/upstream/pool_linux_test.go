//go:build !evenkeel_portable

package upstream

import (
	"crypto/tls"
	"log/slog"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/h2conn"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
	"github.com/evenkeel-lb/evenkeel/internal/inside"
	"github.com/evenkeel-lb/evenkeel/internal/resolve"
)

// loopOf is what a pool works for: a loop that the test runs by hand, or has run.
type loopOf struct{ p *Pool }

func (l loopOf) EndTurn()  { l.p.h2.Flush() }
func (l loopOf) CloseAll() { l.p.Close() }

// newPool is a pool of a loop that does not run.
func newPool(t *testing.T) *Pool {
	t.Helper()
	p, l := new(Pool), new(eventloop.Loop)
	if err := l.Init(eventloop.Config{ReadSize: 64 << 10}, loopOf{p}); err != nil {
		t.Fatal(err)
	}
	p.Init(l, &h2conn.Shared{Loop: l}, &Dialer{Net: new(resolve.Dialer), Timeout: time.Minute, Inside: new(inside.Set), Log: slog.New(slog.DiscardHandler),
		H2: h2conn.ClientConfig{ConnectTimeout: time.Minute, IdleTimeout: time.Minute}})
	t.Cleanup(func() {
		l.Shutdown()
		p.dialer.Background.Wait()
	})
	return p
}

// user has a connection.
type user struct{ ready, another int }

func (u *user) OnReady()    { u.ready++ }
func (u *user) TryAnother() { u.another++ }

// connect makes a connection of the pool to a target, as if it had been dialed, and returns its peer.
func connect(t *testing.T, p *Pool, to Target) (*Conn, *fd.FD) {
	t.Helper()
	own, peer, err := fd.Pair()
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.Add(own, nil, to)
	if err != nil {
		t.Fatal(err)
	}
	b.User, b.Writable = new(user), true
	t.Cleanup(func() {
		b.Drop()
		peer.Close()
	})
	return b, peer
}

func send(t *testing.T, peer *fd.FD, p string) {
	t.Helper()
	if n, err := peer.Send([]byte(p)); n != len(p) || err != nil {
		t.Fatal(n, err)
	}
}

// The connection that was used last is used next: the others may grow old.
func TestTheConnectionUsedLastIsTakenFirst(t *testing.T) {
	p, to := newPool(t), Target{Address: "192.0.2.1:80"}
	if p.Get(to) != nil {
		t.Fatal("a connection of an empty pool")
	}
	a, _ := connect(t, p, to)
	b, _ := connect(t, p, to)
	if a.WasReused() {
		t.Error("a new connection was reused")
	}
	p.Put(a)
	p.Put(b)
	if a.User != nil || !a.WasReused() || a.Due == 0 {
		t.Errorf("a kept connection has a user: %t, was reused: %t, is watched until %v", a.User != nil, a.WasReused(), a.Due)
	}
	if got := p.Get(to); got != b || b.Due != 0 {
		t.Errorf("got another than the last, or its time goes on: %v", b.Due)
	}
	if got := p.Get(to); got != a {
		t.Error("got another than the first")
	}
	if p.Get(to) != nil {
		t.Error("a connection was given twice")
	}
}

// Requests share a connection only if all of their target is equal.
func TestTargetsShareNothing(t *testing.T) {
	p, one, other := newPool(t), new(tls.Config), new(tls.Config)
	targets := []Target{
		{Address: "192.0.2.1:80"}, {Address: "192.0.2.2:80"}, {Address: "192.0.2.1:80", TLS: one, Name: "a.test"},
		{Address: "192.0.2.1:80", TLS: other, Name: "a.test"}, {Address: "192.0.2.1:80", TLS: one, Name: "b.test"},
	}
	conns := make([]*Conn, len(targets))
	for i, to := range targets {
		conns[i], _ = connect(t, p, to)
		p.Put(conns[i])
	}
	for i, to := range targets {
		if got := p.Get(to); got != conns[i] {
			t.Errorf("%s by TLS %t for %q: got another's connection, or none", to.Address, to.TLS != nil, to.Name)
		}
		if p.Get(to) != nil {
			t.Errorf("%s: got another's connection", to.Address)
		}
	}
}

// What is not as it was is not kept.
func TestWhatIsNotKept(t *testing.T) {
	to := Target{Address: "192.0.2.1:80"}
	for _, c := range []struct {
		name string
		with func(*Conn, *fd.FD)
		kept bool
	}{
		{"as it should be", func(*Conn, *fd.FD) {}, true},
		{"the last read was full, and nothing is left", func(b *Conn, _ *fd.FD) { b.Readable = true }, true},
		{"something came behind the response", func(b *Conn, peer *fd.FD) { send(t, peer, "x"); b.Readable = true }, false},
		{"the server has closed it", func(b *Conn, peer *fd.FD) { peer.Close(); b.Readable = true }, false},
		{"its end was reported", func(b *Conn, _ *fd.FD) { b.PeerClosed = true }, false},
	} {
		p := newPool(t)
		b, peer := connect(t, p, to)
		c.with(b, peer)
		p.Put(b)
		if got := p.Get(to); (got == b) != c.kept || b.IsOpen() != c.kept {
			t.Errorf("%s: kept %t, open %t; want %t", c.name, got == b, b.IsOpen(), c.kept)
		}
	}
}

// A pool keeps so many connections to one address, and closes what is beyond.
func TestIdleConnectionsAreBounded(t *testing.T) {
	p, to := newPool(t), Target{Address: "192.0.2.1:80"}
	var last *Conn
	for range MaxIdleConns + 1 {
		last, _ = connect(t, p, to)
		p.Put(last)
	}
	if n := len(p.plain[to.Address].conns); n != MaxIdleConns || last.IsOpen() {
		t.Errorf("%d are kept, and the last is open: %t; want %d and closed", n, last.IsOpen(), MaxIdleConns)
	}
	other, _ := connect(t, p, Target{Address: "192.0.2.2:80"})
	if p.Put(other); !other.IsOpen() {
		t.Error("one to another address was closed")
	}
}

// A kept connection is closed when something comes on it, and when it was idle for too long. One that is used is left to its user.
func TestKeptConnectionsAreWatched(t *testing.T) {
	to := Target{Address: "192.0.2.1:80"}
	for _, c := range []struct {
		name string
		what func(p *Pool, b *Conn)
		used bool // meanwhile
		open bool
	}{
		{"unasked bytes", func(_ *Pool, b *Conn) { b.Readable = true; b.OnReady() }, false, false},
		{"it can be written", func(_ *Pool, b *Conn) { b.OnReady() }, false, true},
		{"idle for too long", func(_ *Pool, b *Conn) { b.OnTimer() }, false, false},
		{"bytes for its user", func(_ *Pool, b *Conn) { b.Readable = true; b.OnReady() }, true, true},
		{"its time is over when it is used", func(_ *Pool, b *Conn) { b.OnTimer() }, true, true},
	} {
		p := newPool(t)
		b, _ := connect(t, p, to)
		p.Put(b)
		u := new(user)
		if c.used {
			p.Get(to).User = u
		}
		c.what(p, b)
		if b.IsOpen() != c.open {
			t.Errorf("%s: open %t, want %t", c.name, b.IsOpen(), c.open)
		}
		if got := p.Get(to); !c.used && (got == b) != c.open {
			t.Errorf("%s: kept %t, want %t", c.name, got == b, c.open)
		}
		if want := c.name == "bytes for its user"; (u.ready > 0) != want {
			t.Errorf("%s: its user was called %d times", c.name, u.ready)
		}
	}
}

// A list goes with its last connection, and a connection that belonged to it is kept in the next one.
func TestListsGoWithTheirLastConnection(t *testing.T) {
	for _, secure := range []*tls.Config{nil, new(tls.Config)} {
		p, to := newPool(t), Target{Address: "192.0.2.1:80", TLS: secure}
		a, _ := connect(t, p, to)
		b, _ := connect(t, p, to)
		p.Put(a)
		p.Put(b)
		if p.Get(to) != b { // so that only a is kept
			t.Fatal("got another than the last")
		}
		a.OnTimer()
		if len(p.plain)+len(p.byTLS) != 0 {
			t.Errorf("%d lists are left of no connection", len(p.plain)+len(p.byTLS))
		}
		p.Put(b)
		if p.Get(to) != b {
			t.Error("a connection that was kept in a list that has gone is lost")
		}
	}
}

// A request that cannot be repeated takes only a connection of which is known that nothing has come.
func TestWhichConnectionsFit(t *testing.T) {
	p := newPool(t)
	b, peer := connect(t, p, Target{Address: "192.0.2.1:80"})
	p.Put(b)
	if !b.Fit(true) || !b.Fit(false) {
		t.Error("a connection on which nothing came does not fit")
	}
	send(t, peer, "x")
	if !b.Fit(true) || b.Fit(false) {
		t.Errorf("a connection on which something came, of which is not known yet: fits what can be repeated %t, and any %t; want the first only", b.Fit(true), b.Fit(false))
	}
}

// Connections that are kept are closed with the pool.
func TestCloseClosesWhatIsKept(t *testing.T) {
	p := newPool(t)
	plain, _ := connect(t, p, Target{Address: "192.0.2.1:80"})
	secure, _ := connect(t, p, Target{Address: "192.0.2.1:443", TLS: new(tls.Config)})
	p.Put(plain)
	p.Put(secure)
	if p.Close(); plain.IsOpen() || secure.IsOpen() {
		t.Errorf("open are the plain one: %t, and that by TLS: %t", plain.IsOpen(), secure.IsOpen())
	}
}

// All of a body may be read from the client that the connection takes.
func TestWhatAPlainConnectionTakes(t *testing.T) {
	p := newPool(t)
	b, _ := connect(t, p, Target{Address: "192.0.2.1:80"})
	if n := b.UploadLimit(12345); n != 12345 || b.EndedEarly() {
		t.Errorf("takes %d bytes of 12345, has ended early %t", n, b.EndedEarly())
	}
}
