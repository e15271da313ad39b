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

// Serve accepts edges and agents until ctx ends. Then it closes ln, tells all peers that the master is
// stopping, and returns nil when all connections have ended. It may serve several listeners at a time.
func (m *Master) Serve(ctx context.Context, ln net.Listener) error {
	ctx, stop := context.WithCancelCause(ctx)
	m.loops.startFirst(m)
	defer m.loops.stopLast()
	var conns sync.WaitGroup
	defer conns.Wait()
	defer stop(&wire.Fail{Code: wire.GoingAway, Detail: "this master is stopping"})
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })()
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			conns.Add(1)
			go m.serveConn(ctx, nc, conns.Done)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accepting on %s: %w", ln.Addr(), err)
		default: // out of file descriptors, or the client is gone already
			m.log.Warn("accept", "err", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
}

// connSession is a connection from its accept to its end, whether a goroutine or a loop reads it. It stores
// contexts because a loop enters it repeatedly.
type connSession struct {
	*conn
	ctx                context.Context // of the connection
	parent             context.Context // of the listener
	peer               peer            // nil until its Hello is accepted
	loops              *loopGroup      // the group that may take it over
	peers              *peers          // the set that it belongs to
	stop               func() bool     // cancels the AfterFunc on ctx
	unwatchCertificate func()          // stops watching the peer's certificate; nil: it has none
	forgetAddresses    func()          // forgets the peer's own addresses; nil: before its hello
	onEnd              func()          // called last
}

// serveConn accepts a peer and serves its connection until it ends or a loop takes it over. In either case
// over is called at the end.
func (m *Master) serveConn(parent context.Context, nc net.Conn, over func()) {
	ctx, drop := context.WithCancelCause(parent)
	c := &conn{Conn: nc, remote: remoteAddress(nc), limits: &m.limits, drop: drop, ended: make(chan struct{}), buffers: new(decodeBuffers), accepted: clock.Now()}
	if !m.peers.addNew(c.accepted, c) {
		m.rejectNew(nc)
		drop(nil)
		over()
		return
	}
	c.log = m.log.With("remote", c.remote)
	c.lastReceived.Store(int64(clock.Now()))
	s := &connSession{conn: c, ctx: ctx, parent: parent, loops: &m.loops, peers: &m.peers, onEnd: over}
	s.stop = context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })

	rest, last, err := m.admitPeer(s)
	if err == nil {
		err = s.readLoop(rest)
	}
	if err != errMoved {
		s.endSession(last, err)
	}
}

// admitPeer reads and judges the peer's Hello. It returns what came after it; or why the connection ends and,
// if the peer speaks HTTP, the answer in that.
func (m *Master) admitPeer(s *connSession) (rest, last []byte, err error) {
	hello, rest, err := m.identifyPeer(s.ctx, s.conn)
	m.peers.removeNew(s.conn)
	if done, ok := errors.AsType[*enrolled](err); ok {
		return nil, done.frame, err
	}
	if err != nil {
		m.refusals.Add(err)
		s.log.Warn("peer refused", "err", err)
		return nil, m.foreignReply(rest), err
	}
	if c := s.conn; c.identity != nil {
		s.unwatchCertificate = m.trust.Guard(c.identity, func(err error) {
			m.refusals.Add(err)
			c.drop(err)
		})
	}
	s.forgetAddresses = m.learnAddresses(s.conn, hello)
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

// endSession ends a connection, with a last frame if there is one to send. It waits for the peer's goroutines,
// and for the peer to read that frame.
func (s *connSession) endSession(last []byte, why error) {
	c := s.conn
	if s.unwatchCertificate != nil {
		s.unwatchCertificate()
	}
	if s.peer != nil {
		s.peer.onDisconnect(why)
	}
	if s.forgetAddresses != nil {
		s.forgetAddresses()
	}
	s.stop()
	s.drop(why)
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	if c.loopWriter == nil {
		_ = c.SetDeadline(time.Unix(1, 0))
	}
	c.writers.Wait()
	_ = c.accountPartial(nil, 0)
	if c.loopWriter != nil {
		c.Conn = c.loopWriter.releaseFD()
	}
	close(c.ended)
	if last == nil {
		last = closingFrame(why, s.parent)
	}
	if c.Conn != nil {
		if last != nil && (c.written == 0 || c.written == len(c.batch)) { // within a frame, no other can begin
			c.sendLast(last)
		}
		_ = c.Close()
	}
	s.onEnd()
}

// readHello reads the Hello. It returns a buffer with what came after it or, with an error, with all that
// came.
func (c *conn) readHello(ctx context.Context) (*wire.Hello, []byte, error) {
	_ = c.SetReadDeadline(time.Now().Add(c.limits.handshake))
	in := make([]byte, 0, smallBuffer)
	for {
		var hello wire.Hello
		_, size, fail := wire.Greet(in, &hello)
		if fail != nil {
			return nil, in, firstFrameError(in, fail)
		}
		if size > 0 {
			hello.ID, hello.Software = strings.Clone(hello.ID), strings.Clone(hello.Software)
			for i, at := range hello.Inside {
				hello.Inside[i] = strings.Clone(at)
			}
			return &hello, append(make([]byte, 0, smallBuffer), in[size:]...), nil
		}
		in = growBuffer(in, 0)
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

// welcome writes the answer to a Hello. It waits until it is written, so that no goroutine writes when a loop
// takes over.
func (m *Master) welcome(c *conn, hello *wire.Hello) {
	if c.append((&wire.Welcome{Version: min(hello.Max, wire.MaxVersion), Master: m.id, Epoch: m.epoch, Elected: m.elected, Inside: m.inside.Own(), Recalls: true, Ends: true, Overrides: true}).Append(nil)) {
		c.flush(clock.Now())
	}
}

// closingFrame returns the frame that tells the peer why the connection ends; nil: none is sent.
func closingFrame(err error, parent context.Context) []byte {
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
	errPeerFailed = errors.New("the peer ended the connection") // wraps the Fail that came from it
)

// foreignReply answers a peer that speaks another protocol on this port; nil: it gets no answer.
func (m *Master) foreignReply(first []byte) []byte {
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

// remoteAddress returns the peer's address for people; unix sockets have none.
func remoteAddress(nc net.Conn) string {
	if a := nc.RemoteAddr(); a != nil && a.String() != "" && a.String() != "@" {
		return a.String()
	}
	return "unix"
}
