package edge

import (
	"cmp"
	"encoding/binary"
	"io"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
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
	// continueLine tells a client that its body is wanted.
	continueLine = "HTTP/1.1 100 Continue\r\n\r\n"
)

// bufferBody reads the body of a request up to the route's bound, and reports whether a server is to be
// asked for now. If not, the request waits in the stage gathering, or has ended.
func (f *inbound) bufferBody() (ready bool) {
	t := f.task
	s := &t.store
	f.stage = gathering // from now on what has come must not move
	if err := f.takeWhole(); err != nil {
		f.badBody(err)
		return false
	}
	for turn := f.loop.turn(); !t.whole && !f.buffered(); turn.Spend(limits.TurnCall) {
		if t.body.AtTrailers() && len(t.rest) > 0 {
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
		if len(s.free()) == 0 && !s.grow(f.loop, t.body.Run()) {
			if len(s.rooms) == 0 {
				f.awaitMemory()
				return false
			}
			switch grown, ever := s.growToEnd(f.loop, f.toBuffer()); {
			case grown:
			case ever:
				f.awaitMemory()
				return false
			default: // others wait for what it holds, so it must not wait for more
				f.endMemoryWait()
				s.pace.Stop()
				return true
			}
		}
		f.endMemoryWait()
		if !f.saidContinue() {
			return false
		}
		if !f.readable {
			f.awaitBody()
			return false
		}
		if turn.Over(clock.Now) {
			f.loop.soon(&f.end)
			return false
		}
		if err := f.bufferMore(); err != nil {
			f.badBody(err)
			return false
		}
	}
	s.pace.Stop()
	s.endRest(f.loop)
	return true
}

// toBuffer returns how many more bytes are to be read before a server is asked for, at most.
func (f *inbound) toBuffer() int64 {
	t := f.task
	n := t.exchange.route.buffer - t.store.size - int64(t.passed)
	if t.req.Framing == http1.ByLength {
		n = min(n, t.body.Run())
	}
	return max(n, 1)
}

// takeWhole finds how much of the body has come with the head. The whole of a small one that a stream of
// HTTP/2 has brought to its end is taken into the buffer of the head, too.
func (f *inbound) takeWhole() error {
	t := f.task
	s := &t.store
	ended := false
	if b := f.branch; b != nil && b.ended && len(s.rooms) == 0 && b.unread() <= smallRoom {
		for ended = true; f.readable; {
			if _, err := f.fill(); err != nil {
				break // EAGAIN: all there is has been taken
			}
		}
	}
	if s.begun && !ended {
		return nil
	}
	if err := t.frame(t.got[t.gr:t.gw], f.service.listener); err != nil || t.whole {
		return err
	}
	s.begun, s.client, s.lastAt = true, balance.PrefixOf(t.exchange.client), f.loop.now
	t.rest = append(t.rest[:0], t.buf[t.head+t.passed:]...)
	return nil
}

// buffered reports whether as much of the body is there as is read before a server is asked for.
func (f *inbound) buffered() bool {
	t := f.task
	switch s := &t.store; {
	case t.body.Done():
		return true
	case t.exchange.route.awaitsMessage && t.exchange.grpc:
		return s.size >= t.exchange.route.buffer || f.hasMessage() && !(f.branch.ended && f.readable)
	default:
		return s.size+int64(t.passed) >= t.exchange.route.buffer
	}
}

// hasMessage reports whether the first message of a gRPC request is there, whole.
func (f *inbound) hasMessage() bool {
	t, b := f.task, f.branch
	s := &t.store
	unread := b.come[b.at:]
	if s.first == 0 && len(unread) >= grpcPrefix {
		s.first = grpcPrefix + int64(binary.BigEndian.Uint32(unread[1:]))
	}
	return b.ended || s.first > 0 && t.body.Size()+int64(len(unread)) >= s.first
}

// awaitsFirst reports whether nothing has come yet of what is to be read, so that it needs no memory; of
// gRPC, the prefix of the first message.
func (f *inbound) awaitsFirst() bool {
	s := &f.task.store
	if f.task.exchange.route.awaitsMessage {
		return s.first == 0
	}
	return !f.readable && len(s.rooms) == 0 && !f.task.req.Expect
}

// bufferMore takes what the client has sent. Its error is the client's fault.
func (f *inbound) bufferMore() error {
	t := f.task
	s := &t.store
	room := s.free()
	n, err := f.read(room)
	switch {
	case err == syscall.EAGAIN:
		return nil
	case err != nil:
		return err
	case n == 0:
		return io.EOF
	}
	s.lastAt = f.loop.now
	s.pace.Took(int64(n))
	if t.body.AtTrailers() {
		t.rest = append(t.rest, room[:n]...)
		return nil
	}
	good, err := t.body.Pass(room[:n])
	if err != nil {
		return err
	}
	t.rest = append(t.rest[:0], room[good:n]...)
	s.filled(good)
	return nil
}

// bufferTrailers stores the trailers, as takeTrailers takes them.
func (f *inbound) bufferTrailers() (waits bool, err error) {
	text, waits, err := f.takeTrailers(nil)
	if waits {
		return true, err
	}
	f.task.store.add(text)
	return false, nil
}

// saidContinue tells a client that waits for it to go on; false: it takes no more. The server is then
// not told of the expectation: it has been met.
func (f *inbound) saidContinue() bool {
	t := f.task
	var err error
	switch {
	case !t.req.Expect:
		return true
	case t.req.Continued:
		_, err = t.down.flush(&f.end) // what the socket did not take at once
	default:
		t.req.Continued = true
		if len(t.buf) > t.head { // RFC 9110, 10.1.1: it has begun to send
			return true
		}
		t.out = append(f.loop.out[:0], continueLine...)
		_, err = t.down.write(&f.end, t.out)
		f.loop.lay(&t.work)
	}
	if err != nil {
		f.gone()
	}
	return err == nil
}

// awaitBody sets the time by which more of the body must have come.
func (f *inbound) awaitBody() {
	t := f.task
	s := &t.store
	idle := s.lastAt.Add(f.service.listener.IdleTimeout)
	due := idle
	if f.mayStall() {
		due = min(idle, max(s.lastAt.Add(f.quietTime()), f.loop.now.Add(bodyQuiet)))
	}
	if rate := t.exchange.route.bodyRate; rate > 0 && !f.silent() {
		due = min(due, s.pace.Start(f.loop.now, f.bodyWindow()))
	}
	f.loop.wheel.set(&f.timer, due)
}

// mayStall reports whether a server is asked for although nothing comes: the body's length is not
// known, and of gRPC no message has begun.
func (f *inbound) mayStall() bool {
	t := f.task
	if t.exchange.route.awaitsMessage {
		return f.silent()
	}
	return t.req.Framing == http1.ByChunks
}

// silent reports whether a gRPC stream has begun without a message.
func (f *inbound) silent() bool {
	return f.task.exchange.route.awaitsMessage && f.task.store.first == 0 && f.branch.unread() == 0
}

// quietTime is how long nothing comes until a server is asked for all the same.
func (f *inbound) quietTime() time.Duration {
	if f.task.exchange.route.awaitsMessage {
		return messageQuiet
	}
	return bodyQuiet
}

// bodyLate deals with a body of which more did not come in time.
func (f *inbound) bodyLate() {
	t, now := f.task, f.loop.now
	s := &t.store
	switch {
	case !s.begun, now >= s.lastAt.Add(f.service.listener.IdleTimeout):
		f.endMemoryWait()
		f.badBody(os.ErrDeadlineExceeded)
	case s.pace.Over(now) && !f.keepsPace(&s.pace):
		f.badBody(os.ErrDeadlineExceeded)
	case f.mayStall() && now >= s.lastAt.Add(f.quietTime()) && f.loop.engine.edge.bodies.stall(s.client):
		s.stalled = true
		s.pace.Stop()
		f.askForServer()
	default:
		f.awaitBody()
	}
}

// keepsPace judges a window of a body's least rate. A client of HTTP/2 is excused while the window of its
// connection is used up: then it is us who do not read another stream.
func (f *inbound) keepsPace(p *limits.Pace) bool {
	slow := p.Judge(f.loop.now, f.task.exchange.route.bodyRate)
	return !slow || f.branch != nil && f.branch.trunk.window < streamWindow
}

// paceDue returns when the rest of a body that its server is waiting for must have come at its least
// rate; zero: it needs not. A body without a length may pause once its server has answered, and on a
// route of HTTP/2 in any case: both may have a conversation.
func (f *inbound) paceDue() balance.Instant {
	t := f.task
	r := t.exchange.route
	if r.bodyRate == 0 || t.req.Framing != http1.ByLength && (t.begun || r.awaitsMessage) {
		t.pace.Stop()
		return 0
	}
	return t.pace.Start(f.loop.now, f.bodyWindow())
}

// bodyWindow is the time over which a body must come at its least rate.
func (f *inbound) bodyWindow() time.Duration {
	return cmp.Or(f.service.engine.edge.cfg.bodyWindow, limits.Window)
}

// bodyAnswered says that the response has begun: the request is not sent again.
func (f *inbound) bodyAnswered() {
	t := f.task
	if !t.store.begun {
		return
	}
	t.store.unstall(f.loop)
	if !t.uploading {
		t.store.release(f.loop)
	}
}

// composeStored appends the first part of what was read of the body to a head, if it is small enough for
// one write to be better than two.
func (t *task) composeStored(dst []byte) []byte {
	if len(t.store.rooms) == 0 || len(t.store.rooms[0]) > largeRoom/2 {
		return dst
	}
	t.store.unsent()
	return append(dst, t.store.next(largeRoom)...)
}

// releaseBody gives back what is held of a request's body once it has gone to the server, unless it may
// have to be sent again.
func (f *inbound) releaseBody() {
	t := f.task
	s := &t.store
	if !s.begun || s.freed {
		return
	}
	s.unstall(f.loop)
	if t.begun || !f.mayResend() && f.maySent() || f.loop.engine.edge.bodies.scarce() {
		s.release(f.loop)
	}
}

// awaitMemory leaves the body unread until there is memory for it. One that has begun holds some, so it
// does not wait for ever.
func (f *inbound) awaitMemory() {
	s := &f.task.store
	if f.until(0); len(s.rooms) > 0 {
		f.loop.wheel.set(&f.timer, s.lastAt.Add(f.service.listener.IdleTimeout))
	}
	s.pace.Stop()
	if f.reset {
		f.gone()
		return
	}
	if s.waits {
		return
	}
	s.waits = true
	f.loop.bodiesWait = append(f.loop.bodiesWait, f)
	m := &f.loop.engine.edge.bodies
	m.waits.Add(1)
	m.total.Add(1)
}

// endMemoryWait says that the body waits for memory no more.
func (f *inbound) endMemoryWait() {
	s := &f.task.store
	if !s.waits {
		return
	}
	s.waits = false
	s.lastAt = f.loop.now
	l := f.loop
	l.bodiesWait = slices.DeleteFunc(l.bodiesWait, func(w *inbound) bool { return w == f })
	l.engine.edge.bodies.waits.Add(-1)
}

// memoryFreed implements bodyWaiter.
func (l *loop) memoryFreed() { l.post(letter{do: l.readWaitingBodies}) }

// triedAtOnce bounds how many waiting bodies are tried when memory comes free.
const triedAtOnce = 64

// readWaitingBodies lets bodies go on for which there may be memory now, those first that have waited
// longest. One whose client has its share of the memory waits on, behind the others.
func (l *loop) readWaitingBodies() {
	before := len(l.bodiesWait)
	for range min(before, triedAtOnce) {
		if len(l.bodiesWait) == 0 || l.engine.edge.bodies.await(l, smallRoom) {
			return
		}
		f := l.bodiesWait[0]
		copy(l.bodiesWait, l.bodiesWait[1:])
		l.bodiesWait[len(l.bodiesWait)-1] = f
		f.gather()
	}
	if n := len(l.bodiesWait); 0 < n && n < before {
		l.memoryFreed() // there was enough for some, so there may be for others
	}
}
