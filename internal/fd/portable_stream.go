//go:build !linux || evenkeel_portable

package fd

import (
	"context"
	"io"
	"net"
	"syscall"
	"time"
)

const (
	aheadMost  = 64 << 10 // bytes that are read and not yet taken; then the reader waits
	sendMost   = 64 << 10 // bytes that are accepted and not yet written; then Send returns EAGAIN
	readLeast  = 2 << 10  // bytes of the first read
	readMost   = 32 << 10
	closeWait  = time.Minute           // for which a peer may be slow to take what is left at Close
	resetWait  = 50 * time.Millisecond // the same before a reset
	brokenLook = 20 * time.Millisecond // how often it is looked whether a connection that is not being read is broken
)

// stream is a connection. One goroutine reads ahead, one writes behind, both until it is closed.
type stream struct {
	watched
	running bool // a Poller has watched it; the owner's

	// Guarded by the mutex of watched.
	conn      net.Conn      // nil: it is being made
	dial      *dial         // by which it is made; nil: it was there
	failed    error         // why it could not be made
	in        []byte        // in[taken:] is read and not yet taken
	taken     int           // bytes
	readErr   error         // behind in: io.EOF, or why there is no more
	out       []byte        // to be written
	spare     []byte        // takes turns with out
	writing   int           // bytes that are being written
	full      bool          // Send has found no room
	writeErr  error         // why nothing more goes
	shut      bool          // nothing more will be sent
	shutDone  bool          // and the peer has been told
	resets    bool          // Close breaks it off
	closed    bool          // by the owner
	gone      bool          // and conn is closed, too
	lingering *Poller       // whose Close waits for what is left to go; nil: none
	toReader  chan struct{} // capacity 1: look again
	toWriter  chan struct{} // likewise
}

func newStream(conn net.Conn) *stream {
	return &stream{conn: conn, toReader: make(chan struct{}, 1), toWriter: make(chan struct{}, 1)}
}

// state implements endpoint.
func (s *stream) state() (events uint32) {
	switch {
	case s.failed != nil:
		return Readable | Writable | PeerClosed | HungUp | Failed
	case s.conn == nil:
		return 0
	}
	if s.taken < len(s.in) || s.readErr != nil {
		events |= Readable
	}
	if len(s.out)+s.writing < sendMost || s.writeErr != nil {
		events |= Writable
	}
	if s.readErr != nil {
		events |= PeerClosed
	}
	if s.readErr == io.EOF && s.shutDone {
		events |= HungUp
	}
	if s.writeErr != nil || s.readErr != nil && s.readErr != io.EOF {
		events |= Readable | Writable | PeerClosed | HungUp | Failed
	}
	return events
}

// start implements endpoint.
func (s *stream) start(p *Poller) {
	if s.running {
		return
	}
	s.running = true
	p.running.Go(func() {
		if s.connect() {
			p.running.Go(s.write)
			s.read()
		}
	})
}

// stop implements endpoint.
func (*stream) stop() {}

// connect reports whether there is a connection.
func (s *stream) connect() bool {
	if s.dial == nil {
		return true
	}
	conn, err := s.dial.do()
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.tell()
	switch {
	case err != nil:
		s.failed = err
		s.readErr, s.writeErr = errnoOf(err), errnoOf(err)
	case s.closed:
		_ = conn.Close() // nothing was sent
	default:
		s.conn = conn
	}
	return s.conn != nil
}

// read reads until there is no more, or the connection is closed.
func (s *stream) read() {
	buf := make([]byte, readLeast)
	raw := rawOf(s.conn)
	for s.awaitRoom() {
		if n := s.readOnce(raw, buf); n == len(buf) && n < readMost {
			buf = make([]byte, 4*n)
		}
	}
}

// readOnce waits until there is something to read, and reads it, or nothing.
func (s *stream) readOnce(raw syscall.RawConn, buf []byte) (n int) {
	if raw == nil {
		n, err := s.conn.Read(buf)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.received(buf[:n], err)
		return n
	}
	err := raw.Read(func(number uintptr) (done bool) {
		if !s.mu.TryLock() {
			return true // it is tried again: to wait here would make Close wait, which has the mutex
		}
		defer s.mu.Unlock()
		n, done = s.tryRead(Borrowed(number), buf)
		return done
	})
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.received(nil, err)
	}
	return n
}

