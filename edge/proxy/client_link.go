package proxy

import (
	"errors"
	"io"
	"os"
	"syscall"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/h2conn"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/edge/upstream"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/http1"
)

// openExchange begins the exchange of a request whose head has n bytes.
func (f *clientConn) openExchange(n int) {
	t := f.req
	t.SetHead(t.input[t.inputStart:t.inputEnd], n)
	t.Cancel.Reuse()
	t.sent, t.probed, t.responseStarted, t.uploading, t.bodySent, t.useNewConn, t.bodyRead, t.interims = false, false, false, false, false, false, 0, 0
	t.leftover = t.leftover[:0]
	f.setTimeout(0)
	t.ClientTLS = f.shown
	answer := t.OpenExchange(f.service.engine.deps, f.service.listener, f.peer)
	t.Exchange.Asker = f
	if answer.Status != 0 {
		t.inputStart += t.Head
		f.respond(answer, "", t.ClosingUnread(answer, f.service.draining.Load()))
		return
	}
	switch {
	case t.Exchange.AsksKept:
		f.answerKept()
	case t.WantsAsync():
		f.keepRequest()
	default:
		f.readBody()
	}
}

// readBody reads as much of the body as is read first, then asks for a server.
func (f *clientConn) readBody() {
	t := f.req
	switch {
	case f.away != nil:
		f.away.begin()
		return
	case t.kept != nil:
		f.keepBody()
		return
	}
	if t.Req.Framing != http1.NoBody && t.Exchange.Route.Buffers(t.Exchange.GRPC) {
		if f.bufferBody() {
			f.askForServer()
		}
		return
	}
	f.readSmallBody()
}

// askForServer begins the exchange's flight. As much of the body is there as is read first.
func (f *clientConn) askForServer() {
	f.state = stateForwarding
	f.takeStep(f.req.Start(f.req.bodyStore.Bufs, f.req.Complete || f.req.Body.Done()))
}

// readSmallBody reads a small body that may have to be sent again, where bodies are not read first.
func (f *clientConn) readSmallBody() {
	t := f.req
	for !t.MayFrame(t.inputEnd - t.inputStart) {
		f.state = stateBufferingBody
		if !f.Readable {
			f.setTimeout(f.service.listener.IdleTimeout)
			return
		}
		switch n, err := f.readMore(); {
		case err == syscall.EAGAIN:
		case err != nil:
			f.badBody(err)
			return
		case n == 0:
			f.badBody(io.EOF)
			return
		}
	}
	if err := t.Frame(t.input[t.inputStart:t.inputEnd], f.service.listener); err != nil {
		f.badBody(err)
		return
	}
	f.askForServer()
}

// badBody ends the exchange because the request body could not be read.
func (f *clientConn) badBody(err error) {
	t := f.req
	x := &t.Exchange
	if x.Started {
		x.ClientGone()
	}
	f.dropServer()
	if x.Status == 0 { // otherwise the response has begun
		if answer, detail, ok := exchange.Unusable(err); ok {
			f.respond(answer, detail, true)
			return
		}
	}
	f.abort()
}

// Ask implements exchange.Asker.
func (f *clientConn) Ask(x *exchange.Exchange) (answered bool, err error) {
	if f.away != nil {
		f.away.record.Wait()
	}
	if answered, err = f.ask(f, x); !answered {
		f.state = stateWaiting
		f.watchClient()
		if f.IsOpen() {
			f.req.waiting.start(f)
		}
	}
	return answered, err
}

// cancelPick cancels a pick or a dial.
func (f *clientConn) cancelPick(cause error) {
	f.worker.cancelPick(&f.req.Cancel, f.asyncPick, cause)
}

// onPick implements linker.
func (f *clientConn) onPick(grant balance.Grant, err error) {
	f.state = stateForwarding
	f.setTimeout(0)
	f.takeStep(f.req.Exchange.ResumePick(grant, err))
}

// takeStep takes the exchange's next step.
func (f *clientConn) takeStep(step flight.Step) {
	switch step.Do {
	case flight.Wait: // a message brings the answer
	case flight.Link:
		f.connectServer()
	default:
		f.respondLocally(step)
	}
}

// respondLocally ends an exchange without a server's response.
func (f *clientConn) respondLocally(step flight.Step) {
	t := f.req
	closing := !t.isReceived() || t.ForwardState.Closing(f.service.draining.Load())
	t.keepLeftover()
	switch step.Do {
	case flight.Respond:
		f.respond(step.Answer, "", closing)
	case flight.Redirect:
		t.Out = t.Exchange.Redirect(f.worker.headBuf[:0], closing)
		f.sendResponse(closing)
	default: // the client has left
		f.abort()
	}
}

