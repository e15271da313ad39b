//go:build !evenkeel_portable

package master

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// loopConn is a connection that a loop serves. Unless said otherwise its fields belong to the loop goroutine.
type loopConn struct {
	*connSession
	loop *loop
	fd   fd.FD // set once; moved by releaseFD when neither the loop nor a writer uses it any more

	index      int32 // of its registration; guarded by mu, like generation
	generation int32 // of the registration

	registered bool // has a registration
	readable   bool // until a read returns EAGAIN
	hup        bool // the peer has closed its side; there may be something left to read
	deferred   bool // is in loop.deferred
	pinged     bool
	partial    []byte // start of a frame whose end has not come
}

// readiness is what a connection is always registered for. EPOLLOUT is added only while it is needed: a unix
// socket reports it whenever its peer has read.
const readiness = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET

// register registers the connection with its loop. A write in the meantime may have found the socket full, so
// it is registered for EPOLLOUT at first.
func (s *loopConn) register() {
	l := s.loop
	if s.ctx.Err() != nil {
		s.detach(context.Cause(s.ctx))
		return
	}
	s.buffers = &l.buffers
	s.mu.Lock()
	if n := len(l.freeIndexes); n > 0 {
		s.index, l.freeIndexes = l.freeIndexes[n-1], l.freeIndexes[:n-1]
	} else {
		s.index = int32(len(l.registrations))
		l.registrations = append(l.registrations, registration{})
	}
	s.registered, s.generation = true, l.registrations[s.index].generation
	l.registrations[s.index].conn, l.registrations[s.index].lastReceived = s, clock.Now()
	err := l.poller.Add(&s.fd, readiness|unix.EPOLLOUT, s.index, s.generation)
	s.mu.Unlock()
	if err != nil {
		s.detach(fmt.Errorf("watching: %w", err))
	}
}

// setEventsLocked changes the events of the registration.
func (s *loopConn) setEventsLocked(events uint32) error {
	return s.loop.poller.Modify(&s.fd, events, s.index, s.generation)
}

// awaitWritableLocked implements loopWriter.
func (s *loopConn) awaitWritableLocked() error {
	err := s.setEventsLocked(readiness | unix.EPOLLOUT)
	if errors.Is(err, unix.ENOENT) {
		return nil // not registered yet, or no longer
	}
	return err
}

// stopAwaitingWritable drops EPOLLOUT, unless it is needed again.
func (s *loopConn) stopAwaitingWritable() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.full.Load() {
		_ = s.setEventsLocked(readiness) // on error it is only notified needlessly
	}
}

// detach leaves the loop; a goroutine ends the session.
func (s *loopConn) detach(why error) {
	l := s.loop
	if s.registered {
		s.registered = false
		s.mu.Lock()
		_ = l.poller.Remove(&s.fd)
		s.mu.Unlock()
		l.registrations[s.index] = registration{generation: s.generation + 1}
		l.freeIndexes = append(l.freeIndexes, s.index)
	}
	l.conns.Add(-1)
	go s.endSession(nil, why)
}

// readOnce handles one buffer of input. While a peer does not read, nothing is read from it.
func (s *loopConn) readOnce() {
	if !s.readable || s.full.Load() {
		return
	}
	in, shared := s.readBuffer()
	n, err := s.fd.Read(in[len(in):cap(in)])
	switch {
	case err == syscall.EAGAIN:
		s.readable = false
		return
	case err != nil:
		s.detach(fmt.Errorf("reading: %w", os.NewSyscallError("read", err)))
		return
	case n == 0:
		s.detach(fmt.Errorf("reading: %w", io.EOF))
		return
	}
	// A short read has emptied the socket: later bytes cause another event. Only the peer's end may have been
	// reported already.
	s.readable = n == cap(in)-len(in) || s.hup
	now := clock.Now()
	s.lastReceived.Store(int64(now))
	s.loop.registrations[s.index].lastReceived = now
	s.pinged = false
	in = in[:len(in)+n]
	used, err := s.handle(now, in)
	if err != nil {
		s.detach(err)
		return
	}
	if err := s.accountPartial(s.peers, len(in)-used); err != nil {
		s.detach(err)
		return
	}
	s.keepPartial(in, used, shared)
	if s.readable && !s.deferred {
		s.deferred = true
		s.loop.deferred = append(s.loop.deferred, s)
	}
}

// readBuffer returns the kept part of a frame, with space behind it: in the loop's buffer, or in one of the
// connection's own if the part fills half of that.
func (s *loopConn) readBuffer() (in []byte, shared bool) {
	if b := s.loop.readBuf; len(s.partial) <= len(b)/2 {
		return b[:copy(b, s.partial)], true
	}
	return growBuffer(s.partial, 0), false
}

// keepPartial keeps the start of the next frame.
func (s *loopConn) keepPartial(in []byte, used int, shared bool) {
	rest := in[used:]
	switch {
	case len(rest) == 0 && (!shared || cap(s.partial) > maxKeptRest):
		s.partial = nil
	case !shared:
		s.partial = rest
	default:
		s.partial = append(s.partial[:0], rest...)
	}
}

const maxKeptRest = 512 // a larger buffer is not kept

// checkIdle is called repeatedly while a peer is idle.
func (s *loopConn) checkIdle(quiet time.Duration) {
	now := s.loop.now
	switch {
	case s.full.Load():
		if s.writeOverdue(now) {
			s.detach(fmt.Errorf("writing: %w", os.ErrDeadlineExceeded))
		}
	case !s.pinged:
		s.pinged = true
		s.sendPing(now)
	case quiet > 2*s.limits.quiet:
		s.detach(s.silenceError())
	}
}

// tryWrite implements loopWriter.
func (s *loopConn) tryWrite(p []byte) (n int, err error) {
	for n < len(p) {
		m, err := s.fd.Write(p[n:])
		if err == syscall.EAGAIN {
			break
		}
		if err != nil {
			return n, os.NewSyscallError("write", err)
		}
		n += m
	}
	return n, nil
}

// releaseFD implements loopWriter.
func (s *loopConn) releaseFD() net.Conn {
	nc, err := s.fd.Conn()
	if err != nil {
		return nil
	}
	return nc
}

// postDetach ends the connection. Any goroutine may call it.
func (s *loopConn) postDetach() {
	s.loop.post(func() {
		if s.registered {
			s.detach(context.Cause(s.ctx))
		}
	})
}
