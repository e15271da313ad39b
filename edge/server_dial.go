package edge

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

// serverDialer makes connections to servers. All loops share it.
type serverDialer struct {
	net        *resolve.Dialer // for what takes a goroutine
	timeout    time.Duration
	tcp        fd.TCPOptions
	inside     *inside.Set // where our own components listen, which no server does; nil: unknown
	log        *slog.Logger
	h2         h2conn.ClientConfig
	background sync.WaitGroup // goroutines that dial
}

// dial begins a connection; OnReady is called when it is made or has failed. nil and no error: it takes a
// goroutine, as for a name or TLS.
func (p *serverPool) dial(to target) (*serverConn, error) {
	if to.tls != nil {
		return nil, nil
	}
	descriptor, err := p.dialer.connect(to.address)
	if err != nil || !descriptor.IsOpen() {
		return nil, err
	}
	b, err := p.add(&descriptor, nil, to)
	if b != nil {
		b.connecting = true
	}
	return b, err
}

// connect begins a connection. A closed descriptor and no error: it takes a goroutine, as for a name.
func (d *serverDialer) connect(address string) (fd.FD, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil || at.Addr().Zone() != "" {
		return d.connectByName(address)
	}
	if err := d.inside.Refuse(at); err != nil {
		return fd.FD{}, err
	}
	return fd.Connect(at, &d.tcp)
}

// connectByName begins a connection to an address that is not an IP address. A closed descriptor and no error:
// it takes a goroutine.
func (d *serverDialer) connectByName(at string) (fd.FD, error) {
	if why, nowhere := balance.Nowhere(at); nowhere {
		return fd.FD{}, &resolve.Unresolved{Why: why}
	}
	path, ok := balance.UnixPath(at)
	if !ok {
		return fd.FD{}, nil // a name, or addresses of both families
	}
	if err := d.inside.RefuseSocket(path); err != nil {
		return fd.FD{}, err
	}
	descriptor, err := fd.ConnectUnix(path)
	if err == syscall.EAGAIN {
		return fd.FD{}, nil // the server's queue is full, so a goroutine waits
	}
	return descriptor.Move(), err
}

// dialInBackground makes a connection on a goroutine, because a name has to be resolved or a handshake made.
// then runs on the loop; it moves the descriptor or has it closed.
func (p *serverPool) dialInBackground(ctx context.Context, to target, then func(descriptor *fd.FD, secure *eventloop.TLSConn, err error)) {
	ctx, cancel := context.WithTimeout(ctx, p.dialer.timeout)
	p.dialer.background.Go(func() {
		defer cancel()
		descriptor, secure, err := p.dialer.dialBlocking(ctx, &to)
		if !p.loop.Call(func() { then(&descriptor, secure, err); descriptor.Close() }) {
			descriptor.Close()
		}
	})
}

// dialBlocking makes a connection, with a TLS handshake if the target has TLS.
func (d *serverDialer) dialBlocking(ctx context.Context, key *target) (descriptor fd.FD, secure *eventloop.TLSConn, err error) {
	conn, err := d.net.DialContext(ctx, "tcp", key.address)
	if err != nil {
		return fd.FD{}, nil, err
	}
	if key.tls != nil {
		if secure, err = handshake(ctx, conn, key); err != nil {
			_ = conn.Close() // nothing was sent
			return fd.FD{}, nil, err
		}
	}
	descriptor, err = fd.Take(conn)
	return descriptor.Move(), secure, err
}

// exhausted reports whether the edge's own machine has run out of a resource. That says nothing about the
// server, and another one would not help.
func exhausted(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
