package edge

import (
	"io"
	"syscall"

	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/http1"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/poison"
)

// readResponse relays the response until the server or the client has to be waited for.
func (f *clientConn) readResponse() {
	t, l := f.req, f.worker
	for turn := l.NewTurn(); f.state == stateForwarding; turn.Spend(limits.TurnCall) {
		if clear, err := t.down.Flush(&f.Conn); err != nil {
			f.clientGone()
			return
		} else if !clear {
			break
		}
		b := f.server
		if !b.Readable {
			break
		}
		if turn.Over(clock.Now) {
			l.Defer(&f.Conn)
			break
		}
		if t.responseStarted && t.response.worthSplicing() && t.forwardState.r == t.forwardState.w && f.CanSplice() && f.server.CanSplice() {
			if f.spliceBody() {
				continue
			}
			break
		}
		l.prepareRead(&t.forwardState, &t.headPart)
		free := t.forwardState.in[t.forwardState.w:]
		n, err := b.Read(free[:f.readLimit(len(free))])
		switch {
		case err == syscall.EAGAIN:
			continue
		case err != nil || n == 0:
			f.serverEnded(err)
			return
		}
		t.forwardState.w += n
		t.exchange.serverSent(l.Now)
		f.handleResponse()
	}
	if f.IsOpen() && f.state == stateForwarding {
		t.down.ReleasePipe(&l.Loop)
		f.setLinkTimeout()
	}
}

// prepareRead readies the buffer for a read: the loop's own or, if part of something is kept, the one that has
// it.
func (l *worker) prepareRead(w *forwardState, private *[]byte) {
	if w.r == w.w {
		w.in, w.r, w.w = l.ReadBuf, headSpace, headSpace
		return
	}
	if w.w == len(w.in) {
		larger := make([]byte, 2*len(w.in))
		w.w = headSpace + copy(larger[headSpace:], w.in[w.r:w.w])
		w.r, w.in, *private = headSpace, larger, larger
	}
}

// retain moves unhandled bytes to where the loop's next read does not overwrite them.
func (l *worker) retain(w *forwardState, private *[]byte) {
	if w.r == w.w || &w.in[0] != &l.ReadBuf[0] {
		return
	}
	if need := headSpace + 2*(w.w-w.r); len(*private) < need {
		*private = make([]byte, max(need, headSpace+4<<10))
	}
	w.w = headSpace + copy((*private)[headSpace:], w.in[w.r:w.w])
	w.r, w.in = headSpace, *private
}

// handleResponse handles what has come from the server.
func (f *clientConn) handleResponse() {
	t := f.req
	for f.state == stateForwarding && !t.responseStarted {
		n, err := t.resp.Parse(t.forwardState.in[t.forwardState.r:t.forwardState.w], f.parseContext())
		switch {
		case err != nil:
			f.linkFailed(f.failure(err), err)
			return
		case n == 0:
			f.worker.retain(&t.forwardState, &t.headPart)
			return
		case !t.resp.Interim():
			t.respHead = n
			if err := t.checkSwitch(); err != nil {
				f.linkFailed(f.failure(err), err)
				return
			}
			f.startResponse()
			return
		}
		if t.interims++; t.interims > maxInterims {
			f.linkFailed(f.failure(errInterims), errInterims)
			return
		}
		f.passInterim()
		t.forwardState.r += n
		if t.forwardState.r == t.forwardState.w {
			return
		}
	}
	if f.state == stateForwarding {
		f.relayBody()
	}
}

// parseContext returns what the parser has to know of the request.
func (f *clientConn) parseContext() http1.Asked {
	asked := f.req.req.Asked(f.req.exchange.head.Upgrade)
	asked.Ended = f.server.Stream != nil && f.server.Stream.HeadOnly
	return asked
}

// passInterim passes on a 1xx response, which HTTP/1.0 clients do not understand.
func (f *clientConn) passInterim() {
	t := f.req
	if t.req.Minor == 0 {
		return
	}
	t.out = t.appendInterim(f.worker.headBuf)
	_, err := t.down.Write(&f.Conn, t.out)
	f.worker.putHeadBuf(&t.forwardState)
	if err != nil {
		f.clientGone()
	}
}

// startResponse begins to relay the response whose head has come.
func (f *clientConn) startResponse() {
	t := f.req
	t.bodyCopy.reset(f.worker)
	if t.responseStarted = true; f.server.Stream != nil {
		t.exchange.serverProto = routing.HTTPVersion2
	}
	f.bodyAnswered()
	t.beginResponse()
	if t.resp.Tunnel {
		f.startTunnel()
		return
	}
	t.rewrite.Framing = t.responseFraming()
	t.rewrite.Close = !t.isReceived() || t.forwardState.closing(f.service.draining.Load())
	t.out = t.resp.Append(f.worker.headBuf, t.forwardState.in[t.forwardState.r:t.forwardState.w], &t.rewrite)
	t.response.start(&t.forwardState)
	f.relayBody()
}

// isSent reports whether the whole request has gone to the server.
func (t *request) isSent() bool { return t.complete || t.bodySent }

// isReceived reports whether the whole request has come from the client.
func (t *request) isReceived() bool { return t.isSent() || t.bodyStore.begun && t.body.Done() }

