package proxy

import (
	"encoding/binary"
	"io"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/bodies"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/http1"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// Reading a request's body before a server is asked for, so that a client that sends slowly, or
// nothing, holds no server meanwhile. See docs/decisions/0044-bodies-are-read-before-a-server-is-asked-for.md.

const (
	// bodyQuiet is how long nothing comes of a body without a length until its server is asked for all
	// the same: the client may be waiting for the server to speak.
	bodyQuiet = 250 * time.Millisecond
	// messageQuiet is the same for a gRPC stream that begins without a message.
	messageQuiet = time.Second
	// grpcPrefix is the length of what stands before each message of gRPC: one byte of flags, four of
	// the message's length.
	grpcPrefix = 5
	// continueLine asks a client for its body.
	continueLine = "HTTP/1.1 100 Continue\r\n\r\n"
)

// bufferBody reads the body of a request up to the route's bound, and reports whether a server is to be
// asked for now. If not, the request waits in the stage gathering, or has ended.
func (f *clientConn) bufferBody() (ready bool) {
	t := f.req
	s := &t.bodyStore
	f.state = stateBufferingBody // from now on what has come must not move
	if err := f.takeWhole(); err != nil {
		f.badBody(err)
		return false
	}
	for turn := f.worker.NewTurn(); !t.Complete && !f.buffered(); turn.Spend(limits.TurnCall) {
		if t.Body.AtTrailers() && len(t.leftover) > 0 {
			switch waits, err := f.bufferTrailers(); {
			case err != nil:
				f.badBody(err)
				return false
			case !waits:
				continue
			}
		}
		if f.awaitsFirst() {
			f.awaitBody()
			return false
		}
		if len(s.Free()) == 0 && !s.Grow(&f.worker.bodies, t.Body.Run()) {
			if len(s.Bufs) == 0 {
				f.awaitMemory()
				return false
			}
			switch grown, ever := s.GrowToEnd(&f.worker.bodies, f.toBuffer()); {
			case grown:
			case ever:
				f.awaitMemory()
				return false
			default: // others wait for what it holds, so it must not wait for more
				f.endMemoryWait()
				s.Pace.Stop()
				return true
			}
		}
		f.endMemoryWait()
		if !f.sendContinue() {
			return false
		}
		if !f.Readable {
			f.awaitBody()
			return false
		}
		if turn.Over(clock.Now) {
			f.worker.Defer(&f.Conn)
			return false
		}
		if err := f.bufferMore(); err != nil {
			f.badBody(err)
			return false
		}
	}
	s.Pace.Stop()
	s.EndRest(&f.worker.bodies)
	return true
}

// toBuffer returns how many more bytes are to be read before a server is asked for, at most.
func (f *clientConn) toBuffer() int64 {
	t := f.req
	n := t.Exchange.Route.BufferRequest - t.bodyStore.Size - int64(t.BodyInBuf)
	if t.Req.Framing == http1.ByLength {
		n = min(n, t.Body.Run())
	}
	return max(n, 1)
}

// takeWhole finds how much of the body has come with the head. The whole of a small one that a stream of
// HTTP/2 has brought to its end is taken into the buffer of the head, too.
func (f *clientConn) takeWhole() error {
	t := f.req
	s := &t.bodyStore
	ended := false
	if b := f.stream; b != nil && b.Complete && len(s.Bufs) == 0 && b.UnreadBytes() <= bodies.SmallBuf {
		for ended = true; f.Readable; {
			if _, err := f.readMore(); err != nil {
				break // EAGAIN: all there is has been taken
			}
		}
	}
	if s.Begun && !ended {
		return nil
	}
	if err := t.Frame(t.input[t.inputStart:t.inputEnd], f.service.listener); err != nil || t.Complete {
		return err
	}
	s.Begun, s.Client, s.LastAt = true, balance.PrefixOf(t.Exchange.ClientAddr), f.worker.Now
	t.leftover = append(t.leftover[:0], t.Buf[t.Head+t.BodyInBuf:]...)
	return nil
}

// buffered reports whether as much of the body is there as is read before a server is asked for.
func (f *clientConn) buffered() bool {
	t := f.req
	switch s := &t.bodyStore; {
	case t.Body.Done():
		return true
	case t.Exchange.Route.AwaitsMessage && t.Exchange.GRPC:
		return s.Size >= t.Exchange.Route.BufferRequest || f.hasMessage() && !(f.stream.Complete && f.Readable)
	default:
		return s.Size+int64(t.BodyInBuf) >= t.Exchange.Route.BufferRequest
	}
}

// hasMessage reports whether the first message of a gRPC request is there, whole.
func (f *clientConn) hasMessage() bool {
	t, b := f.req, f.stream
	s := &t.bodyStore
	unread := b.Unread()
	if s.FirstMessage == 0 && len(unread) >= grpcPrefix {
		s.FirstMessage = grpcPrefix + int64(binary.BigEndian.Uint32(unread[1:]))
	}
	return b.Complete || s.FirstMessage > 0 && t.Body.Size()+int64(len(unread)) >= s.FirstMessage
}

// awaitsFirst reports whether nothing has come yet of what is to be read, so that it needs no memory; of
// gRPC, the prefix of the first message.
func (f *clientConn) awaitsFirst() bool {
	s := &f.req.bodyStore
	if f.req.Exchange.Route.AwaitsMessage {
		return s.FirstMessage == 0
	}
	return !f.Readable && len(s.Bufs) == 0 && !f.req.Req.Expect
}

// readBodyPart reads more of the body into p. Zero and no error: nothing has come yet.
func (f *clientConn) readBodyPart(p []byte) (int, error) {
	switch n, err := f.Read(p); {
	case err == syscall.EAGAIN:
		return 0, nil
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	default:
		return n, nil
	}
}

// bufferMore stores what the client has sent. Its error is the client's fault.
func (f *clientConn) bufferMore() error {
	t := f.req
	s := &t.bodyStore
	buf := s.Free()
	n, err := f.readBodyPart(buf)
	if n == 0 || err != nil {
		return err
	}
	s.LastAt = f.worker.Now
	s.Pace.Took(int64(n))
	if t.Body.AtTrailers() {
		t.leftover = append(t.leftover, buf[:n]...)
		return nil
	}
	good, err := t.Body.Pass(buf[:n])
	if err != nil {
		return err
	}
	t.leftover = append(t.leftover[:0], buf[good:n]...)
	s.Filled(good)
	return nil
}

// bufferTrailers stores the trailers, as takeTrailers takes them.
func (f *clientConn) bufferTrailers() (waits bool, err error) {
	text, waits, err := f.takeTrailers(nil)
	if waits {
		return true, err
	}
	f.req.bodyStore.Add(text)
	return false, nil
}

// sendContinue sends 100 Continue to a client that waits for it. It returns false if the client takes no more.
// The server then does not see the expectation: it has been met.
func (f *clientConn) sendContinue() bool {
	t := f.req
	var err error
	switch {
	case !t.Req.Expect:
		return true
	case t.Req.Continued:
		_, err = t.down.Flush(&f.Conn) // what the socket did not take at once
	default:
		t.Req.Continued = true
		if len(t.Buf) > t.Head { // RFC 9110, 10.1.1: it has begun to send
			return true
		}
		t.Out = append(f.worker.headBuf[:0], continueLine...)
		_, err = t.down.Write(&f.Conn, t.Out)
		f.worker.putHeadBuf(&t.ForwardState)
	}
	if err != nil {
		f.clientGone()
	}
	return err == nil
}

// awaitBody sets the time by which more of the body must have come.
func (f *clientConn) awaitBody() {
	t := f.req
	s := &t.bodyStore
	idle := s.LastAt.Add(f.service.listener.IdleTimeout)
	due := idle
	if f.mayStall() {
		due = min(idle, max(s.LastAt.Add(f.quietTime()), f.worker.Now.Add(bodyQuiet)))
	}
	if rate := t.Exchange.Route.BodyRate; rate > 0 && !f.silent() {
		due = min(due, s.Pace.Start(f.worker.Now, f.bodyWindow()))
	}
	f.worker.Timers.Set(&f.Timer, due)
}

// mayStall reports whether a server is asked for although nothing comes: the body's length is not
// known, and of gRPC no message has begun.
func (f *clientConn) mayStall() bool {
	t := f.req
	if t.kept != nil {
		return false
	}
	if t.Exchange.Route.AwaitsMessage {
		return f.silent()
	}
	return t.Req.Framing == http1.ByChunks
}

// silent reports whether a gRPC stream has begun without a message.
func (f *clientConn) silent() bool {
	return f.req.Exchange.Route.AwaitsMessage && f.req.bodyStore.FirstMessage == 0 && f.stream.UnreadBytes() == 0
}

// quietTime is how long nothing comes until a server is asked for all the same.
func (f *clientConn) quietTime() time.Duration {
	if f.req.Exchange.Route.AwaitsMessage {
		return messageQuiet
	}
	return bodyQuiet
}

// bodyLate deals with a body of which more did not come in time.
func (f *clientConn) bodyLate() {
	t, now := f.req, f.worker.Now
	s := &t.bodyStore
	switch {
	case !s.Begun, now >= s.LastAt.Add(f.service.listener.IdleTimeout):
		f.endMemoryWait()
		f.badBody(os.ErrDeadlineExceeded)
	case s.Pace.Over(now) && !f.keepsPace(&s.Pace):
		f.badBody(os.ErrDeadlineExceeded)
	case f.mayStall() && now >= s.LastAt.Add(f.quietTime()) && s.Stall(&f.worker.bodies):
		s.Pace.Stop()
		f.askForServer()
	default:
		f.awaitBody()
	}
}

// keepsPace judges a window of a body's least rate. A client of HTTP/2 is excused while the window of its
// connection is used up: then it is us who do not read another stream.
func (f *clientConn) keepsPace(p *limits.Pace) bool {
	slow := p.Judge(f.worker.Now, f.req.Exchange.Route.BodyRate)
	return !slow || f.stream != nil && f.stream.AwaitsOthers()
}

// paceDue returns when the rest of a body that its server is waiting for must have come at its least rate;
// zero: there is no limit. A body without a length may pause once its server has responded, and on an HTTP/2
// route in any case: both sides may have a conversation.
func (f *clientConn) paceDue() balance.Instant {
	t := f.req
	r := t.Exchange.Route
	if r.BodyRate == 0 || t.Req.Framing != http1.ByLength && (t.responseStarted || r.AwaitsMessage) {
		t.pace.Stop()
		return 0
	}
	return t.pace.Start(f.worker.Now, f.bodyWindow())
}

// bodyWindow is the time over which a body must come at its least rate.
func (f *clientConn) bodyWindow() time.Duration {
	return f.service.engine.cfg.BodyWindow
}

// bodyAnswered records that the response has begun: the request is not sent again.
func (f *clientConn) bodyAnswered() {
	t := f.req
	if !t.bodyStore.Begun {
		return
	}
	t.bodyStore.Unstall(&f.worker.bodies)
	if !t.uploading {
		t.bodyStore.Release(&f.worker.bodies)
	}
}

// composeStored appends the first part of what was read of the body to a head, if it is small enough for
// one write to be better than two.
func (t *request) composeStored(dst []byte) []byte {
	if len(t.bodyStore.Bufs) == 0 || len(t.bodyStore.Bufs[0]) > bodies.LargeBuf/2 {
		return dst
	}
	t.bodyStore.Unsent()
	return append(dst, t.bodyStore.Next(bodies.LargeBuf)...)
}

// releaseBody gives back what is held of a request's body once it has gone to the server, unless it may
// have to be sent again.
func (f *clientConn) releaseBody() {
	t := f.req
	s := &t.bodyStore
	if !s.Begun || s.Freed {
		return
	}
	s.Unstall(&f.worker.bodies)
	if t.responseStarted || !f.mayResend() && f.maySent() || f.worker.engine.cfg.Bodies.Scarce() {
		s.Release(&f.worker.bodies)
	}
}

// awaitMemory leaves the body unread until there is memory for it. One that has begun holds some, so it
// does not wait for ever.
func (f *clientConn) awaitMemory() {
	s := &f.req.bodyStore
	if f.setTimeout(0); len(s.Bufs) > 0 {
		f.worker.Timers.Set(&f.Timer, s.LastAt.Add(f.service.listener.IdleTimeout))
	}
	s.Pace.Stop()
	if f.WasReset {
		f.clientGone()
		return
	}
	if s.Waits {
		return
	}
	s.Waits = true
	f.worker.awaitingMemory = append(f.worker.awaitingMemory, f)
	m := f.worker.engine.cfg.Bodies
	m.Waits.Add(1)
	m.Total.Add(1)
}

// endMemoryWait ends the body's wait for memory.
func (f *clientConn) endMemoryWait() {
	s := &f.req.bodyStore
	if !s.Waits {
		return
	}
	s.Waits = false
	s.LastAt = f.worker.Now
	l := f.worker
	l.awaitingMemory = slices.DeleteFunc(l.awaitingMemory, func(w *clientConn) bool { return w == f })
	l.engine.cfg.Bodies.Waits.Add(-1)
}

// MemoryFreed implements limits.MemoryWaiter.
func (l *worker) MemoryFreed() { l.Call(l.readWaitingBodies) }

// triedAtOnce bounds how many waiting bodies are tried when memory comes free.
const triedAtOnce = 64

// readWaitingBodies lets bodies go on for which there may be memory now, those first that have waited
// longest. One whose client has its share of the memory waits on, behind the others.
func (l *worker) readWaitingBodies() {
	before := len(l.awaitingMemory)
	for range min(before, triedAtOnce) {
		if len(l.awaitingMemory) == 0 || l.engine.cfg.Bodies.Await(l, bodies.SmallBuf) {
			return
		}
		f := l.awaitingMemory[0]
		copy(l.awaitingMemory, l.awaitingMemory[1:])
		l.awaitingMemory[len(l.awaitingMemory)-1] = f
		f.readBody()
	}
	if n := len(l.awaitingMemory); 0 < n && n < before {
		l.MemoryFreed() // there was enough for some, so there may be for others
	}
}