// tryRead reads what is there; false: nothing is. The mutex must be held, so that no reader finds bytes neither in the socket nor
// here.
func (s *stream) tryRead(from Borrowed, buf []byte) (n int, done bool) {
	n, err := from.Read(buf)
	switch {
	case err == syscall.EAGAIN:
		return 0, false
	case n == 0 && err == nil:
		err = io.EOF
	}
	s.received(buf[:n], err)
	return n, true
}

// look reads what has come to the socket and is not read ahead yet. The mutex must be held.
func (s *stream) look(buf []byte) {
	if s.taken < len(s.in) || s.readErr != nil || s.conn == nil || s.closed {
		return
	}
	if raw := rawOf(s.conn); raw != nil {
		_ = raw.Control(func(number uintptr) { s.tryRead(Borrowed(number), buf) }) // a closed one has nothing
	}
}

// awaitRoom waits until as much may be read as goes into a buffer; false: nothing more is to be read. Meanwhile it
// looks now and then whether the connection is broken, which no read would tell.
func (s *stream) awaitRoom() bool {
	for {
		s.mu.Lock()
		over := s.closed || s.readErr != nil && s.readErr != io.EOF || s.writeErr != nil && s.readErr != nil
		room := s.readErr == nil && len(s.in)-s.taken < aheadMost
		known := s.shutDone || s.writeErr != nil
		s.mu.Unlock()
		if over || room {
			return !over
		}
		select {
		case <-s.toReader:
		case <-time.After(brokenLook):
			if !known && s.lent(Borrowed.Broken) {
				s.broke(syscall.ECONNRESET)
			}
		}
	}
}

// lent reports whether something is so of the connection's descriptor; false also: it has none.
func (s *stream) lent(is func(Borrowed) bool) (so bool) {
	if raw := rawOf(s.conn); raw != nil {
		_ = raw.Control(func(number uintptr) { so = is(Borrowed(number)) }) // a closed one is nothing
	}
	return so
}

// rawOf returns nil if the connection's descriptor cannot be had, or nothing be learnt of it.
func rawOf(conn net.Conn) syscall.RawConn {
	if c, ok := conn.(syscall.Conn); ok && canBorrow {
		raw, _ := c.SyscallConn() // an error is the connection's, which is seen when that is used
		return raw
	}
	return nil
}

// received takes in what a read has brought. The mutex must be held.
func (s *stream) received(p []byte, err error) {
	if s.closed || s.readErr != nil {
		return
	}
	if s.taken == len(s.in) {
		s.in, s.taken = s.in[:0], 0
	} else if s.taken > aheadMost/2 {
		s.in, s.taken = s.in[:copy(s.in, s.in[s.taken:])], 0
	}
	s.in = append(s.in, p...)
	if err == io.EOF {
		s.readErr = err
	} else if err != nil {
		s.readErr = errnoOf(err)
	}
	s.tell()
}

// broke says that the connection is broken. What was read can still be taken.
func (s *stream) broke(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writeErr == nil {
		s.writeErr = err
	}
	s.out = nil
	s.tell()
}

// write writes what there is until the connection is closed.
func (s *stream) write() {
	for {
		p, more := s.next()
		if !more {
			return
		}
		if len(p) == 0 {
			<-s.toWriter
			continue
		}
		n, err := s.conn.Write(p)
		s.wrote(p, n, err)
	}
}

// next returns what is to be written next; empty: wait. False: nothing ever.
func (s *stream) next() (p []byte, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.out) > 0 && s.writeErr == nil && !s.gone {
		p, s.out = s.out, s.spare[:0]
		s.spare, s.writing = nil, len(p)
		return p, true
	}
	if s.shut && !s.shutDone && s.writeErr == nil && !s.gone {
		s.shutDone = true
		s.endWriting()
		s.tell()
	}
	if s.closed {
		s.closeConn()
	}
	return nil, !s.closed
}

