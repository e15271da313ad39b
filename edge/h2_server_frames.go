package edge

import "github.com/evenkeel-lb/evenkeel/h2"

// A client's frames.

// onFrame handles a frame. An error ends the connection.
func (k *h2ServerConn) onFrame(f *h2.Frame) error {
	switch {
	case !k.gotSettings && (f.Type != h2.Settings || f.Has(h2.Ack)):
		return &h2.Error{Code: h2.ProtocolError, Reason: "the first frame is not SETTINGS"}
	case k.block.stream != 0 && (f.Type != h2.Continuation || f.Stream != k.block.stream):
		return &h2.Error{Code: h2.ProtocolError, Reason: "a header block is interrupted"}
	}
	switch f.Type {
	case h2.Data:
		return k.onData(f)
	case h2.Headers:
		return k.onHeaders(f)
	case h2.Continuation:
		return k.onContinuation(f)
	case h2.RSTStream:
		return k.onReset(f)
	case h2.WindowUpdate:
		return k.onWindowUpdate(f)
	case h2.Settings:
		return k.onSettings(f)
	case h2.Ping:
		if !f.Has(h2.Ack) {
			k.markDirty()
			k.frames = h2.AppendPing(k.frames, f.Payload, h2.Ack)
		}
	case h2.GoAway: // for streams that we open (RFC 9113, 6.8), and we open none: the client's own continue
	}
	return nil
}

// onHeaders handles HEADERS: a request or trailers.
func (k *h2ServerConn) onHeaders(f *h2.Frame) error {
	if f.Stream%2 == 0 {
		return &h2.Error{Code: h2.ProtocolError, Reason: "a client begins streams with odd numbers only"}
	}
	if f.Has(h2.EndHeaders) {
		return k.decodeHeaders(f.Stream, f.Has(h2.EndStream), f.Payload)
	}
	k.block.start(f, k.loop.now)
	return nil
}

// onContinuation handles CONTINUATION.
func (k *h2ServerConn) onContinuation(f *h2.Frame) error {
	b, whole, err := k.block.add(f, 2*max(k.service.listener.HeaderLimit, h2.FrameMost))
	if err != nil || !whole {
		return err
	}
	return k.decodeHeaders(b.stream, b.endStream, b.bytes)
}

// decodeHeaders decodes a whole block. That has to be done in any case, because later blocks refer to it.
func (k *h2ServerConn) decodeHeaders(stream uint32, ended bool, packed []byte) error {
	k.head.Limit = k.service.listener.HeaderLimit
	b := k.findStream(stream)
	switch {
	case b != nil:
		k.head.BeginTrailers(append(b.tail[:0], "0\r\n"...))
	case stream > k.lastID:
		t := k.loop.takeRequest()
		k.head.Begin(t.input[:0])
		if err := decodeBlock(k.decoder, packed); err != nil {
			k.loop.putRequest(t)
			return err
		}
		k.lastID = stream
		k.openStream(stream, ended, t)
		if k.oversized > maxOversized {
			return &h2.Error{Code: h2.EnhanceYourCalm, Reason: "requests with larger or more fields than are taken, one after another"}
		}
		return nil
	case k.recentResets.find(stream) != nil, k.discarded.find(stream) != nil:
		k.discarded.remove(stream) // trailers end it
		k.wastedBytes += int64(len(packed))
		k.head.BeginTrailers(nil)
		return decodeBlock(k.decoder, packed)
	default:
		return &h2.Error{Code: h2.StreamClosed, Reason: "HEADERS of a stream that has ended"}
	}
	if err := decodeBlock(k.decoder, packed); err != nil {
		return err
	}
	text, err := k.head.End(ended)
	b.tail = text
	switch {
	case b.complete:
		k.resetStream(b, h2.StreamClosed)
	case err != nil || !ended:
		k.resetStream(b, h2.ProtocolError)
	default:
		b.endRequest(text)
	}
	return nil
}

