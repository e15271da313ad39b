package proxy

import (
	"io"
	"syscall"

	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
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
		if t.responseStarted && t.response.WorthSplicing() && t.ForwardState.R == t.ForwardState.W && f.CanSplice() && f.server.CanSplice() {
			if f.spliceBody() {
				continue
			}
			break
		}
		l.prepareRead(&t.ForwardState, &t.headPart)
		free := t.ForwardState.In[t.ForwardState.W:]
		n, err := b.Read(free[:f.readLimit(len(free))])
		switch {
		case err == syscall.EAGAIN:
			continue
		case err != nil || n == 0:
			f.serverEnded(err)
			return
		}
		t.ForwardState.W += n
		t.Exchange.ServerSent(l.Now)
		f.handleResponse()
	}
	if f.IsOpen() && f.state == stateForwarding {
		t.down.ReleasePipe(&l.Loop)
		f.setLinkTimeout()
	}
}

// prepareRead readies the buffer for a read: the loop's own or, if part of something is kept, the one that has
// it.
func (l *worker) prepareRead(w *exchange.ForwardState, private *[]byte) {
	if w.R == w.W {
		w.In, w.R, w.W = l.ReadBuf, exchange.HeadSpace, exchange.HeadSpace
		return
	}
	if w.W == len(w.In) {
		larger := make([]byte, 2*len(w.In))
		w.W = exchange.HeadSpace + copy(larger[exchange.HeadSpace:], w.In[w.R:w.W])
		w.R, w.In, *private = exchange.HeadSpace, larger, larger
	}
}

// retain moves unhandled bytes to where the loop's next read does not overwrite them.
func (l *worker) retain(w *exchange.ForwardState, private *[]byte) {
	if w.R == w.W || &w.In[0] != &l.ReadBuf[0] {
		return
	}
	if need := exchange.HeadSpace + 2*(w.W-w.R); len(*private) < need {
		*private = make([]byte, max(need, exchange.HeadSpace+4<<10))
	}
	w.W = exchange.HeadSpace + copy((*private)[exchange.HeadSpace:], w.In[w.R:w.W])
	w.R, w.In = exchange.HeadSpace, *private
}

// handleResponse handles what has come from the server.
func (f *clientConn) handleResponse() {
	t := f.req
	for f.state == stateForwarding && !t.responseStarted {
		n, err := t.Resp.Parse(t.ForwardState.In[t.ForwardState.R:t.ForwardState.W], f.parseContext())
		switch {
		case err != nil:
			f.linkFailed(f.failure(err), err)
			return
		case n == 0:
			f.worker.retain(&t.ForwardState, &t.headPart)
			return
		case !t.Resp.Interim():
			t.RespHead = n
			if err := t.CheckSwitch(); err != nil {
				f.linkFailed(f.failure(err), err)
				return
			}
			f.startResponse()
			return
		}
		if t.interims++; t.interims > exchange.MaxInterims {
			f.linkFailed(f.failure(exchange.ErrInterims), exchange.ErrInterims)
			return
		}
		f.passInterim()
		t.ForwardState.R += n
		if t.ForwardState.R == t.ForwardState.W {
			return
		}
	}
	if f.state == stateForwarding {
		f.relayBody()
	}
}

// parseContext returns what the parser has to know of the request.
func (f *clientConn) parseContext() http1.Asked {
	asked := f.req.Req.Asked(f.req.Exchange.Head.Upgrade)
	asked.Ended = f.server.Stream != nil && f.server.Stream.HeadOnly
	return asked
}

// passInterim passes on a 1xx response, which HTTP/1.0 clients do not understand.
func (f *clientConn) passInterim() {
	t := f.req
	if t.Req.Minor == 0 || f.away != nil {
		return
	}
	t.Out = t.AppendInterim(f.worker.headBuf)
	_, err := t.down.Write(&f.Conn, t.Out)
	f.worker.putHeadBuf(&t.ForwardState)
	if err != nil {
		f.clientGone()
	}
}

// startResponse begins to relay the response whose head has come.
func (f *clientConn) startResponse() {
	t := f.req
	t.bodyCopy.Reset(&f.worker.bodies)
	if t.responseStarted = true; f.server.Stream != nil {
		t.Exchange.ServerProto = routing.HTTPVersion2
	}
	f.bodyAnswered()
	t.BeginResponse()
	if t.Resp.Tunnel {
		f.startTunnel()
		return
	}
	t.Rewrite.Framing = t.ResponseFraming()
	t.Rewrite.Close = !t.isReceived() || t.ForwardState.Closing(f.service.draining.Load())
	t.Out = t.Resp.Append(f.worker.headBuf, t.ForwardState.In[t.ForwardState.R:t.ForwardState.W], &t.Rewrite)
	t.response.Start(&t.ForwardState)
	f.relayBody()
}

