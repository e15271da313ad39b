package h2conn

import "github.com/evenkeel-lb/evenkeel/h2"

// A client's frames.

// onFrame implements role.
func (k *ServerConn) onFrame(f *h2.Frame) error {
	k.countFrame(f)
	switch {
	case !k.gotSettings && (f.Type != h2.Settings || f.Has(h2.Ack)):
		return &h2.Error{Code: h2.ProtocolError, Reason: "the first frame is not SETTINGS"}
	case k.isInterrupted(f):
		return errInterrupted
	case f.Type == h2.Headers && f.Stream%2 == 0:
		return &h2.Error{Code: h2.ProtocolError, Reason: "a client begins streams with odd numbers only"}
	}
	switch f.Type {
	case h2.Data:
		return k.onData(f)
	case h2.RSTStream:
		return k.onReset(f)
	case h2.WindowUpdate:
		return k.onWindowUpdate(f)
	case h2.Settings:
		return k.onSettings(f)
	}
	// GOAWAY is for streams that we open (RFC 9113, 6.8), and we open none: the client's own continue.
	return k.onCommonFrame(f, 2*max(k.cfg.HeaderLimit, h2.FrameMost))
}

// decodeHeaders implements role.
func (k *ServerConn) decodeHeaders(stream uint32, ended bool, packed []byte) error {
	b := k.findStream(stream)
	switch {
	case b != nil:
		k.head.BeginTrailers(append(b.tail[:0], "0\r\n"...))
	case stream > k.lastID:
		k.head.Begin(k.shared.requestHead[:0])
		if err := decodeBlock(k.decoder, packed); err != nil {
			return err
		}
		k.lastID = stream
		k.openStream(stream, ended)
		if k.oversized > maxOversized {
			return &h2.Error{Code: h2.EnhanceYourCalm, Reason: "requests with larger or more fields than are taken, one after another"}
		}
		return nil
	case k.recentResets.find(stream) != nil, k.discarded.find(stream) != nil:
		k.discarded.remove(stream) // trailers end it
		k.useful -= int64(len(packed))
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
	case b.Complete:
		k.resetStream(b, h2.StreamClosed)
	case err != nil || !ended:
		k.resetStream(b, h2.ProtocolError)
	default:
		b.endRequest(text)
	}
	return nil
}

// keepHead keeps the buffer of a request's head for the next one.
func (l *Shared) keepHead(text []byte) {
	if cap(text) <= maxKeptHead {
		l.requestHead = text
	}
}

const maxKeptHead = 64 << 10 // larger buffers are not kept

// openStream begins a request or refuses it.
func (k *ServerConn) openStream(stream uint32, ended bool) {
	text, err := k.head.End(ended)
	k.shared.keepHead(text)
	switch {
	case k.state == serverDraining && stream > k.finalID:
		k.recentResets.add(stream, StreamWindow) // RFC 9113, 6.8: GOAWAY has told the client that it is not processed
	case err != nil:
		k.penalise(len(text))
		k.appendReset(stream, err.(*h2.Error).Code, StreamWindow)
	case k.openStreams() >= MaxStreams || len(k.streams) >= maxStreamsAborting:
		k.penalise(len(text))
		k.appendReset(stream, h2.RefusedStream, StreamWindow)
	default:
		k.handler.NewStream(Opening{k, stream, ended}, text)
	}
}