// openStream begins a request or refuses it.
func (k *h2ServerConn) openStream(stream uint32, ended bool, t *request) {
	text, err := k.head.End(ended)
	t.input = text[:cap(text)]
	switch {
	case k.state == h2ServerDraining && stream > k.finalID:
		k.recentResets.add(stream, streamWindow) // RFC 9113, 6.8: GOAWAY has told the client that it is not processed
	case err != nil:
		k.penalise(len(text))
		k.appendReset(stream, err.(*h2.Error).Code, streamWindow)
	case k.openStreams() >= maxStreams || len(k.streams) >= maxStreamsAborting:
		k.penalise(len(text))
		k.appendReset(stream, h2.RefusedStream, streamWindow)
	default:
		k.loop.newServerStream(k, stream, ended, t, len(text))
		return
	}
	k.loop.putRequest(t)
}

// openStreams returns how many streams are open for the client.
func (k *h2ServerConn) openStreams() (n int) {
	if len(k.streams) < maxStreams {
		return len(k.streams)
	}
	for _, b := range k.streams {
		if !b.ended {
			n++
		}
	}
	return n
}

// findStream returns an open stream, or nil.
func (k *h2ServerConn) findStream(stream uint32) *h2ServerStream {
	for i := len(k.streams) - 1; i >= 0 && k.streams[i].id >= stream; i-- {
		if b := k.streams[i]; b.id == stream && !b.ended {
			return b
		}
	}
	return nil
}

// neverOpened reports whether a stream has never been opened.
func (k *h2ServerConn) neverOpened(stream uint32) bool { return stream > k.lastID || stream%2 == 0 }

// penalise charges a request of n bytes that its client has wasted.
func (k *h2ServerConn) penalise(n int) {
	k.penalty++
	k.wastedBytes += int64(n)
}

// appendReset resets a stream that has no state, or none any more. window is how many bytes of its body may
// still be on their way.
func (k *h2ServerConn) appendReset(stream uint32, c h2.Code, window int64) {
	k.markDirty()
	k.frames = h2.AppendReset(k.frames, stream, c)
	k.recentResets.add(stream, window)
}

// resetStream resets a stream because the client broke the protocol. It is charged like a reset by the client,
// which costs the client no more and the edge and a server as much.
func (k *h2ServerConn) resetStream(b *h2ServerStream, c h2.Code) {
	b.ended = true
	k.penalty += b.resetCost()
	k.appendReset(b.id, c, b.recvWindow)
	b.kill()
}

// resetCost returns the charge for a wasted stream, in frames that make no progress.
func (b *h2ServerStream) resetCost() int {
	if b.endSent {
		return 1
	}
	return resetPenalty
}

// onReset handles RST_STREAM.
func (k *h2ServerConn) onReset(f *h2.Frame) error {
	if k.neverOpened(f.Stream) {
		return &h2.Error{Code: h2.ProtocolError, Reason: "RST_STREAM of a stream that has not begun"}
	}
	k.discarded.remove(f.Stream)
	if b := k.findStream(f.Stream); b != nil {
		if !b.endSent {
			k.penalty += b.resetCost()
		}
		b.ended = true
		b.kill()
	}
	return nil
}

// onData handles DATA.
func (k *h2ServerConn) onData(f *h2.Frame) error {
	b := k.findStream(f.Stream)
	if k.recvWindow -= int64(f.Size); k.recvWindow < 0 {
		return &h2.Error{Code: h2.FlowControlError, Reason: "more bytes than the connection's window lets through"}
	}
	switch {
	case b != nil && !b.complete:
		k.served = k.served || len(f.Payload) > 0 // a body is worth large reads
		k.returnWindow(int64(f.Size - len(f.Payload)))
		b.onData(f)
		return nil
	case k.neverOpened(f.Stream):
		return &h2.Error{Code: h2.ProtocolError, Reason: "DATA of a stream that has not begun"}
	}
	k.wastedBytes += int64(f.Size)
	if u := k.discarded.find(f.Stream); u != nil {
		return k.onDiscardedData(u, f)
	}
	switch s := k.recentResets.find(f.Stream); {
	case b != nil:
		k.resetStream(b, h2.StreamClosed)
	case s == nil:
		k.penalty++
		k.appendReset(f.Stream, h2.StreamClosed, 0)
	case s.consume(int64(f.Size)):
		k.returnWindow(int64(f.Size)) // it was on its way
	default:
		return &h2.Error{Code: h2.FlowControlError, Reason: "more bytes than the window of a stream that has ended lets through"}
	}
	return nil
}

