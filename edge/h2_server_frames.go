package edge

import "github.com/evenkeel-lb/evenkeel/h2"

// What a client's frames ask for.

// onFrame does what a frame asks for. An error ends the connection.
func (k *h2ServerConn) onFrame(f *h2.Frame) error {
	switch {
	case !k.gotSettings && (f.Type != h2.Settings || f.Has(h2.Ack)):
		return &h2.Error{Code: h2.ProtocolError, Reason: "the first frame is not SETTINGS"}
	case k.block.stream != 0 && (f.Type != h2.Continuation || f.Stream != k.block.stream):
		return &h2.Error{Code: h2.ProtocolError, Reason: "a block of fields is broken off"}
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
	case h2.GoAway: // it takes no streams that we begin (RFC 9113, 6.8), and we begin none: its own go on
	}
	return nil
}

// onHeaders takes the fields of a request, or of its trailers.
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

// onContinuation takes more of them.
func (k *h2ServerConn) onContinuation(f *h2.Frame) error {
	b, whole, err := k.block.add(f, 2*max(k.service.listener.HeaderLimit, h2.FrameMost))
	if err != nil || !whole {
		return err
	}
	return k.decodeHeaders(b.stream, b.endStream, b.bytes)
}

// decodeHeaders unpacks a whole block. That must be done whatever becomes of it, since later
// ones refer to it.
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
		k.discarded.remove(stream) // trailers are its end
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

// openStream begins a request, unless it is refused.
func (k *h2ServerConn) openStream(stream uint32, ended bool, t *request) {
	text, err := k.head.End(ended)
	t.input = text[:cap(text)]
	switch {
	case k.state == h2ServerDraining && stream > k.finalID:
		k.recentResets.add(stream, streamWindow) // RFC 9113, 6.8: it has been told that nothing comes of it
	case err != nil:
		k.penalise(len(text))
		k.appendReset(stream, err.(*h2.Error).Code, streamWindow)
	case k.openStreams() >= streamsMost || len(k.streams) >= maxStreamsAborting:
		k.penalise(len(text))
		k.appendReset(stream, h2.RefusedStream, streamWindow)
	default:
		k.loop.newServerStream(k, stream, ended, t, len(text))
		return
	}
	k.loop.putRequest(t)
}

// openStreams is how many streams the client takes for open.
func (k *h2ServerConn) openStreams() (n int) {
	if len(k.streams) < streamsMost {
		return len(k.streams)
	}
	for _, b := range k.streams {
		if !b.ended {
			n++
		}
	}
	return n
}

// findStream returns the branch of a stream; nil: it is not open.
func (k *h2ServerConn) findStream(stream uint32) *h2ServerStream {
	for i := len(k.streams) - 1; i >= 0 && k.streams[i].id >= stream; i-- {
		if b := k.streams[i]; b.id == stream && !b.ended {
			return b
		}
	}
	return nil
}

// neverOpened reports whether a stream has never begun.
func (k *h2ServerConn) neverOpened(stream uint32) bool { return stream > k.lastID || stream%2 == 0 }

// penalise weighs a request of so many bytes that came to nothing by its client's fault.
func (k *h2ServerConn) penalise(n int) {
	k.penalty++
	k.wastedBytes += int64(n)
}

// appendReset ends a stream, of which no branch is left, or none has been. window is how many bytes of
// its body may still be on their way.
func (k *h2ServerConn) appendReset(stream uint32, c h2.Code, window int64) {
	k.markDirty()
	k.frames = h2.AppendReset(k.frames, stream, c)
	k.recentResets.add(stream, window)
}

// resetStream ends a stream for what its client did wrong. That weighs as if the client had given it up:
// to have a stream reset costs it no more, and the edge and a server as much.
func (k *h2ServerConn) resetStream(b *h2ServerStream, c h2.Code) {
	b.ended = true
	k.penalty += b.resetCost()
	k.appendReset(b.id, c, b.recvWindow)
	b.kill()
}

// resetCost is for how many frames that bring nothing a stream stands that its client has no use for.
func (b *h2ServerStream) resetCost() int {
	if b.endSent {
		return 1
	}
	return resetPenalty
}

// onReset ends a stream that its client has given up.
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

// onData takes a piece of a body.
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

// discardBody has what still comes of a stream's body read and forgotten, for a while. The stream was answered
// to its end.
func (k *h2ServerConn) discardBody(stream uint32, window int64) {
	if s, full := k.discarded.add(k.loop.now, stream, window); full {
		k.appendReset(s.id, h2.NoError, s.window)
	}
	k.schedule()
}

// onDiscardedData takes a piece of a body that nothing waits for.
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

// resetDiscarded ends the streams whose bodies have not come in time (RFC 9113, 8.1: the rest of the request is not
// wanted).
func (k *h2ServerConn) resetDiscarded() {
	for k.state <= h2ServerDraining {
		s, ok := k.discarded.takeExpired(k.loop.now)
		if !ok {
			return
		}
		k.appendReset(s.id, h2.NoError, s.window)
	}
}

// returnWindow lets the client send as many bytes again.
func (k *h2ServerConn) returnWindow(n int64) {
	if k.unacked += n; k.unacked >= windowUpdateAfter && k.state <= h2ServerDraining {
		k.markDirty()
		k.frames = h2.AppendWindowUpdate(k.frames, 0, uint32(k.unacked))
		k.recvWindow += k.unacked
		k.unacked = 0
	}
}

// onWindowUpdate lets more bytes go to the client.
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

// onSettings takes in what the client has chosen.
func (k *h2ServerConn) onSettings(f *h2.Frame) error {
	if f.Has(h2.Ack) {
		return nil
	}
	k.gotSettings = true
	first, _, err := k.applySettings(f, 0) // how many streams are its own affair: none is pushed
	if err != nil || first == k.initialWindow {
		return err
	}
	return k.setInitialWindow(first)
}

// setInitialWindow changes what one stream may take, of those that are open too (RFC 9113, 6.9.2).
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