// keepLeftover keeps in the buffer what has come behind the request.
func (t *request) keepLeftover() {
	switch {
	case t.complete || !t.isReceived():
		t.inputStart += t.head + t.bodyInBuf + t.trailerLen
		poison.Fill(t.input[:t.inputStart])
		return
	case len(t.leftover) > len(t.input):
		t.input = make([]byte, len(t.leftover))
	}
	poison.Fill(t.input)
	t.inputStart, t.inputEnd = 0, copy(t.input, t.leftover)
}

// relayBody relays what has come of the response.
func (f *clientConn) relayBody() {
	t, l := f.req, f.worker
	for {
		if t.response.headSent {
			t.out = l.headBuf
		}
		before, headed := t.forwardState.r, t.response.headSent
		out, err := t.response.step(&t.forwardState)
		if err != nil {
			if !headed { // the client sees a truncated response rather than none
				_, _ = t.down.Write(&f.Conn, t.out) // the connection ends in any case
			}
			f.worker.putHeadBuf(&t.forwardState)
			f.abortResponse(err)
			return
		}
		t.exchange.bytes = t.response.body.Size()
		done := t.response.isDone()
		if done {
			f.linkDone(t.forwardState.r == t.forwardState.w && t.response.framing == 0)
		}
		_, err = t.down.Write(&f.Conn, out)
		l.putHeadBuf(&t.forwardState)
		switch {
		case err != nil:
			f.clientGone()
			return
		case done:
			f.endResponse()
			return
		case t.forwardState.r == t.forwardState.w:
			return
		case t.forwardState.r == before && len(out) == 0:
			l.retain(&t.forwardState, &t.headPart)
			return
		}
	}
}

// spliceBody moves what has come of a long body into a pipe. It returns false if it has to wait or has ended.
func (f *clientConn) spliceBody() bool {
	t, b := f.req, f.server
	n, err := t.down.SpliceFrom(&b.Conn, t.response.body.Run())
	switch {
	case err == syscall.EAGAIN:
		return false
	case err == eventloop.ErrNoPipe && !t.down.HasPipe():
		return f.relayWithoutPipe()
	case err != nil:
		if err == io.EOF {
			err = nil
		}
		f.serverEnded(err)
		return false
	}
	t.exchange.serverSent(f.worker.Now)
	t.response.body.Skip(n)
	t.exchange.bytes = t.response.body.Size()
	if !t.response.isDone() {
		return true
	}
	f.linkDone(true)
	f.endResponse()
	return false
}

// relayWithoutPipe reads what would have gone through a pipe.
func (f *clientConn) relayWithoutPipe() bool {
	t := f.req
	f.worker.prepareRead(&t.forwardState, &t.headPart)
	n, err := f.server.Read(t.forwardState.in[t.forwardState.w:])
	if err == syscall.EAGAIN {
		return true
	}
	if err != nil || n == 0 {
		f.serverEnded(err)
		return false
	}
	t.forwardState.w += n
	f.relayBody()
	return f.state == stateForwarding
}

// serverEnded handles the end of the server's connection during the exchange; err is nil after an orderly
// close.
func (f *clientConn) serverEnded(err error) {
	t := f.req
	why := err
	if why == nil {
		why = io.EOF
	}
	if !t.responseStarted {
		failure := f.failure(why)
		failure.Kept = f.server.WasReused() && t.interims == 0 && t.forwardState.w == headSpace
		f.linkFailed(failure, why)
		return
	}
	if err == nil {
		t.out = f.worker.headBuf
		if out, early := t.response.serverClosed(&t.forwardState); early == nil {
			f.linkDone(false)
			_, err := t.down.Write(&f.Conn, out)
			f.worker.putHeadBuf(&t.forwardState)
			if err != nil {
				f.clientGone()
				return
			}
			f.endResponse()
			return
		}
		f.worker.putHeadBuf(&t.forwardState)
	}
	f.abortResponse(why)
}

// linkDone ends the link when the response is complete. good: nothing followed it.
func (f *clientConn) linkDone(good bool) {
	t, b := f.req, f.server
	t.exchange.linkDone()
	if good && t.resp.KeepAlive && t.isSent() && t.up.Empty(&b.Conn) && (!t.req.BodyUnlooked() || b.Stream != nil) {
		f.server = nil
		f.worker.servers.Put(b)
		return
	}
	if t.up.Empty(&b.Conn) {
		b.SendCloseNotify()
	}
	f.dropServer()
}

// endResponse keeps what belongs to the next request, and ends the exchange when all has been sent.
func (f *clientConn) endResponse() {
	t := f.req
	t.closeAfter = t.rewrite.Close || !t.isReceived() || t.rewrite.Framing == 0 && t.req.Minor == 0
	t.keepLeftover()
	t.uploading = false
	f.state = stateFlushing
	f.flush()
}

// abortResponse ends the exchange in the middle of the response.
func (f *clientConn) abortResponse(err error) {
	t := f.req
	if x := &t.exchange; !x.flight.Over() {
		x.linkFailed(flight.Failure{Sent: true, Begun: true}, err)
	}
	if t.req.Minor == 0 { // only a reset says that the end of the connection does not end the body
		f.FD.ResetOnClose()
	}
	f.abort()
}

// putHeadBuf frees the buffer for heads.
func (l *worker) putHeadBuf(w *forwardState) {
	if cap(w.out) > 0 && cap(w.out) <= maxHeadBuf {
		l.headBuf = w.out[:0]
	}
	w.out = nil
}
