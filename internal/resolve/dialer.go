package resolve

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Unresolved is the error of a connection to a server whose name leads nowhere.
type Unresolved struct{ Why string }

func (e *Unresolved) Error() string { return "the server's name leads nowhere: " + e.Why }

// Dialer connects to servers, wherever balance.Grant.At or the address itself says that they are. It is safe
// for concurrent use, and is not copied.
type Dialer struct {
	net.Dialer
	Names     *Follower               // looks names up that are to be looked up here; nil: the system does, each time
	Resolvers string                  // that Names is to ask, as a Query has them
	Refuse    func(path string) error // judges unix sockets; nil: all are taken

	mu     sync.Mutex
	worked map[string]string // of servers with addresses of two families, the one that could be reached last
}

const (
	headStart  = 250 * time.Millisecond // of the first family (RFC 8305 has it so)
	mostWorked = 1024
	busyPause  = 5 * time.Millisecond // a unix socket whose queue is full is tried again after it
)

// DialContext connects to a server. The network is TCP, unless at is a unix socket.
func (d *Dialer) DialContext(ctx context.Context, _, at string) (net.Conn, error) {
	if why, nowhere := balance.Nowhere(at); nowhere {
		return nil, &Unresolved{why}
	}
	if path, ok := balance.UnixPath(at); ok {
		return d.unix(ctx, path)
	}
	if first, second, two := strings.Cut(at, ","); two {
		return d.either(ctx, at, first, second)
	}
	if name, port, named := Host(at); named && d.Names != nil {
		return d.named(ctx, name, port, at)
	}
	conn, err := d.Dialer.DialContext(ctx, "tcp", at)
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		return nil, &Unresolved{dns.Error()}
	}
	return conn, err
}

// named connects to what a name leads to now.
func (d *Dialer) named(ctx context.Context, name, port, hostPort string) (net.Conn, error) {
	if d.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.Timeout)
		defer cancel()
	}
	known, err := d.Names.Await(ctx, Query{Name: name, Resolvers: d.Resolvers}, hostPort)
	if err != nil {
		return nil, &Unresolved{name + ": no answer of a resolver"}
	}
	place, ok := known.One()
	if !ok {
		why, _ := known.Problem()
		return nil, &Unresolved{why}
	}
	return d.DialContext(ctx, "tcp", place.At(port))
}

// either connects to the one of two addresses of a server that can be reached, the one that worked last
// or else the first if both can.
func (d *Dialer) either(ctx context.Context, both, first, second string) (net.Conn, error) {
	if d.last(both) == second {
		first, second = second, first
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		at   string
		conn net.Conn
		err  error
	}
	results := make(chan result, 2)
	dial := func(at string) {
		conn, err := d.Dialer.DialContext(ctx, "tcp", at)
		results <- result{at, conn, err}
	}
	go dial(first) // ends with ctx
	begun := 1
	later := time.NewTimer(headStart)
	defer later.Stop()
	var errs []error
	for {
		select {
		case <-later.C:
		case r := <-results:
			if r.err == nil {
				d.keep(both, r.at)
				if begun-len(errs) > 1 { // the other one is on its way
					cancel()
					if other := <-results; other.conn != nil {
						_ = other.conn.Close() // nothing was said
					}
				}
				return r.conn, nil
			}
			if errs = append(errs, r.err); len(errs) == 2 {
				return nil, errors.Join(errs...)
			}
		}
		if begun == 1 {
			begun = 2
			go dial(second) // ends with ctx
		}
	}
}

func (d *Dialer) last(both string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.worked[both]
}

func (d *Dialer) keep(both, worked string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.worked == nil || len(d.worked) >= mostWorked {
		d.worked = make(map[string]string)
	}
	d.worked[both] = worked
}

// unix connects to a unix socket. One whose queue is full says so at once instead of letting its
// clients wait, so it is tried again.
func (d *Dialer) unix(ctx context.Context, path string) (net.Conn, error) {
	if d.Refuse != nil {
		if err := d.Refuse(path); err != nil {
			return nil, err
		}
	}
	if d.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.Timeout)
		defer cancel()
	}
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
		if !errors.Is(err, syscall.EAGAIN) {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(busyPause):
		}
	}
}
