package proxy

import (
	"math/bits"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/bodies"
	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/h2conn"
	"github.com/evenkeel-lb/evenkeel/edge/kept"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/http1"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// clientConn is a client's connection. Without a request it has no buffer.
type clientConn struct {
	linkedConn
	peer    netip.Addr
	state   clientState
	served  bool // it has had a request before
	leaving bool // the client has closed its side; the response may still be sent for a moment
	killed  bool
	req     *request
	stream  *clientStream      // it is an HTTP/2 stream; nil: it is not
	away    *keptConn          // its client is away, and the request kept; nil: it is there
	shown   *routing.ClientTLS // what the client has shown by TLS; nil: nothing
	tunnel  *eventloop.Tunnel  // between client and server, once the connection is upgraded
}

// clientState is the state of a client's connection.
type clientState uint8

const (
	stateIdle          clientState = iota // nothing of a request has come
	stateReadingHead                      // part of a head has come
	stateBufferingBody                    // reading a body before a server is asked for
	stateWaiting                          // another goroutine uses the request: it picks, or resolves a name
	stateForwarding                       // connecting to a server, or relaying
	stateFlushing                         // the response is complete; some of it is not sent
	stateTunneling                        // relaying the bytes of either peer to the other
	stateTunnelClosing                    // the tunnel has ended; closing without loss
	stateLingering                        // all sent; what the client still sends is discarded
	stateClosed
)

// request is a request in progress, and what has come behind it.
type request struct {
	exchange.ForwardState
	requestInput
	requestUpload
	requestAnswer
	requestTimes
}

// requestInput is what was read from the client.
type requestInput struct {
	input                []byte // in input[inputStart:inputEnd]; the head stays in place until the exchange's last link has ended
	inputStart, inputEnd int
	leftover             []byte // bytes behind the body

	kept *kept.Request // the request is to be kept, and its body being read; nil: it is not
}

// requestUpload is how far the request has gone to the server.
type requestUpload struct {
	up         eventloop.SendBuffer
	useNewConn bool           // the request is sent again, over a new connection
	sent       bool           // the part of the request that was there
	uploading  bool           // the rest of the request body is still to come
	bodySent   bool           // the whole body has gone to the server
	trailing   http1.Trailers // of the request
	bodyRead   int64          // bytes of the body read behind input
	bodyCopy   bodies.Copy    // the part of them that can be sent again
	bodyStore  bodies.Store   // what was read of the body before a server was asked for
	pace       limits.Pace    // of the rest of the body
}

// requestAnswer is how far the response has come.
type requestAnswer struct {
	down            eventloop.SendBuffer
	headPart        []byte // buffer for a response head that comes in pieces
	response        exchange.ResponseBody
	interims        int
	probed          bool         // the client was sent FirstByte, to learn whether it is still there
	responseStarted bool         // the response's head is sent, or about to be
	headAlone       bool         // the response ends with its head, though its fields do not say so
	closeAfter      bool         // no other request follows
	stored          storedAnswer // to another request, which the client has come for
}

// requestTimes are the times of a request.
type requestTimes struct {
	waitingSince balance.Instant // when the current wait began
	clientGoneAt balance.Instant // when a client that has closed its side counts as gone
	lingerQuiet  time.Duration   // how long a client may be silent while lingering
	lingerUntil  balance.Instant // when lingering ends
	progress     progressTimer
	waiting      waitingTimer
}

// recycle readies the request for another connection.
func (t *request) recycle() {
	t.ForwardState.In, t.ForwardState.Out = nil, nil // the loop's own
	t.Reset()
	t.inputStart, t.inputEnd, t.responseStarted, t.headAlone = 0, 0, false, false
	if len(t.input) > maxKeptInput {
		t.input = nil
	}
	if len(t.headPart) > exchange.MaxInput {
		t.headPart = nil
	}
	t.trailing.Limits = http1.Limits{}
}

// addClient adds an accepted descriptor as a client's connection. tls is its TLS, if any, and shown what the
// client has shown by it; early was read of it already.
func (l *worker) addClient(s *listenerService, descriptor *fd.FD, peer netip.Addr, tls *eventloop.TLSConn, shown *routing.ClientTLS, early []byte) {
	f := &clientConn{linkedConn: linkedConn{worker: l, service: s}, peer: peer, shown: shown}
	f.Conn.Owner, f.Timer.Owner = f, f
	if err := l.Register(&f.Conn, descriptor, eventloop.Readiness); err != nil {
		s.clientGone(l, f)
		return
	}
	s.tracked[l][f] = struct{}{}
	f.UseTLS(tls)
	f.setTimeout(s.listener.SilentTime())
	if s.draining.Load() {
		f.beginDrain()
	}
	if len(early) > 0 {
		f.req = l.takeRequest()
		f.req.input = append(f.req.input[:0], early...)
		f.req.input, f.req.inputEnd = f.req.input[:cap(f.req.input)], len(early)
	}
	if f.req != nil || f.Readable {
		f.readHead()
	}
	if s.killed.Load() {
		f.Kill()
	}
}

// OnReady implements the conn's owner.
func (f *clientConn) OnReady() {
	switch f.state {
	case stateIdle, stateReadingHead:
		f.readHead()
	case stateBufferingBody:
		f.readBody()
	case stateWaiting:
		f.watchClient()
	case stateForwarding:
		f.pump()
	case stateFlushing:
		f.flush()
	case stateTunneling:
		f.pumpTunnel()
	case stateLingering:
		f.discardInput()
	}
}

// OnTimer implements the timer's owner.
func (f *clientConn) OnTimer() {
	switch f.state {
	case stateIdle:
		f.Readable = true // a byte that came at this moment counts
		f.readHead()
		if f.IsOpen() && f.state == stateIdle {
			f.close()
		}
	case stateReadingHead:
		f.refuseHead(os.ErrDeadlineExceeded)
	case stateBufferingBody:
		f.bodyLate()
	case stateWaiting:
		if f.leaving {
			f.cancelPick(exchange.ErrClientLeft)
		} else {
			f.cancelPick(exchange.ErrMasterSilent)
		}
	case stateForwarding:
		f.linkTimeout()
	case stateFlushing:
		f.clientGone()
	case stateTunnelClosing:
		f.closeTunnel()
	case stateLingering:
		f.close()
	}
}

// readHead reads until a request's head is complete. Nothing is read from a client that does not read its
// response.
func (f *clientConn) readHead() {
	if t := f.req; f.state == stateIdle && f.UnsentBytes() == 0 && t != nil && t.inputStart < t.inputEnd {
		f.parseHead() // what came behind the last request
	}
	for f.IsOpen() && f.Readable && f.UnsentBytes() == 0 && f.state <= stateReadingHead {
		t := f.req
		if t == nil {
			t = f.worker.takeRequest()
			f.req = t
		}
		n, err := f.readMore()
		switch {
		case err == syscall.EAGAIN:
			f.releaseRequest()
			return
		case err != nil || n == 0:
			f.close() // no request was sent
			return
		}
		f.parseHead()
	}
}

// readMore reads more input: first into the loop's buffer, since how much it is, and so what space the request
// needs, is only known then.
func (f *clientConn) readMore() (int, error) {
	t := f.req
	buf := f.worker.ReadBuf[:min(max(firstInput, len(t.input)), readSize)]
	n, err := f.Read(buf)
	if n > 0 {
		t.appendInput(buf[:n], f.state > stateReadingHead)
	}
	return n, err
}

// appendInput appends what was read, in a larger buffer if necessary. Input that is in use must not move
// within its buffer.
func (t *request) appendInput(p []byte, inUse bool) {
	if len(t.input)-t.inputEnd < len(p) {
		larger, need := t.input, t.inputEnd-t.inputStart+len(p)
		if inUse || need > len(t.input) {
			larger = make([]byte, max(minInput, 1<<bits.Len(uint(need-1))))
		}
		t.inputEnd = copy(larger, t.input[t.inputStart:t.inputEnd])
		t.inputStart, t.input = 0, larger
	}
	t.inputEnd += copy(t.input[t.inputEnd:], p)
}

// minInput fits most heads.
const minInput = 512

// releaseRequest frees the buffer of a connection without a request.
func (f *clientConn) releaseRequest() {
	if t := f.req; t != nil && f.state == stateIdle && t.inputStart == t.inputEnd {
		f.req = nil
		f.worker.putRequest(t)
	}
}

// parseHead begins the request if its head is complete.
func (f *clientConn) parseHead() {
	t := f.req
	if t.Req.Limits = f.service.listener.HeadLimits; f.away != nil {
		t.Req.Limits.Head, t.Req.Limits.Fields = t.Req.Limits.Head+keptHeadMore, t.Req.Limits.Fields+1
	}
	n, err := t.Req.Parse(t.input[t.inputStart:t.inputEnd])
	switch {
	case err != nil:
		f.refuseHead(err)
	case n > 0:
		f.openExchange(n)
	case f.state == stateIdle:
		f.state = stateReadingHead
		f.setTimeout(f.service.listener.HeaderTimeout)
	}
}

// keptHeadMore is how many bytes the head of a kept request may be longer than as it came.
const keptHeadMore = 512

// refuseHead answers a malformed head.
func (f *clientConn) refuseHead(err error) {
	t := f.req
	answer, detail, ok := exchange.Unreadable(err, t.inputEnd-t.inputStart)
	if !ok || f.killed {
		f.close()
		return
	}
	if f.stream != nil && answer.Status == http.StatusRequestHeaderFieldsTooLarge {
		f.stream.NoteOversized()
	}
	t.Complete = false
	t.Exchange.InitRefused(f.service.engine.deps, f.service.listener, f.peer, &t.Cancel)
	t.Exchange.SetGlimpse(t.input[t.inputStart:t.inputEnd])
	t.Exchange.GRPC = f.stream != nil && exchange.MayBeGRPC(t.input[t.inputStart:t.inputEnd])
	f.respond(answer, detail, true)
}

// respond sends the client an answer of the edge.
func (f *clientConn) respond(a flight.Answer, detail string, closing bool) {
	t, size := f.req, 0
	x := &t.Exchange
	detail = x.NoteAnswer(a, detail)
	if x.GRPC {
		t.Out, t.headAlone = exchange.AppendGRPCAnswer(f.worker.headBuf[:0], a, detail, x.ID), true
		x.Status, x.Code = http.StatusOK, exchange.GRPCCode(a)
		f.sendResponse(closing)
		return
	}
	// A malformed head may be that of HEAD. By HTTP/1 it is answered with a body all the same, since the
	// connection ends; an HTTP/2 stream cannot have one.
	headOnly := t.Req.Method == http1.MethodHead && (t.ReqHeaders.Buf != nil || f.stream != nil)
	t.Out, size = x.AppendProblem(f.worker.headBuf[:0], a, detail, headOnly, closing)
	x.Status, x.Bytes = a.Status, int64(size)
	f.sendResponse(closing)
}

// sendResponse sends out and ends the exchange.
func (f *clientConn) sendResponse(closing bool) {
	t := f.req
	f.state, t.closeAfter = stateFlushing, closing
	_, err := t.down.Write(&f.Conn, t.Out)
	f.worker.putHeadBuf(&t.ForwardState)
	if err != nil {
		f.clientGone()
		return
	}
	f.flush()
}

// flush ends the exchange once all has been sent to the client.
func (f *clientConn) flush() {
	t := f.req
	if t.stored.reader != nil && !f.sendStored() {
		return
	}
	switch clear, err := t.down.Flush(&f.Conn); {
	case err != nil:
		f.clientGone()
	case clear && t.stored.reader == nil && (!t.closeAfter || f.AllSent()):
		f.finishRequest()
	default:
		f.setTimeout(f.service.listener.IdleTimeout)
	}
}

// PendingBytes returns how many bytes of the response wait to be sent.
func (f *clientConn) PendingBytes() int { return int(f.req.down.PendingBytes()) }

// finishRequest ends the exchange, whose response has been sent.
func (f *clientConn) finishRequest() {
	t := f.req
	f.dropServer()
	t.Exchange.Finish()
	t.down.Discard(f.Loop)
	t.up.Discard(f.Loop)
	t.bodyCopy.Reset(&f.worker.bodies)
	t.bodyStore.Reset(&f.worker.bodies)
	f.dropKept()
	switch {
	case f.away != nil:
		f.away.finish()
		f.close()
		return
	case f.stream != nil:
		f.close() // the end of a stream, not of the client's connection
		return
	case t.closeAfter || t.Abortive:
		f.linger()
		return
	}
	f.state, f.served, f.leaving = stateIdle, true, false
	t.ForwardState.In = nil
	t.Reset()
	if f.setTimeout(f.service.listener.IdleTimeout); f.service.draining.Load() {
		f.beginDrain()
	}
	switch {
	case t.inputStart < t.inputEnd:
		f.worker.Defer(&f.Conn)
	case f.Readable:
		t.inputStart, t.inputEnd = 0, 0
		f.worker.Defer(&f.Conn)
	default:
		f.releaseRequest()
	}
}

// linger lets the client read the response: closing a socket with unread bytes resets it, and destroys what
// was just sent.
func (f *clientConn) linger() {
	t := f.req
	wait, most := h2conn.LingerQuiet, h2conn.MaxLinger
	if t.Complete && t.inputStart == t.inputEnd { // nothing more is known to come
		wait = idleGrace
		if !t.Req.KeepAlive {
			f.close()
			return
		}
	}
	if t.Abortive || f.killed || t.down.CloseWrite(&f.Conn) != nil {
		f.close()
		return
	}
	if f.service.draining.Load() {
		most = h2conn.LingerQuiet
	}
	f.state, t.lingerQuiet, t.lingerUntil = stateLingering, wait, f.worker.Now.Add(most)
	f.setTimeout(wait)
	f.discardInput()
}

// discardInput reads once and discards, so that a client that still sends its body can read the response; then
// other connections have a turn.
func (f *clientConn) discardInput() {
	if !f.Readable {
		return
	}
	n, err := f.Read(f.worker.ReadBuf)
	if err == syscall.EAGAIN {
		return
	}
	t := f.req
	if err != nil || n <= 0 || f.worker.Now >= t.lingerUntil {
		f.close()
		return
	}
	f.setTimeout(min(t.lingerQuiet, t.lingerUntil.Sub(f.worker.Now)))
	if f.Readable {
		f.worker.Defer(&f.Conn)
	}
}

// close ends the connection and its request. A request in another goroutine's hands is dropped when it comes
// back.
func (f *clientConn) close() {
	if f.state == stateClosed {
		return
	}
	f.dropServer()
	l, s := f.worker, f.service
	f.closeTLS()
	f.state = stateClosed
	l.Timers.Stop(&f.Timer)
	f.Conn.Close()
	if t := f.req; t != nil {
		f.endMemoryWait()
		f.dropKept()
		f.req = nil
		l.Timers.Stop(&t.waiting.Timer)
		t.down.Discard(&l.Loop)
		t.up.Discard(&l.Loop)
		t.bodyCopy.Reset(&l.bodies)
		t.bodyStore.Reset(&l.bodies)
		l.putRequest(t)
	}
	if b := f.stream; b != nil {
		b.recycle()
		return
	}
	if k := f.away; k != nil {
		k.closed()
		return
	}
	s.clientGone(l, f)
}

// closeTLS sends close_notify, if everything has been sent.
func (f *clientConn) closeTLS() {
	if f.TLS == nil || !f.IsOpen() || f.killed || !f.AllSent() {
		return
	}
	if t := f.req; t == nil || !t.Abortive && t.down.Empty(&f.Conn) {
		_, _ = f.FD.Send(f.TLS.CloseNotify()) // best effort
	}
}

// clientGone ends the exchange and the connection: the client reads no more, or has left.
func (f *clientConn) clientGone() {
	x := &f.req.Exchange
	if x.Started {
		x.ClientGone()
	}
	f.abort()
}

// abort ends both when the exchange has recorded its end.
func (f *clientConn) abort() {
	t := f.req
	t.Abortive = true
	f.dropServer()
	t.Exchange.Finish()
	f.close()
}

// limitAddr implements trackedConn.
func (f *clientConn) limitAddr() netip.Addr { return f.peer }

// beginDrain implements trackedConn: it gives an idle connection a moment for one more request.
func (f *clientConn) beginDrain() {
	switch {
	case f.state != stateIdle:
	case f.served:
		f.setTimeout(min(f.service.engine.lastGrace(), f.service.listener.IdleTimeout))
	default:
		f.setTimeout(f.service.firstWait())
	}
}

// Kill implements trackedConn: it ends the connection in any state.
func (f *clientConn) Kill() {
	f.killed = true
	switch f.state {
	case stateIdle, stateReadingHead, stateLingering:
		f.close()
	case stateWaiting:
		f.cancelPick(exchange.ErrClientLeft)
	case stateBufferingBody, stateForwarding, stateFlushing:
		f.clientGone()
	case stateTunneling, stateTunnelClosing:
		f.abortTunnel()
	}
}

// watchClient treats a client that has hung up as gone. One that has closed its side has a moment for the
// response or, if it is answered at any time, is probed.
func (f *clientConn) watchClient() {
	switch {
	case f.WasReset:
		f.clientLeft()
	case f.PeerClosed && !f.leaving && !f.service.listener.HalfClosed.Answers(f.req.Req.KeepAlive):
		f.leaving = true
		f.req.clientGoneAt = f.worker.Now.Add(LeaveAfter)
		f.setTimeout(LeaveAfter)
	case f.PeerClosed && !f.leaving:
		f.probeClient()
	}
}

// clientLeft handles that the client has left.
func (f *clientConn) clientLeft() {
	if f.state == stateWaiting {
		f.cancelPick(exchange.ErrClientLeft)
		return
	}
	f.clientGone()
}

// LeaveAfter is how long a client that has closed its side may still be there.
const LeaveAfter = 50 * time.Millisecond

const (
	firstInput   = 4 << 10
	maxKeptInput = 16 << 10 // larger buffers are not kept
)