// discardBody has the rest of a stream's body read and discarded for a while. The stream has been answered to
// its end.
func (k *h2ServerConn) discardBody(stream uint32, window int64) {
	if s, full := k.discarded.add(k.loop.now, stream, window); full {
		k.appendReset(s.id, h2.NoError, s.window)
	}
	k.schedule()
}

// onDiscardedData handles DATA of a discarded body.
func (k *h2ServerConn) onDiscardedData(u *discardedStream, f *h2.Frame) error {
	more, ok := u.consume(k.loop.now, int64(f.Size))
	switch {
	case !ok:
		return &h2.Error{Code: h2.FlowControlError, Reason: "more bytes than the window of a stream that has ended lets through"}
	case f.Has(h2.EndStream):
		k.discarded.remove(f.Stream)
	case more > 0:
		k.markDirty()
		k.frames = h2.AppendWindowUpdate(k.frames, f.Stream, uint32(more))
	}
	k.returnWindow(int64(f.Size))
	return nil
}

// resetDiscarded resets streams whose bodies have not come in time (RFC 9113, 8.1: NO_ERROR, the rest of the
// request is not needed).
func (k *h2ServerConn) resetDiscarded() {
	for k.state <= h2ServerDraining {
		s, ok := k.discarded.takeExpired(k.loop.now)
		if !ok {
			return
		}
		k.appendReset(s.id, h2.NoError, s.window)
	}
}

// returnWindow returns n bytes to the connection's window.
func (k *h2ServerConn) returnWindow(n int64) {
	if k.unacked += n; k.unacked >= windowUpdateAfter && k.state <= h2ServerDraining {
		k.markDirty()
		k.frames = h2.AppendWindowUpdate(k.frames, 0, uint32(k.unacked))
		k.recvWindow += k.unacked
		k.unacked = 0
	}
}

// onWindowUpdate handles WINDOW_UPDATE.
func (k *h2ServerConn) onWindowUpdate(f *h2.Frame) error {
	n := int64(f.Number())
	if f.Stream == 0 {
		if err := growWindow(&k.sendWindow, n); err != nil {
			return err
		}
		k.resumeWriters()
		return nil
	}
	b := k.findStream(f.Stream)
	switch {
	case k.neverOpened(f.Stream):
		return &h2.Error{Code: h2.ProtocolError, Reason: "WINDOW_UPDATE of a stream that has not begun"}
	case b == nil: // its end may have been on its way
		return nil
	}
	if err := growWindow(&b.sendWindow, n); err != nil {
		k.resetStream(b, err.Code)
		return nil
	}
	b.resumeWriter()
	return nil
}

// onSettings handles SETTINGS.
func (k *h2ServerConn) onSettings(f *h2.Frame) error {
	if f.Has(h2.Ack) {
		return nil
	}
	k.gotSettings = true
	first, _, err := k.applySettings(f, 0) // MAX_CONCURRENT_STREAMS does not matter: nothing is pushed
	if err != nil || first == k.initialWindow {
		return err
	}
	return k.setInitialWindow(first)
}

// setInitialWindow changes the initial window, also of open streams (RFC 9113, 6.9.2).
func (k *h2ServerConn) setInitialWindow(first int64) error {
	for _, b := range k.streams {
		if err := shiftWindow(&b.sendWindow, first-k.initialWindow); err != nil {
			return err
		}
	}
	k.initialWindow = first
	k.resumeWriters()
	return nil
}