// connectServer takes or makes a connection to the granted server.
func (f *clientConn) connectServer() {
	t, l := f.req, f.worker
	if t.Cancel.ClientLeft() {
		f.clientGone()
		return
	}
	if f.away != nil {
		f.away.record.Run(l.Now)
	}
	to := f.service.engine.targetOf(&t.Exchange)
	if t.Exchange.Route.ServerProtocol == routing.HTTP2 {
		f.openServerStream(to)
		return
	}
	var b *upstream.Conn
	if !t.useNewConn {
		b = l.servers.Get(to)
	}
	// A request that cannot be repeated is not sent over a connection whose end may have come in this
	// iteration, and none over one whose server has sent unasked bytes.
	for b != nil && !b.Fit(flight.Idempotent(t.Exchange.Head.Method)) {
		b.Drop()
		b = l.servers.Get(to)
	}
	f.state, t.waitingSince = stateForwarding, l.Now
	if b == nil {
		var err error
		switch b, err = f.dial(f, &t.Cancel, to); {
		case err != nil:
			f.linkFailed(notConnected(err), err)
			return
		case b == nil:
			f.state = stateWaiting
			f.watchClient()
			return
		}
	}
	f.setServer(b)
}

func (f *clientConn) setServer(b *upstream.Conn) {
	f.server, b.User, b.SentBefore = b, f, b.SentBytes
	f.pump()
}

// openServerStream opens a stream to the granted server.
func (f *clientConn) openServerStream(to upstream.Target) {
	t, l := f.req, f.worker
	f.state, t.waitingSince = stateForwarding, l.Now
	b, err := l.servers.OpenStream(to, upstream.ServerRef{Pool: t.Exchange.AskedPool(), Server: t.Exchange.Grant.Server}, !flight.Idempotent(t.Exchange.Head.Method))
	if err != nil {
		f.linkFailed(notConnected(err), err)
		return
	}
	f.setServer(b)
}

// onDialled implements linker.
func (f *clientConn) onDialled(b *upstream.Conn, err error) {
	f.state = stateForwarding
	switch {
	case err != nil:
		f.linkFailed(notConnected(err), err)
	case f.req.Cancel.ClientLeft(): // nothing was sent
		b.Drop()
		f.clientGone()
	default:
		b.Writable = true
		f.setServer(b)
	}
}

// dropServer closes the server connection, which is not reusable.
func (f *clientConn) dropServer() {
	if b := f.server; b != nil {
		f.server, b.User = nil, nil
		b.Drop()
	}
}

// TryAnother implements upstream.User.
func (f *clientConn) TryAnother() {
	f.dropServer()
	f.connectServer()
}

// pump moves the request to the server and the response to the client, as far as possible now.
func (f *clientConn) pump() {
	t, b := f.req, f.server
	stands, err := b.IsConnected()
	switch {
	case err == h2conn.ErrNotTaken:
		f.linkFailed(f.failure(err), err)
	case err != nil:
		f.linkFailed(notConnected(err), err)
	case !stands:
		f.setLinkTimeout()
	case t.sent || f.sendRequest():
		if !t.uploading || f.uploadBody() {
			f.readResponse()
		}
	}
}

// sendRequest sends what is there of the request. It returns false if that failed.
func (f *clientConn) sendRequest() bool {
	t, b, l := f.req, f.server, f.worker
	if err := f.rewind(); err != nil {
		f.badBody(err)
		return false
	}
	t.Out = l.headBuf
	if b.Stream != nil {
		t.beginStream(b.Stream)
	} else {
		t.Compose()
	}
	t.Out = t.composeStored(t.Out)
	_, err := t.up.Write(&b.Conn, t.Out)
	l.putHeadBuf(&t.ForwardState)
	switch {
	case err == nil:
	case b.WasReused() && !f.maySent(): // the server had closed it
		f.dropServer()
		t.up.Discard(&l.Loop)
		f.connectServer()
		return false
	default:
		f.linkFailed(flight.Failure{Sent: f.maySent()}, os.NewSyscallError("write", err))
		return false
	}
	t.sent, t.uploading, t.waitingSince = true, !t.Complete || !t.up.Empty(&b.Conn), l.Now
	t.pace.Stop()
	t.ForwardState.In, t.ForwardState.R, t.ForwardState.W = l.ReadBuf, exchange.HeadSpace, exchange.HeadSpace
	t.progress.start(f)
	t.AwaitResponse()
	if !t.Complete && !t.bodyStore.Holds() {
		t.leftover = append(t.leftover[:0], t.Buf[t.Head+t.BodyInBuf:]...)
	}
	return true
}