// isSent reports whether the whole request has gone to the server.
func (t *request) isSent() bool { return t.Complete || t.bodySent }

// isReceived reports whether the whole request has come from the client.
func (t *request) isReceived() bool { return t.isSent() || t.bodyStore.Begun && t.Body.Done() }

// keepLeftover keeps in the buffer what has come behind the request.
func (t *request) keepLeftover() {
	switch {
	case t.Complete || !t.isReceived():
		t.inputStart += t.Head + t.BodyInBuf + t.TrailerLen
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
		if t.response.HeadSent {
			t.Out = l.headBuf
		}
		before, headed := t.ForwardState.R, t.response.HeadSent
		out, err := t.response.Step(&t.ForwardState)
		if err != nil {
			if !headed { // the client sees a truncated response rather than none
				_, _ = t.down.Write(&f.Conn, t.Out) // the connection ends in any case
			}
			f.worker.putHeadBuf(&t.ForwardState)
			f.abortResponse(err)
			return
		}
		t.Exchange.Bytes = t.response.Body.Size()
		done := t.response.IsDone()
		if done {
			f.linkDone(t.ForwardState.R == t.ForwardState.W && t.response.Framing == 0)
		}
		_, err = t.down.Write(&f.Conn, out)
		l.putHeadBuf(&t.ForwardState)
		switch {
		case err != nil:
			f.clientGone()
			return
		case done:
			f.endResponse()
			return
		case t.ForwardState.R == t.ForwardState.W:
			return
		case t.ForwardState.R == before && len(out) == 0:
			l.retain(&t.ForwardState, &t.headPart)
			return
		}
	}
}

// spliceBody moves what has come of a long body into a pipe. It returns false if it has to wait or has ended.
func (f *clientConn) spliceBody() bool {
	t, b := f.req, f.server
	n, err := t.down.SpliceFrom(&b.Conn, t.response.Body.Run())
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
	t.Exchange.ServerSent(f.worker.Now)
	t.response.Body.Skip(n)
	t.Exchange.Bytes = t.response.Body.Size()
	if !t.response.IsDone() {
		return true
	}
	f.linkDone(true)
	f.endResponse()
	return false
}

// relayWithoutPipe reads what would have gone through a pipe.
func (f *clientConn) relayWithoutPipe() bool {
	t := f.req
	f.worker.prepareRead(&t.ForwardState, &t.headPart)
	n, err := f.server.Read(t.ForwardState.In[t.ForwardState.W:])
	if err == syscall.EAGAIN {
		return true
	}
	if err != nil || n == 0 {
		f.serverEnded(err)
		return false
	}
	t.ForwardState.W += n
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
		failure.Kept = f.server.WasReused() && t.interims == 0 && t.ForwardState.W == exchange.HeadSpace
		f.linkFailed(failure, why)
		return
	}
	if err == nil {
		t.Out = f.worker.headBuf
		if out, early := t.response.ServerClosed(&t.ForwardState); early == nil {
			f.linkDone(false)
			_, err := t.down.Write(&f.Conn, out)
			f.worker.putHeadBuf(&t.ForwardState)
			if err != nil {
				f.clientGone()
				return
			}
			f.endResponse()
			return
		}
		f.worker.putHeadBuf(&t.ForwardState)
	}
	f.abortResponse(why)
}

// linkDone ends the link when the response is complete. good: nothing followed it.
func (f *clientConn) linkDone(good bool) {
	t, b := f.req, f.server
	t.Exchange.LinkDone()
	if good && t.Resp.KeepAlive && t.isSent() && t.up.Empty(&b.Conn) && (!t.Req.BodyUnlooked() || b.Stream != nil) {
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
	t.closeAfter = t.Rewrite.Close || !t.isReceived() || t.Rewrite.Framing == 0 && t.Req.Minor == 0
	t.keepLeftover()
	t.uploading = false
	f.state = stateFlushing
	f.flush()
}

// abortResponse ends the exchange in the middle of the response.
func (f *clientConn) abortResponse(err error) {
	t := f.req
	if x := &t.Exchange; !x.Flight.Over() {
		x.LinkFailed(flight.Failure{Sent: true, Begun: true}, err)
	}
	if t.Req.Minor == 0 { // only a reset says that the end of the connection does not end the body
		f.FD.ResetOnClose()
	}
	f.abort()
}

// putHeadBuf frees the buffer for heads.
func (l *worker) putHeadBuf(w *exchange.ForwardState) {
	if cap(w.Out) > 0 && cap(w.Out) <= maxHeadBuf {
		l.headBuf = w.Out[:0]
	}
	w.Out = nil
}
