package upstream

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/h2conn"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
	"github.com/evenkeel-lb/evenkeel/internal/inside"
	"github.com/evenkeel-lb/evenkeel/internal/resolve"
)

// Dialer makes connections to servers. All loops share it.
type Dialer struct {
	Net        *resolve.Dialer // looks names up, and makes connections that take a goroutine
	Timeout    time.Duration
	TCP        fd.TCPOptions
	Inside     *inside.Set // where our own components listen, which no server does; nil: unknown
	Log        *slog.Logger
	H2         h2conn.ClientConfig
	Background sync.WaitGroup // goroutines that dial
}

// Dial begins a connection; OnReady is called when it is made or has failed. nil and no error: it takes a
// goroutine, as for a name or TLS.
func (p *Pool) Dial(to Target) (*Conn, error) {
	if to.TLS != nil {
		return nil, nil
	}
	descriptor, err := p.dialer.connect(to.Address)
	if err != nil || !descriptor.IsOpen() {
		return nil, err
	}
	b, err := p.Add(&descriptor, nil, to)
	if b != nil {
		b.Connecting = true
	}
	return b, err
}

// connect begins a connection. A closed descriptor and no error: it takes a goroutine, as for a name.
func (d *Dialer) connect(address string) (fd.FD, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil || at.Addr().Zone() != "" {
		return d.connectByName(address)
	}
	if err := d.Inside.Refuse(at); err != nil {
		return fd.FD{}, err
	}
	return fd.Connect(at, &d.TCP)
}

// connectByName begins a connection to an address that is not an IP address. A closed descriptor and no error:
// it takes a goroutine.
func (d *Dialer) connectByName(at string) (fd.FD, error) {
	if why, nowhere := balance.Nowhere(at); nowhere {
		return fd.FD{}, &resolve.Unresolved{Why: why}
	}
	path, ok := balance.UnixPath(at)
	if !ok {
		return fd.FD{}, nil // a name, or addresses of both families
	}
	if err := d.Inside.RefuseSocket(path); err != nil {
		return fd.FD{}, err
	}
	descriptor, err := fd.ConnectUnix(path)
	if err == syscall.EAGAIN {
		return fd.FD{}, nil // the server's queue is full, so a goroutine waits
	}
	return descriptor.Move(), err
}

// DialInBackground makes a connection on a goroutine, because a name has to be resolved or a handshake made.
// then runs on the loop; it moves the descriptor or has it closed.
func (p *Pool) DialInBackground(ctx context.Context, to Target, then func(descriptor *fd.FD, secure *eventloop.TLSConn, err error)) {
	ctx, cancel := context.WithTimeout(ctx, p.dialer.Timeout)
	p.dialer.Background.Go(func() {
		defer cancel()
		descriptor, secure, err := p.dialer.dialBlocking(ctx, &to)
		if !p.loop.Call(func() { then(&descriptor, secure, err); descriptor.Close() }) {
			descriptor.Close()
		}
	})
}

// dialBlocking makes a connection, with a TLS handshake if the target has TLS.
func (d *Dialer) dialBlocking(ctx context.Context, key *Target) (descriptor fd.FD, secure *eventloop.TLSConn, err error) {
	conn, err := d.Net.DialContext(ctx, "tcp", key.Address)
	if err != nil {
		return fd.FD{}, nil, err
	}
	if key.TLS != nil {
		if secure, err = handshake(ctx, conn, key); err != nil {
			_ = conn.Close() // nothing was sent
			return fd.FD{}, nil, err
		}
	}
	descriptor, err = fd.Take(conn)
	return descriptor.Move(), secure, err
}

// Exhausted reports whether the edge's own machine has run out of a resource. That says nothing about the
// server, and another one would not help.
func Exhausted(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
