//go:build !evenkeel_portable

package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/resolve"
)

func listen(t *testing.T, network, at string) net.Listener {
	t.Helper()
	l, err := net.Listen(network, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// unusedAddress returns an address at which nothing listens.
func unusedAddress(t *testing.T) string {
	t.Helper()
	port, err := freeport.Take("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", port)
}

// What is dialed on the loop, what takes a goroutine, and what is refused.
func TestHowTargetsAreDialed(t *testing.T) {
	tcp := listen(t, "tcp", "127.0.0.1:0").Addr().String()
	own := listen(t, "tcp", "127.0.0.1:0")
	path := filepath.Join(t.TempDir(), "s")
	listen(t, "unix", path)
	const (
		onLoop = iota
		onGoroutine
		refused
	)
	for _, c := range []struct {
		name string
		to   Target
		want int
	}{
		{"an IP address", Target{Address: tcp}, onLoop},
		{"a unix socket", Target{Address: "unix:" + path}, onLoop},
		{"a name", Target{Address: "app.test:80"}, onGoroutine},
		{"a link-local address with a zone", Target{Address: "[fe80::1%lo]:80"}, onGoroutine},
		{"TLS", Target{Address: tcp, TLS: new(tls.Config), Name: "a"}, onGoroutine},
		{"a name that leads nowhere", Target{Address: balance.NowhereFor("app.test: no such host")}, refused},
		{"one of our own listeners", Target{Address: own.Addr().String()}, refused},
		{"a unix socket that is not there", Target{Address: "unix:" + path + "x"}, refused},
	} {
		p := newPool(t)
		p.dialer.Inside.AddOwn(own)
		b, err := p.Dial(c.to)
		got := onGoroutine
		switch {
		case err != nil && b != nil:
			t.Errorf("%s: a connection and %v", c.name, err)
		case err != nil:
			got = refused
		case b != nil:
			got = onLoop
		}
		if got != c.want {
			t.Errorf("%s: a connection %t, %v", c.name, b != nil, err)
		}
		if b != nil {
			if !b.Connecting || !b.IsServer || b.to != c.to {
				t.Errorf("%s: connecting %t, to a server %t, to %+v", c.name, b.Connecting, b.IsServer, b.to)
			}
			b.Drop()
		}
		if unresolved, ok := errors.AsType[*resolve.Unresolved](err); ok != strings.Contains(c.name, "nowhere") || ok && unresolved.Why != "app.test: no such host" {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// A connection is made once its socket can be written, and then only if nothing went wrong.
func TestWhenAConnectionIsMade(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	for at, want := range map[string]error{l.Addr().String(): nil, unusedAddress(t): syscall.ECONNREFUSED} {
		p := newPool(t)
		b, err := p.Dial(Target{Address: at})
		if err != nil {
			if errors.Is(err, want) {
				continue // the system has known at once
			}
			t.Fatal(err)
		}
		if ok, err := b.IsConnected(); ok || err != nil {
			t.Errorf("before its socket can be written: %t, %v; want not yet", ok, err)
		}
		b.User = stopper{p.loop}
		p.loop.Run() // until something is known
		ok, err := b.IsConnected()
		if ok != (want == nil) || !errors.Is(err, want) {
			t.Errorf("%t, %v; want %v", ok, err, want)
		}
		if ok, err = b.IsConnected(); want == nil && (!ok || err != nil) {
			t.Errorf("asked again: %t, %v", ok, err)
		}
		b.Drop()
	}
}

// stopper stops the loop when something comes.
type stopper struct{ l *eventloop.Loop }

func (s stopper) OnReady()  { s.l.Stop() }
func (stopper) TryAnother() {}

// dialed dials and runs the pool's loop until it has come out how.
func dialed(t *testing.T, p *Pool, to Target) (open bool, secure *eventloop.TLSConn, err error) {
	t.Helper()
	p.DialInBackground(context.Background(), to, func(descriptor *fd.FD, s *eventloop.TLSConn, failed error) {
		open, secure, err = descriptor.IsOpen(), s, failed
		p.loop.Stop()
	})
	p.loop.Run()
	return open, secure, err
}

// What a goroutine has dialed comes to the loop, or why there is none.
func TestDialInBackground(t *testing.T) {
	l := listen(t, "tcp", "127.0.0.1:0")
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	if open, secure, err := dialed(t, newPool(t), Target{Address: l.Addr().String()}); !open || secure != nil || err != nil {
		t.Errorf("open %t, TLS %t, %v; want a plain one", open, secure != nil, err)
	}
	if open, _, err := dialed(t, newPool(t), Target{Address: l.Addr().String(), TLS: &tls.Config{ServerName: "a", ClientSessionCache: tls.NewLRUClientSessionCache(1)}}); open || err == nil {
		t.Errorf("open %t, %v; want none where the peer speaks no TLS", open, err)
	}
	if open, _, err := dialed(t, newPool(t), Target{Address: unusedAddress(t)}); open || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("open %t, %v; want that it was refused", open, err)
	}
	p := newPool(t)
	p.loop.Stop()
	p.loop.Run()
	called := false
	p.DialInBackground(context.Background(), Target{Address: l.Addr().String()}, func(*fd.FD, *eventloop.TLSConn, error) { called = true })
	if p.dialer.Background.Wait(); called {
		t.Error("a loop that has ended got a connection")
	}
}

// What the edge's own machine lacks is no server's fault.
func TestWhatTheMachineLacks(t *testing.T) {
	for err, want := range map[error]bool{
		syscall.EMFILE: true, syscall.ENFILE: true, syscall.EADDRNOTAVAIL: true, syscall.ENOMEM: true, fmt.Errorf("dial: %w", syscall.EMFILE): true,
		syscall.ECONNREFUSED: false, syscall.ETIMEDOUT: false, errors.New("other"): false,
	} {
		if got := Exhausted(err); got != want {
			t.Errorf("%v: %t, want %t", err, got, want)
		}
	}
}