// endWriting tells the peer that nothing more will come. The mutex must be held.
func (s *stream) endWriting() {
	if half, ok := s.conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // an error is the connection's, which the reader sees
	}
}

// wrote takes note of what a write has done.
func (s *stream) wrote(p []byte, n int, err error) {
	if err != nil {
		s.mu.Lock()
		s.writing = 0
		s.mu.Unlock()
		s.broke(errnoOf(err))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing, s.spare = 0, p[:0]
	if s.full {
		s.full = false
		s.tell()
	}
}

func (s *stream) receive(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken == len(s.in) && s.readErr == nil {
		s.look(p)
	}
	if n := copy(p, s.in[s.taken:]); n > 0 {
		s.taken += n
		wake(s.toReader)
		return n, nil
	}
	switch s.readErr {
	case nil:
		return 0, syscall.EAGAIN
	case io.EOF:
		return 0, nil
	}
	return 0, s.readErr
}

func (s *stream) send(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.shut:
		return 0, syscall.EPIPE
	case s.writeErr != nil:
		return 0, s.writeErr
	case s.readErr != nil && s.readErr != io.EOF:
		return 0, s.readErr
	}
	n := min(len(p), sendMost-len(s.out)-s.writing)
	if n <= 0 || s.conn == nil {
		s.full = true
		return 0, syscall.EAGAIN
	}
	s.out = append(s.out, p[:n]...)
	wake(s.toWriter)
	return n, nil
}

func wake(to chan struct{}) {
	select {
	case to <- struct{}{}:
	default: // it has been woken
	}
}

func (s *stream) closeWrite() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writeErr != nil {
		return s.writeErr
	}
	s.shut = true
	wake(s.toWriter)
	return nil
}

// nothingToRead also looks at the socket: the peer's end may have come in this very moment.
func (s *stream) nothingToRead() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.look(make([]byte, readLeast))
	return s.conn != nil && s.taken == len(s.in) && s.readErr == nil
}

func (s *stream) unacked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil || s.writeErr != nil {
		return false
	}
	return len(s.out)+s.writing > 0 || s.lent(Borrowed.Unacked)
}

func (s *stream) setOptions(o *TCPOptions) {
	if tcp, ok := s.conn.(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(o.KeepAliveConfig()) // package net has set no delay
		if raw, err := tcp.SyscallConn(); err == nil {
			_ = o.Control("", "", raw) // likewise
		}
	}
}

// close implements endpoint.
func (s *stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var p *Poller
	if s.watch != nil {
		p = s.watch.poller
	}
	s.closed, s.watch, s.in, s.taken = true, nil, nil, 0
	wake(s.toReader)
	wake(s.toWriter)
	switch {
	case s.conn == nil:
		if s.dial != nil {
			s.dial.cancel()
		}
	case s.writeErr != nil || !s.running || len(s.out)+s.writing == 0 && (s.shutDone || !s.shut):
		s.closeConn()
	default:
		wait := closeWait
		if s.resets {
			wait = resetWait
		}
		_ = s.conn.SetWriteDeadline(time.Now().Add(wait)) // an error is the connection's, which the writer sees
		if p != nil {
			s.lingering = p
			p.linger(s, true)
		}
	}
}

// closeConn closes the connection itself, once. The mutex must be held.
func (s *stream) closeConn() {
	if s.gone {
		return
	}
	s.gone, s.out = true, nil
	if s.resets {
		if tcp, ok := s.conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a connection that is gone needs none
		}
	}
	_ = s.conn.Close() // all that was to be sent has been, or is not wanted
	if s.lingering != nil {
		s.lingering.linger(s, false)
	}
}

// cut ends a stream that is closed and still has something to send.
func (s *stream) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lingering = nil
	s.closeConn()
}

// dial is how a connection is made.
type dial struct {
	dialer      net.Dialer
	network, to string
	ctx         context.Context
	cancel      context.CancelFunc
}

func (d *dial) do() (net.Conn, error) {
	defer d.cancel()
	return d.dialer.DialContext(d.ctx, d.network, d.to)
}
