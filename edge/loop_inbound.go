package edge

import (
	"math/bits"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/http1"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// inbound is a client's connection in a loop. Without a request it has no buffer.
type inbound struct {
	end
	timer
	service  *loopService
	peer     netip.Addr
	stage    stage
	served   bool // a request, before
	leaving  bool // the client has closed its side; it is left a moment for the answer
	isCut    bool
	task     *task
	question *question // that is on its way, in the stage lent; nil: a goroutine asks
	back     *back     // of the link under way
	junction *junction // of the client and the server, once the connection is upgraded
}

// stage is what a client's connection is about.
type stage uint8

const (
	idling    stage = iota // nothing of a request is there
	heading                // a part of its head
	gathering              // a part of a body that is read before a server is asked for
	lent                   // another goroutine has the task: the master is asked, or a name looked up
	linking                // a server has the request, or is being reached
	flushing               // all is said, and some of it on its way
	upgraded               // whatever either peer says goes to the other
	severed                // it does no more, but what was sent is not broken off
	parting                // all is said and gone; what the client still sends is thrown away
	closed
)

// task is a request under way, and what has come behind it.
type task struct {
	work
	got      []byte // from the client, in got[gr:gw]; the head of the request stays where it is until the last link of its exchange is over
	gr, gw   int
	private  []byte // room for a response's head that comes in pieces
	passage  passage
	up, down outflow
	interims int
	closing  bool // no other request follows

	headAlone bool // the response ends with its head, which does not say so

	sent      bool            // the request, as far as it was there
	probed    bool            // the client, whether it is still there
	begun     bool            // the head of the response has gone to the client, or is about to
	uploading bool            // the rest of the request's body is still to come
	ended     bool            // it has gone to the server, to its end
	rest      []byte          // what has come behind it
	trailing  http1.Trailers  // of the request
	took      int64           // bytes of the rest that have come
	copied    bodyCopy        // of them, those that can be sent again
	store     bodyStore       // what was read of the body before a server was asked for
	pace      limits.Pace     // of the rest of the body
	fresh     bool            // the request is sent again, by a connection that has carried nothing yet
	since     balance.Instant // when what is waited for began
	leaveAt   balance.Instant // when a client that has closed its side is taken for gone
	quiet     time.Duration   // that a client may be silent when parting
	partAt    balance.Instant // when it is over
	lookout   lookout
}

// forget readies the task for another connection.
func (t *task) forget() {
	t.work.in, t.work.out = nil, nil // the loop's own
	t.clear()
	t.gr, t.gw, t.begun, t.headAlone = 0, 0, false, false
	if len(t.got) > roomKept {
		t.got = nil
	}
	if len(t.private) > roomMost {
		t.private = nil
	}
	t.trailing.Limits = http1.Limits{}
}

// begin makes a client's connection of an accepted descriptor. tls is what is spoken on
// it, if that is so, and early what was read of it already.
func (l *loop) begin(s *loopService, descriptor *fd.FD, peer netip.Addr, tls *sealed, early []byte) {
	f := &inbound{service: s, peer: peer}
	f.end.owner, f.timer.owner = f, f
	if err := l.watch(&f.end, descriptor, readiness); err != nil {
		s.left(l, f)
		return
	}
	s.members[l][f] = struct{}{}
	f.useTLS(tls)
	f.until(s.listener.silentTime())
	if s.draining.Load() {
		f.hurry()
	}
	if len(early) > 0 {
		f.task = l.takeTask()
		f.task.got = append(f.task.got[:0], early...)
		f.task.got, f.task.gw = f.task.got[:cap(f.task.got)], len(early)
	}
	if f.task != nil || f.readable {
		f.readHead()
	}
	if s.isCut.Load() {
		f.cutOff()
	}
}

// until sets the time by which something must have happened; zero: none.
func (f *inbound) until(wait time.Duration) { f.loop.wheel.set(&f.timer, f.loop.due(wait)) }

// due is when a wait that begins now has been long enough; zero, if it is: never.
func (l *loop) due(wait time.Duration) balance.Instant {
	if wait == 0 {
		return 0
	}
	return l.now.Add(wait)
}

// ready implements the end's owner: do what can be done now.
func (f *inbound) ready() {
	switch f.stage {
	case idling, heading:
		f.readHead()
	case gathering:
		f.gather()
	case lent:
		f.watchClient()
	case linking:
		f.carry()
	case flushing:
		f.flush()
	case upgraded:
		f.carryTunnel()
	case parting:
		f.throw()
	}
}

// expired implements the timer's owner: something did not happen in time.
func (f *inbound) expired() {
	switch f.stage {
	case idling:
		f.readable = true // what came at this very moment counts
		f.readHead()
		if f.isOpen() && f.stage == idling {
			f.close()
		}
	case heading:
		f.refuse(os.ErrDeadlineExceeded)
	case gathering:
		f.bodyLate()
	case lent:
		if f.leaving {
			f.recallAsk(errLeft)
		} else {
			f.recallAsk(errSilent)
		}
	case linking:
		f.late()
	case flushing:
		f.gone()
	case severed:
		f.settleTunnel()
	case parting:
		f.close()
	}
}

// readHead reads until the head of a request is there. A client that does not take what it
// was told is heard no further.
func (f *inbound) readHead() {
	if t := f.task; f.stage == idling && f.unsent() == 0 && t != nil && t.gr < t.gw {
		f.parseHead() // of what came behind the last request
	}
	for f.isOpen() && f.readable && f.unsent() == 0 && f.stage <= heading {
		t := f.task
		if t == nil {
			t = f.loop.takeTask()
			f.task = t
		}
		n, err := f.fill()
		switch {
		case err == syscall.EAGAIN:
			f.vacate()
			return
		case err != nil || n == 0:
			f.close() // nothing was asked
			return
		}
		f.parseHead()
	}
}

// fill reads more behind what is there: first into the loop's own room, since how much it
// is, and so what the task needs room for, is known only then.
func (f *inbound) fill() (int, error) {
	t := f.task
	room := f.loop.shared[:min(max(roomFirst, len(t.got)), loopRoom)]
	n, err := f.read(room)
	if n > 0 {
		t.gather(room[:n], f.stage > heading)
	}
	return n, err
}

// gather puts what was read behind what is there, into a larger buffer if it must. What
// is there may not move within its buffer if that is in use.
func (t *task) gather(p []byte, inUse bool) {
	if len(t.got)-t.gw < len(p) {
		larger, need := t.got, t.gw-t.gr+len(p)
		if inUse || need > len(t.got) {
			larger = make([]byte, max(roomLeast, 1<<bits.Len(uint(need-1))))
		}
		t.gw = copy(larger, t.got[t.gr:t.gw])
		t.gr, t.got = 0, larger
	}
	t.gw += copy(t.got[t.gw:], p)
}

// roomLeast is what most heads have room in.
const roomLeast = 512

// vacate gives the buffer of a connection without a request back.
func (f *inbound) vacate() {
	if t := f.task; t != nil && f.stage == idling && t.gr == t.gw {
		f.task = nil
		f.loop.putTask(t)
	}
}

// parseHead begins the request whose head is there.
func (f *inbound) parseHead() {
	t := f.task
	t.req.Limits = f.service.listener.limits
	n, err := t.req.Parse(t.got[t.gr:t.gw])
	switch {
	case err != nil:
		f.refuse(err)
	case n > 0:
		f.open(n)
	case f.stage == idling:
		f.stage = heading
		f.until(f.service.listener.HeaderTimeout)
	}
}

// refuse answers a head that is none.
func (f *inbound) refuse(err error) {
	t := f.task
	answer, detail, ok := unreadable(err, t.gw-t.gr)
	if !ok || f.isCut {
		f.close()
		return
	}
	if f.branch != nil && answer.Status == http.StatusRequestHeaderFieldsTooLarge {
		f.branch.trunk.tooLong++
	}
	t.whole = false
	t.exchange.refused(f.service.engine.edge, f.service.listener, f.peer, &t.recall)
	t.exchange.glimpse(t.got[t.gr:t.gw])
	t.exchange.grpc = f.branch != nil && mayBeGRPC(t.got[t.gr:t.gw])
	f.answer(answer, detail, true)
}

// answer tells the client what comes instead of a server's response.
func (f *inbound) answer(a flight.Answer, detail string, closing bool) {
	t, size := f.task, 0
	x := &t.exchange
	detail = x.answers(a, detail)
	if x.grpc {
		t.out, t.headAlone = appendGRPCAnswer(f.loop.out[:0], a, detail, x.id), true
		x.status, x.code = http.StatusOK, grpcCode(a)
		f.say(closing)
		return
	}
	// A head that could not be read may be HEAD's. By HTTP/1 it is answered with a body all the same, for
	// the connection ends; a stream of HTTP/2 cannot have one.
	headOnly := t.req.Method == http1.MethodHead && (t.told.buf != nil || f.branch != nil)
	t.out, size = appendProblem(f.loop.out[:0], a, detail, x.id, headOnly, closing)
	x.status, x.bytes = a.Status, int64(size)
	f.say(closing)
}

// say sends what is in out and ends the exchange.
func (f *inbound) say(closing bool) {
	t := f.task
	f.stage, t.closing = flushing, closing
	_, err := t.down.write(&f.end, t.out)
	f.loop.lay(&t.work)
	if err != nil {
		f.gone()
		return
	}
	f.flush()
}

// flush ends the exchange once all has gone to the client.
func (f *inbound) flush() {
	t := f.task
	switch clear, err := t.down.flush(&f.end); {
	case err != nil:
		f.gone()
	case clear && (!t.closing || f.sent()):
		f.conclude()
	default:
		f.until(f.service.listener.IdleTimeout)
	}
}

// conclude ends the exchange, of which everything has been said.
func (f *inbound) conclude() {
	t := f.task
	f.detach()
	t.exchange.close()
	t.down.reset(f.loop)
	t.up.reset(f.loop)
	t.copied.reset(f.loop)
	t.store.reset(f.loop)
	switch {
	case f.branch != nil:
		f.close() // which is the end of a stream, and not of the client's connection
		return
	case t.closing || t.abort:
		f.part()
		return
	}
	f.stage, f.served, f.leaving = idling, true, false
	t.work.in = nil
	t.clear()
	if f.until(f.service.listener.IdleTimeout); f.service.draining.Load() {
		f.hurry()
	}
	switch {
	case t.gr < t.gw:
		f.loop.soon(&f.end)
	case f.readable:
		t.gr, t.gw = 0, 0
		f.loop.soon(&f.end)
	default:
		f.vacate()
	}
}

// part lets the client read what it was told: a connection that is closed with something
// unread in it is reset, and what was sent before is lost.
func (f *inbound) part() {
	t := f.task
	wait, most := lingerQuiet, lingerMost
	if t.whole && t.gr == t.gw { // nothing more is known to come
		wait = idleGrace
		if !t.req.KeepAlive {
			f.close()
			return
		}
	}
	if t.abort || f.isCut || t.down.finish(&f.end) != nil {
		f.close()
		return
	}
	if f.service.draining.Load() {
		most = lingerQuiet
	}
	f.stage, t.quiet, t.partAt = parting, wait, f.loop.now.Add(most)
	f.until(wait)
	f.throw()
}

// throw reads once and forgets, so that a client that still sends its body can read the
// answer, and lets others go on before it reads again.
func (f *inbound) throw() {
	if !f.readable {
		return
	}
	n, err := f.read(f.loop.shared)
	if err == syscall.EAGAIN {
		return
	}
	t := f.task
	if err != nil || n <= 0 || f.loop.now >= t.partAt {
		f.close()
		return
	}
	f.until(min(t.quiet, t.partAt.Sub(f.loop.now)))
	if f.readable {
		f.loop.soon(&f.end)
	}
}

// close ends the connection, and whatever is under way on it. A task that is lent comes
// back to nobody.
func (f *inbound) close() {
	if f.stage == closed {
		return
	}
	f.detach()
	l, s := f.loop, f.service
	f.takeLeave()
	f.stage = closed
	l.wheel.drop(&f.timer)
	f.end.close()
	if t := f.task; t != nil {
		f.endMemoryWait()
		f.task = nil
		t.down.reset(l)
		t.up.reset(l)
		t.copied.reset(l)
		t.store.reset(l)
		l.putTask(t)
	}
	if b := f.branch; b != nil {
		b.free()
		return
	}
	s.left(l, f)
}

// takeLeave tells a client that speaks TLS that all has been said, if that is so.
func (f *inbound) takeLeave() {
	if f.sealed == nil || !f.isOpen() || f.isCut || !f.sent() {
		return
	}
	if t := f.task; t == nil || !t.abort && t.down.empty() {
		_, _ = f.fd.Send(f.sealed.farewell()) // what does not go is missed by nobody
	}
}

// gone ends the exchange and the connection: the client takes no more, or has left.
func (f *inbound) gone() {
	x := &f.task.exchange
	if x.started {
		x.gone()
	}
	f.abort()
}

// abort ends both when the exchange knows its end.
func (f *inbound) abort() {
	t := f.task
	t.abort = true
	f.detach()
	t.exchange.close()
	f.close()
}

// seat implements member.
func (f *inbound) seat() netip.Addr { return f.peer }

// hurry implements member: it gives a connection without a request a moment for one.
func (f *inbound) hurry() {
	switch {
	case f.stage != idling:
	case f.served:
		f.until(min(f.service.engine.edge.lastGrace(), f.service.listener.IdleTimeout))
	default:
		f.until(f.service.firstWait())
	}
}

// cutOff implements member: it ends the connection wherever it is.
func (f *inbound) cutOff() {
	f.isCut = true
	switch f.stage {
	case idling, heading, parting:
		f.close()
	case lent:
		f.recallAsk(errLeft)
	case gathering, linking, flushing:
		f.gone()
	case upgraded, severed:
		f.cutTunnel()
	}
}

// watchClient takes a client that has hung up for gone, and gives one that has closed its side
// a moment for the answer or, if it is to be answered whenever that is, finds out whether it is still there.
func (f *inbound) watchClient() {
	switch {
	case f.reset:
		f.leave()
	case f.hup && !f.leaving && !f.service.listener.HalfClosed.answers(f.task.req.KeepAlive):
		f.leaving = true
		f.task.leaveAt = f.loop.now.Add(leaveAfter)
		f.until(leaveAfter)
	case f.hup && !f.leaving:
		f.probeClient()
	}
}

// leave says that the client has left.
func (f *inbound) leave() {
	if f.stage == lent {
		f.recallAsk(errLeft)
		return
	}
	f.gone()
}

// leaveAfter is how long a client that has closed its side may still be there.
const leaveAfter = 50 * time.Millisecond

const (
	roomFirst = 4 << 10
	roomKept  = 16 << 10 // a larger buffer does not outlive its request
)

// silentTime is how long a client may say nothing once it has connected.
func (l *Listener) silentTime() time.Duration { return min(l.HeaderTimeout, l.IdleTimeout) }
