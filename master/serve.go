package master

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// Serve accepts edges and agents until ctx ends; then it closes ln, tells everybody
// that the master is going away, and returns nil when all connections have ended.
// It may serve several listeners at a time.
func (m *Master) Serve(ctx context.Context, ln net.Listener) error {
	ctx, stop := context.WithCancelCause(ctx)
	var conns sync.WaitGroup
	defer conns.Wait()
	defer stop(&wire.Fail{Code: wire.GoingAway, Detail: "this master is stopping"})
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			conns.Go(func() { m.serve(ctx, nc) })
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accepting on %s: %w", ln.Addr(), err)
		default: // out of file descriptors, or the client was gone already
			m.log.Warn("accept", "err", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
}

// serve drives one connection from its accept to its end.
func (m *Master) serve(parent context.Context, nc net.Conn) {
	ctx, drop := context.WithCancelCause(parent)
	c := &conn{Conn: nc, limits: &m.limits, drop: drop, ended: make(chan struct{}),
		log: m.log.With("remote", remote(nc))}
	c.heard.Store(int64(clock.Now()))
	defer func() { _ = nc.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })

	last, err := m.attend(ctx, c)
	stop()
	drop(err)
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	_ = nc.SetDeadline(time.Unix(1, 0))
	c.writers.Wait()
	close(c.ended)
	if last == nil {
		last = lastWords(err, parent)
	}
	if last != nil {
		c.farewell(last)
	}
}

// attend greets the peer and serves it in its role. It returns why the connection
// ends and, if the peer speaks another protocol, the answer in that.
func (m *Master) attend(ctx context.Context, c *conn) (last []byte, err error) {
	m.peers.enter(roleNew)
	hello, rest, err := m.meet(ctx, c)
	m.peers.leave(roleNew)
	if err != nil {
		m.refusals.Add(err)
		m.strangers.refuse(m.log, fmt.Errorf("%s: %w", remote(c), err))
		return m.foreign(rest), err
	}
	if hello.Role == wire.RoleAgent {
		return nil, m.serveAgent(ctx, c, hello, rest)
	}
	return nil, m.serveEdge(ctx, c, hello, rest)
}

// strangers are the faults of all who come without a proper hello: scanners and
// health checks connect anew each time, and must not fill the log.
type strangers struct {
	mu sync.Mutex
	faults
}

func (s *strangers) refuse(log *slog.Logger, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(err)
	s.tell(log, clock.Now())
}

// greet reads the Hello. It returns a buffer with what came behind it or, with an
// error, with all that came.
func (c *conn) greet(ctx context.Context) (*wire.Hello, []byte, error) {
	_ = c.SetReadDeadline(time.Now().Add(c.limits.handshake))
	in := make([]byte, 0, smallBuffer)
	for {
		var hello wire.Hello
		_, size, fail := wire.Greet(in, &hello)
		if fail != nil {
			return nil, in, misled(in, fail)
		}
		if size > 0 {
			hello.ID, hello.Software = strings.Clone(hello.ID), strings.Clone(hello.Software)
			return &hello, append(make([]byte, 0, smallBuffer), in[size:]...), nil
		}
		in = room(in, 0)
		if ctx.Err() != nil {
			return nil, in, context.Cause(ctx)
		}
		n, err := c.Read(in[len(in):cap(in)])
		in = in[:len(in)+n]
		switch {
		case n > 0:
		case ctx.Err() != nil:
			return nil, in, context.Cause(ctx)
		case isTimeout(err):
			return nil, in, &wire.Fail{Code: wire.BadFrame, Detail: fmt.Sprintf("no hello within %v", c.limits.handshake)}
		case err != nil:
			return nil, in, fmt.Errorf("before a hello: %w", err)
		}
	}
}

func (m *Master) welcome(c *conn, version uint32) {
	c.send((&wire.Welcome{Version: version, Master: m.id, Epoch: m.epoch, Elected: m.elected}).Append(nil))
}

// lastWords is the frame that tells the peer why, or nil if it is not to be told.
func lastWords(err error, parent context.Context) []byte {
	var fail *wire.Fail
	if !errors.As(err, &fail) && parent.Err() != nil {
		errors.As(context.Cause(parent), &fail)
	}
	if parent.Err() != nil && fail == nil {
		fail = &wire.Fail{Code: wire.GoingAway, Detail: "this master is stopping"}
	}
	if r, ok := errors.AsType[*trust.Refusal](err); ok {
		fail = &wire.Fail{Code: wire.Forbidden, Detail: r.Detail}
	}
	if fail == nil || errors.Is(err, errGoodbye) || errors.Is(err, errPeerFailed) {
		return nil
	}
	return fail.Append(nil)
}

var (
	errGoodbye    = errors.New("goodbye")
	errPeerFailed = errors.New("the peer gave up") // wraps the Fail that came from it
)

// foreign answers those who took this port for another.
func (m *Master) foreign(first []byte) []byte {
	if name := wire.Foreign(first); !strings.HasPrefix(name, "HTTP") {
		return nil
	}
	text := "This port speaks Evenkeel's own protocol, to edges and agents.\n"
	if m.admin != "" {
		text += "The HTTP API is at http://" + m.admin + "/\n"
	} else {
		text += "The HTTP API has a port of its own: the admin address of this master.\n"
	}
	return fmt.Appendf(nil, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(text), text)
}

// remote is the peer's address for people; unix sockets have none.
func remote(nc net.Conn) string {
	if a := nc.RemoteAddr(); a != nil && a.String() != "" && a.String() != "@" {
		return a.String()
	}
	return "unix"
}
