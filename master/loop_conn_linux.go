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

// seat is a connection that a loop serves. Unless said otherwise its fields are the loop's.
type seat struct {
	*stay
	loop *loop
	fd   fd.FD // set once, and moved by release, when neither the loop nor a writer uses it any more

	at         int32 // its place; guarded by mu, as what follows
	generation int32 // of the place

	seated   bool // has its place
	readable bool // until a call shows the opposite
	hup      bool // the peer has closed its side; there may be something left to read
	queued   bool // in again
	pinged   bool
	rest     []byte // of a frame that has not come whole
}

// readiness is what a seat is always watched for. Room to write is more only while it is
// wanted: a unix socket tells of it whenever its peer has read.
const readiness = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET

// begin registers the seat with its loop. What others write meanwhile may have found no
// room, so that is watched for, at first.
func (s *seat) begin() {
	l := s.loop
	if s.ctx.Err() != nil {
		s.part(context.Cause(s.ctx))
		return
	}
	s.desk = &l.desk
	s.mu.Lock()
	if n := len(l.vacant); n > 0 {
		s.at, l.vacant = l.vacant[n-1], l.vacant[:n-1]
	} else {
		s.at = int32(len(l.places))
		l.places = append(l.places, place{})
	}
	s.seated, s.generation = true, l.places[s.at].generation
	l.places[s.at].seat, l.places[s.at].heard = s, clock.Now()
	err := l.poller.Add(&s.fd, readiness|unix.EPOLLOUT, s.at, s.generation)
	s.mu.Unlock()
	if err != nil {
		s.part(fmt.Errorf("watching: %w", err))
	}
}

// watch changes what it is watched for. It wants mu held.
func (s *seat) watch(events uint32) error {
	return s.loop.poller.Modify(&s.fd, events, s.at, s.generation)
}

// await implements window.
func (s *seat) await() error {
	err := s.watch(readiness | unix.EPOLLOUT)
	if errors.Is(err, unix.ENOENT) {
		return nil // it has not begun yet, or has parted
	}
	return err
}

// ignoreRoom ends the watch for room to write, unless it is wanted again.
func (s *seat) ignoreRoom() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.full.Load() {
		_ = s.watch(readiness) // else it is told of what it does not care about
	}
}

// part gives the connection back, to a goroutine that ends it.
func (s *seat) part(why error) {
	l := s.loop
	if s.seated {
		s.seated = false
		s.mu.Lock()
		_ = l.poller.Remove(&s.fd)
		s.mu.Unlock()
		l.places[s.at] = place{generation: s.generation + 1}
		l.vacant = append(l.vacant, s.at)
	}
	l.taken.Add(-1)
	go s.end(nil, why)
}

// serve handles what has come, up to a buffer full of it. While a peer does not read it is
// not read from either.
func (s *seat) serve() {
	if !s.readable || s.full.Load() {
		return
	}
	in, shared := s.room()
	n, err := s.fd.Read(in[len(in):cap(in)])
	switch {
	case err == syscall.EAGAIN:
		s.readable = false
		return
	case err != nil:
		s.part(fmt.Errorf("reading: %w", os.NewSyscallError("read", err)))
		return
	case n == 0:
		s.part(fmt.Errorf("reading: %w", io.EOF))
		return
	}
	// A short read has emptied the socket: what comes later is another edge. Only the
	// peer's end may have been told already.
	s.readable = n == cap(in)-len(in) || s.hup
	now := clock.Now()
	s.heard.Store(int64(now))
	s.loop.places[s.at].heard = now
	s.pinged = false
	in = in[:len(in)+n]
	used, err := s.handle(now, in)
	if err != nil {
		s.part(err)
		return
	}
	if err := s.keeps(s.peers, len(in)-used); err != nil {
		s.part(err)
		return
	}
	s.keep(in, used, shared)
	if s.readable && !s.queued {
		s.queued = true
		s.loop.again = append(s.loop.again, s)
	}
}

// room returns what is kept of a frame, with room behind it for more: in the loop's
// buffer, or in one of its own if that is half of it already.
func (s *seat) room() (in []byte, shared bool) {
	if b := s.loop.shared; len(s.rest) <= len(b)/2 {
		return b[:copy(b, s.rest)], true
	}
	return room(s.rest, 0), false
}

// keep puts by what has come of the next frame.
func (s *seat) keep(in []byte, used int, shared bool) {
	rest := in[used:]
	switch {
	case len(rest) == 0 && (!shared || cap(s.rest) > smallRest):
		s.rest = nil
	case !shared:
		s.rest = rest
	default:
		s.rest = append(s.rest[:0], rest...)
	}
}

const smallRest = 512 // a larger buffer for it is not kept

// look is called a few times while a peer is quiet.
func (s *seat) look(quiet time.Duration) {
	now := s.loop.now
	switch {
	case s.full.Load():
		if s.stuck(now) {
			s.part(fmt.Errorf("writing: %w", os.ErrDeadlineExceeded))
		}
	case !s.pinged:
		s.pinged = true
		s.ping(now)
	case quiet > 2*s.limits.quiet:
		s.part(s.silent())
	}
}

// write implements window.
func (s *seat) write(p []byte) (n int, err error) {
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

// release implements window.
func (s *seat) release() net.Conn {
	nc, err := s.fd.Conn()
	if err != nil {
		return nil
	}
	return nc
}

// recall ends the connection. Any goroutine may call it.
func (s *seat) recall() {
	s.loop.post(func() {
		if s.seated {
			s.part(context.Cause(s.ctx))
		}
	})
}
