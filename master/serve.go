package master

import (
	"context"
	"errors"
	"fmt"
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
	m.loops.enter(m)
	defer m.loops.leave()
	var conns sync.WaitGroup
	defer conns.Wait()
	defer stop(&wire.Fail{Code: wire.GoingAway, Detail: "this master is stopping"})
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			conns.Add(1)
			go m.serve(ctx, nc, conns.Done)
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

// stay is a connection from its accept to its end, whoever drives it. It keeps contexts
// because a loop calls for it again and again.
type stay struct {
	*conn
	ctx    context.Context // of the connection
	parent context.Context // of the listener
	peer   peer            // nil until it is greeted
	loops  *loops          // that may take it over
	peers  *peers          // that it is one of
	stop   func() bool     // ends the watch for the end of ctx
	leave  func()          // ends the watch over the peer's certificate; nil: it has none
	forget func()          // forgets what the peer told of its own addresses; nil: before its hello
	over   func()          // is called last
}

// serve greets a peer and drives its connection until that ends or a loop takes it over.
// over is called at the end in either case.
func (m *Master) serve(parent context.Context, nc net.Conn, over func()) {
	ctx, drop := context.WithCancelCause(parent)
	c := &conn{Conn: nc, remote: remote(nc), limits: &m.limits, drop: drop, ended: make(chan struct{}), desk: new(desk), accepted: clock.Now()}
	if !m.peers.enterNew(c.accepted, c) {
		m.turnAway(nc)
		drop(nil)
		over()
		return
	}
	c.log = m.log.With("remote", c.remote)
	c.heard.Store(int64(clock.Now()))
	s := &stay{conn: c, ctx: ctx, parent: parent, loops: &m.loops, peers: &m.peers, over: over}
	s.stop = context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })

	rest, last, err := m.attend(s)
	if err == nil {
		err = s.read(rest)
	}
	if err != errMoved {
		s.end(last, err)
	}
}

// attend greets the peer. It returns what came behind its Hello; or why the connection
// ends and, if the peer speaks another protocol, the answer in that.
func (m *Master) attend(s *stay) (rest, last []byte, err error) {
	hello, rest, err := m.meet(s.ctx, s.conn)
	m.peers.leaveNew(s.conn)
	if done, ok := errors.AsType[*enrolled](err); ok {
		return nil, done.frame, err
	}
	if err != nil {
		m.refusals.Add(err)
		s.log.Warn("peer is at fault", "err", err)
		return nil, m.foreign(rest), err
	}
	if c := s.conn; c.who != nil {
		s.leave = m.trust.Guard(c.who, func(err error) {
			m.refusals.Add(err)
			c.drop(err)
		})
	}
	s.forget = m.learn(s.conn, hello)
	if hello.Role == wire.RoleAgent {
		a, err := m.newAgent(s.conn, hello)
		if err != nil {
			return nil, nil, err
		}
		s.peer = a
		return rest, nil, nil
	}
	e, err := m.newEdge(s.conn, hello)
	if err != nil {
		return nil, nil, err
	}
	s.peer = e
	return rest, nil, nil
}

// end brings a stay to its end, with a last word if one is given or called for. It
// waits for all who work for the peer, and for the peer to have read that word.
func (s *stay) end(last []byte, why error) {
	c := s.conn
	if s.leave != nil {
		s.leave()
	}
	if s.peer != nil {
		s.peer.leave(why)
	}
	if s.forget != nil {
		s.forget()
	}
	s.stop()
	s.drop(why)
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	if c.window == nil {
		_ = c.SetDeadline(time.Unix(1, 0))
	}
	c.writers.Wait()
	_ = c.keeps(nil, 0)
	if c.window != nil {
		c.Conn = c.window.release()
	}
	close(c.ended)
	if last == nil {
		last = lastWords(why, s.parent)
	}
	if c.Conn != nil {
		if last != nil && (c.gone == 0 || c.gone == len(c.going)) { // within a frame, no other can begin
			c.farewell(last)
		}
		_ = c.Close()
	}
	s.over()
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
			for i, at := range hello.Inside {
				hello.Inside[i] = strings.Clone(at)
			}
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

// welcome writes the answer to a Hello. It waits for that, so that nobody writes when a loop takes over.
func (m *Master) welcome(c *conn, hello *wire.Hello) {
	if c.append((&wire.Welcome{Version: min(hello.Max, wire.MaxVersion), Master: m.id, Epoch: m.epoch, Elected: m.elected, Inside: m.inside.Own()}).Append(nil)) {
		c.flush(clock.Now())
	}
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