// openStreams returns how many streams are open for the client.
func (k *ServerConn) openStreams() (n int) {
	if len(k.streams) < MaxStreams {
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
func (k *ServerConn) findStream(stream uint32) *ServerStream {
	for i := len(k.streams) - 1; i >= 0 && k.streams[i].id >= stream; i-- {
		if b := k.streams[i]; b.id == stream && !b.ended {
			return b
		}
	}
	return nil
}

// neverOpened reports whether a stream has never been opened.
func (k *ServerConn) neverOpened(stream uint32) bool { return stream > k.lastID || stream%2 == 0 }

// penalise charges a request of n bytes that its client has wasted.
func (k *ServerConn) penalise(n int) {
	k.penalty++
	k.useful -= int64(n)
}

// appendReset resets a stream that has no state, or none any more. window is how many bytes of its body may
// still be on their way.
func (k *ServerConn) appendReset(stream uint32, c h2.Code, window int64) {
	k.markDirty()
	k.frames = h2.AppendReset(k.frames, stream, c)
	k.recentResets.add(stream, window)
}

// resetStream resets a stream because the client broke the protocol. It is charged like a reset by the client,
// which costs the client no more and the edge and a server as much.
func (k *ServerConn) resetStream(b *ServerStream, c h2.Code) {
	b.ended = true
	k.penalty += b.resetCost()
	k.appendReset(b.id, c, b.recvWindow)
	b.user.Kill()
}

// resetCost returns the charge for a wasted stream, in frames that make no progress.
func (b *ServerStream) resetCost() int {
	if b.endSent {
		return 1
	}
	return resetPenalty
}

// onReset handles RST_STREAM.
func (k *ServerConn) onReset(f *h2.Frame) error {
	if k.neverOpened(f.Stream) {
		return &h2.Error{Code: h2.ProtocolError, Reason: "RST_STREAM of a stream that has not begun"}
	}
	k.discarded.remove(f.Stream)
	if b := k.findStream(f.Stream); b != nil {
		if !b.endSent {
			k.penalty += b.resetCost()
		}
		b.ended = true
		b.user.Kill()
	}
	return nil
}

// onData handles DATA.
func (k *ServerConn) onData(f *h2.Frame) error {
	b := k.findStream(f.Stream)
	if err := k.takeWindow(f.Size); err != nil {
		return err
	}
	switch {
	case b != nil && !b.Complete:
		k.served = k.served || len(f.Payload) > 0 // a body is worth large reads
		k.returnWindow(int64(f.Size-len(f.Payload)), windowUpdateAfter)
		b.onData(f)
		return nil
	case k.neverOpened(f.Stream):
		return &h2.Error{Code: h2.ProtocolError, Reason: "DATA of a stream that has not begun"}
	}
	k.useful -= int64(f.Size)
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
		k.returnWindow(int64(f.Size), windowUpdateAfter) // it was on its way
	default:
		return &h2.Error{Code: h2.FlowControlError, Reason: "more bytes than the window of a stream that has ended lets through"}
	}
	return nil
}

// discardBody has the rest of a stream's body read and discarded for a while. The stream has been answered to
// its end.
func (k *ServerConn) discardBody(stream uint32, window int64) {
	if s, full := k.discarded.add(k.Loop.Now, stream, window); full {
		k.appendReset(s.id, h2.NoError, s.window)
	}
	k.schedule()
}

// onDiscardedData handles DATA of a discarded body.
func (k *ServerConn) onDiscardedData(u *discardedStream, f *h2.Frame) error {
	more, ok := u.consume(k.Loop.Now, int64(f.Size))
	switch {
	case !ok:
		return &h2.Error{Code: h2.FlowControlError, Reason: "more bytes than the window of a stream that has ended lets through"}
	case f.Has(h2.EndStream):
		k.discarded.remove(f.Stream)
	case more > 0:
		k.markDirty()
		k.frames = h2.AppendWindowUpdate(k.frames, f.Stream, uint32(more))
	}
	k.returnWindow(int64(f.Size), windowUpdateAfter)
	return nil
}

// resetDiscarded resets streams whose bodies have not come in time (RFC 9113, 8.1: NO_ERROR, the rest of the
// request is not needed).
func (k *ServerConn) resetDiscarded() {
	for !k.inputOver {
		s, ok := k.discarded.takeExpired(k.Loop.Now)
		if !ok {
			return
		}
		k.appendReset(s.id, h2.NoError, s.window)
	}
}

// onWindowUpdate handles WINDOW_UPDATE.
func (k *ServerConn) onWindowUpdate(f *h2.Frame) error {
	n := int64(f.Number())
	if f.Stream == 0 {
		return k.growConnWindow(n)
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
func (k *ServerConn) onSettings(f *h2.Frame) error {
	if f.Has(h2.Ack) {
		return nil
	}
	k.gotSettings = true
	first, _, err := k.applySettings(f, 0) // MAX_CONCURRENT_STREAMS does not matter: nothing is pushed
	if err != nil {
		return err
	}
	return setInitialWindow(&k.conn, k.streams, first)
}