// beginStream opens a server's stream with the request's head, and composes what has come of the body.
func (t *request) beginStream(s *h2conn.ClientStream) {
	x := &t.Exchange
	if t.Out = t.Out[:0]; x.NewPath {
		t.Out = append(t.Out, x.Head.Target...)
	} else {
		t.Out = t.Req.AppendTarget(t.Out, t.Buf)
	}
	target := len(t.Out)
	adds := exchange.HeaderLines{Text: t.Out}
	x.AppendRequestHeaders(&adds)
	s.Begin(&h2conn.Request{Head: &t.Req, Buf: t.Buf, Target: adds.Text[:target], Drop: x.RequestDrops(), Add: adds.Text[target:], NoLength: t.IsHTTP2})
	t.Out = adds.Text[:0]
	t.ComposeBody()
}

// linkFailed handles a failed link.
func (f *clientConn) linkFailed(why flight.Failure, err error) {
	t := f.req
	f.dropServer()
	t.up.Discard(f.Loop)
	t.sent, t.uploading, t.bodySent = false, false, false
	f.state = stateForwarding
	step := t.Exchange.LinkFailed(why, err)
	t.useNewConn = step.Do == flight.Link
	f.takeStep(step)
}

// maySent reports whether the server may have part of the request. What counts is what the socket has taken,
// not what was written: that may wait for the socket.
func (f *clientConn) maySent() bool {
	b := f.server
	if b.Stream != nil {
		return f.req.sent && !b.Stream.NothingSent
	}
	return b.MayHaveSent(b.SentBefore)
}

// failure describes a link that broke before its response.
func (f *clientConn) failure(err error) flight.Failure {
	t := f.req
	notTaken := err == h2conn.ErrNotTaken
	return flight.Failure{
		Sent:     !notTaken && f.maySent(),
		Spent:    f.away == nil && t.cannotResend(),
		Late:     errors.Is(err, os.ErrDeadlineExceeded),
		NotTaken: notTaken,
		Kept:     notTaken && f.server.WasReused(),
	}
}

// setLinkTimeout sets the timer for the next expected event.
func (f *clientConn) setLinkTimeout() {
	t, b, l := f.req, f.server, f.worker
	if !t.uploading || f.WasReset { // what a client sent before it closed its side may still be passed on
		f.watchClient()
		if !f.IsOpen() {
			return
		}
	}
	idle, due := f.service.listener.IdleTimeout, balance.Instant(0)
	switch cfg := &f.service.engine.cfg; {
	case b.Connecting:
		due = t.waitingSince.Add(cfg.ConnectTimeout)
	case !t.down.Empty(&f.Conn) || !t.up.Empty(&b.Conn):
		due = l.Now.Add(idle)
		t.pace.Stop()
	case t.uploading && f.stream != nil && f.stream.Chunked: // both may have a conversation, with pauses
		due = f.paceDue()
	case t.uploading:
		if due = t.waitingSince.Add(idle); f.paceDue() != 0 {
			due = min(due, f.paceDue())
		}
	case !t.responseStarted && cfg.ResponseTimeout > 0:
		due = t.waitingSince.Add(cfg.ResponseTimeout)
	}
	if f.leaving && (due == 0 || t.clientGoneAt < due) {
		due = t.clientGoneAt
	}
	l.Timers.Set(&f.Timer, due)
}

// linkTimeout handles the timeout of a link.
func (f *clientConn) linkTimeout() {
	t := f.req
	switch {
	case f.leaving && f.worker.Now >= t.clientGoneAt:
		f.clientLeft()
	case f.server.Connecting:
		f.linkFailed(flight.Failure{Unreachable: true}, os.ErrDeadlineExceeded)
	case !t.down.Empty(&f.Conn):
		f.clientGone()
	case t.uploading && t.pace.Over(f.worker.Now):
		if f.keepsPace(&t.pace) {
			f.setLinkTimeout()
		} else {
			f.badBody(os.ErrDeadlineExceeded)
		}
	case t.responseStarted:
		f.abortResponse(os.ErrDeadlineExceeded)
	case t.uploading && t.up.Empty(&f.server.Conn):
		f.badBody(os.ErrDeadlineExceeded)
	default:
		f.linkFailed(f.failure(os.ErrDeadlineExceeded), os.ErrDeadlineExceeded)
	}
}
