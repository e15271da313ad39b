package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/resolve"
)

const (
	// upstreamIdle is how long a connection to a server is kept without a request.
	// Many servers close theirs after 5 s; a request that meets the close on its way
	// is lost unless it can be sent again, so we close first.
	upstreamIdle = 4 * time.Second
	// idleMost is how many such connections are kept to one address.
	idleMost = 256
)

// upstream is a connection to a server. One exchange at a time owns it; in between it
// is the pool's.
type upstream struct {
	side
	home     *upstreams
	address  string
	socket   syscall.RawConn       // below TLS; nil: it cannot be looked at
	parked   balance.Instant       // when it was put back; zero: it was never used
	answered bool                  // the head of the response has come; guarded by the client connection's mu
	turnOnce func(fd uintptr) bool // turn, bound

	// Of the turn under way.
	begun    bool
	out, in  []byte
	wrote, n int
	err      error
}

// errStale says that a connection is of no use before anything was sent on it.
var errStale = errors.New("the server closed the connection, or spoke without being asked")

func newUpstream(conn net.Conn, address string) *upstream {
	u := &upstream{address: address}
	u.begin(conn)
	u.turnOnce = u.turn
	return u
}

// converse writes out and reads the first bytes that come back. The read is not
// tried before there is something to read: a read that finds nothing costs as much as
// one that does.
func (u *upstream) converse(out, in []byte) (wrote, n int, err error) {
	if u.raw == nil {
		if !u.fit(in) {
			return 0, 0, errStale
		}
		if wrote, err = u.Write(out); err == nil {
			n, err = u.Read(in)
		}
		return wrote, n, err
	}
	u.awaitRead()
	u.begun, u.out, u.in, u.wrote, u.n, u.err = false, out, in, 0, 0, nil
	err = u.raw.Read(u.turnOnce)
	u.out, u.in = nil, nil
	if u.err != nil {
		err = u.err
	}
	return u.wrote, u.n, err
}

// turn is called once before it is known whether there is something to read, and
// again when there is; it reports whether the conversation is over.
func (u *upstream) turn(fd uintptr) bool {
	if !u.begun {
		u.begun = true
		if !quiet(fd, u.in) {
			u.err = errStale
			return true
		}
		u.wrote, u.err = u.Write(u.out)
		return u.err != nil
	}
	n, err := readFD(fd, u.in)
	if err == syscall.EAGAIN {
		return false
	}
	u.n, u.err = n, err
	switch {
	case err != nil:
		u.n, u.err = 0, os.NewSyscallError("read", err)
	case n == 0:
		u.err = io.EOF
	}
	return true
}

// quiet reports whether a connection is open and has nothing to say. in is overwritten.
func quiet(fd uintptr, in []byte) bool {
	_, err := readFD(fd, in[:1])
	return err == syscall.EAGAIN
}

// fit reports whether a connection may be used, for those who do not converse.
func (u *upstream) fit(in []byte) bool {
	if u.raw == nil {
		return u.parked == 0 || u.silent(in)
	}
	ok := false
	err := u.raw.Control(func(fd uintptr) { ok = quiet(fd, in) })
	return err == nil && ok
}

// silent is quiet for TLS: nothing has come to the socket, nor was anything read from
// there ahead. in is overwritten.
func (u *upstream) silent(in []byte) bool {
	ok := u.socket == nil
	if !ok && u.socket.Control(func(fd uintptr) { ok = quiet(fd, in) }) != nil || !ok {
		return false
	}
	u.readUntil(past)
	_, err := u.Conn.Read(in)
	u.readUntil(noTime)
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// upstreams are the connections that are kept for the next request.
type upstreams struct {
	dialer *resolve.Dialer
	secure *tls.Config // nil: plain

	mu   sync.Mutex
	idle map[string][]*upstream // by address, the one used last at the end; never an empty list
}

func newUpstreams(dialer *resolve.Dialer, secure *tls.Config) *upstreams {
	return &upstreams{dialer: dialer, secure: secure, idle: make(map[string][]*upstream)}
}

// take returns the connection to an address that was used last, nil if none is kept.
func (p *upstreams) take(now balance.Instant, address string) *upstream {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[address]
	n := len(list) - 1
	if n < 0 || now.Sub(list[n].parked) > upstreamIdle {
		return nil
	}
	u := list[n]
	list[n] = nil
	p.idle[address] = list[:n]
	return u
}

func (p *upstreams) dial(ctx context.Context, address string) (*upstream, error) {
	if p.secure != nil {
		return p.dialSecure(ctx, address)
	}
	conn, err := p.dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	u := newUpstream(conn, address)
	u.home = p
	return u, nil
}

// dialSecure returns when the server has proved who it is.
func (p *upstreams) dialSecure(ctx context.Context, address string) (*upstream, error) {
	at, name := apart(address)
	ctx, cancel := context.WithTimeout(ctx, p.dialer.Timeout)
	defer cancel()
	plain, err := p.dialer.DialContext(ctx, "tcp", at)
	if err != nil {
		return nil, err
	}
	cfg := p.secure
	if cfg.ServerName == "" {
		cfg = cfg.Clone()
		cfg.ServerName = name
	}
	conn := tls.Client(plain, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = plain.Close() // nothing was said
		return nil, err
	}
	u := newUpstream(conn, address)
	u.home, u.socket = p, rawOf(plain)
	return u, nil
}

// put keeps a connection whose last response was read to its end, and nothing beyond.
func (p *upstreams) put(now balance.Instant, u *upstream) {
	u.parked = now
	p.mu.Lock()
	list := p.idle[u.address]
	full := len(list) >= idleMost
	if !full {
		p.idle[u.address] = append(list, u)
	}
	p.mu.Unlock()
	if full {
		_ = u.Close() // it has served
	}
}

// tend closes what nobody has used for too long.
func (p *upstreams) tend(now balance.Instant) {
	for _, u := range p.expired(now) {
		_ = u.Close() // it has served
	}
}

func (p *upstreams) expired(now balance.Instant) (old []*upstream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for address, list := range p.idle {
		n := 0
		for n < len(list) && now.Sub(list[n].parked) > upstreamIdle {
			n++
		}
		if old = append(old, list[:n]...); n == len(list) {
			delete(p.idle, address)
		} else if n > 0 {
			p.idle[address] = append(list[:0], list[n:]...)
		}
	}
	return old
}

// close closes all that are kept.
func (p *upstreams) close() { p.tend(clock.Now().Add(2 * upstreamIdle)) }

// exhausted reports whether the edge's own machine has run out of something. That says
// nothing about the server, and another one would not help.
func exhausted(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
