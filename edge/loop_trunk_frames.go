package edge

import "github.com/evenkeel-lb/evenkeel/h2"

// What a client's frames ask for.

// follow does what a frame asks for. An error ends the connection.
func (k *trunk) follow(f *h2.Frame) error {
	switch {
	case !k.settled && (f.Type != h2.Settings || f.Has(h2.Ack)):
		return &h2.Error{Code: h2.ProtocolError, Reason: "the first frame is not SETTINGS"}
	case k.block.stream != 0 && (f.Type != h2.Continuation || f.Stream != k.block.stream):
		return &h2.Error{Code: h2.ProtocolError, Reason: "a block of fields is broken off"}
	}
	switch f.Type {
	case h2.Data:
		return k.data(f)
	case h2.Headers:
		return k.begin(f)
	case h2.Continuation:
		return k.goOn(f)
	case h2.RSTStream:
		return k.given(f)
	case h2.WindowUpdate:
		return k.widen(f)
	case h2.Settings:
		return k.adapt(f)
	case h2.Ping:
		if !f.Has(h2.Ack) {
			k.speak()
			k.out = h2.AppendPing(k.out, f.Payload, h2.Ack)
		}
	case h2.GoAway: // it takes no streams that we begin (RFC 9113, 6.8), and we begin none: its own go on
	}
	return nil
}

// begin takes the fields of a request, or of its trailers.
func (k *trunk) begin(f *h2.Frame) error {
	if f.Stream%2 == 0 {
		return &h2.Error{Code: h2.ProtocolError, Reason: "a client begins streams with odd numbers only"}
	}
	if f.Has(h2.EndHeaders) {
		return k.fields(f.Stream, f.Has(h2.EndStream), f.Payload)
	}
	k.block.begin(f, k.loop.now)
	return nil
}

// goOn takes more of them.
func (k *trunk) goOn(f *h2.Frame) error {
	b, whole, err := k.block.goOn(f, 2*max(k.service.listener.HeaderLimit, h2.FrameMost))
	if err != nil || !whole {
		return err
	}
	return k.fields(b.stream, b.ended, b.octets)
}

// fields unpacks a whole block. That must be done whatever becomes of it, since later
// ones refer to it.
func (k *trunk) fields(stream uint32, ended bool, packed []byte) error {
	k.head.Limit = k.service.listener.HeaderLimit
	b := k.find(stream)
	switch {
	case b != nil:
		k.head.BeginTrailers(append(b.tail[:0], "0\r\n"...))
	case stream > k.last:
		t := k.loop.takeTask()
		k.head.Begin(t.got[:0])
		if err := unpack(k.packed, packed); err != nil {
			k.loop.putTask(t)
			return err
		}
		k.last = stream
		k.branchOff(stream, ended, t)
		if k.tooLong > tooLongMost {
			return &h2.Error{Code: h2.EnhanceYourCalm, Reason: "requests with larger or more fields than are taken, one after another"}
		}
		return nil
	case k.struck.find(stream) != nil, k.unread.find(stream) != nil:
		k.unread.remove(stream) // trailers are its end
		k.barren += int64(len(packed))
		k.head.BeginTrailers(nil)
		return unpack(k.packed, packed)
	default:
		return &h2.Error{Code: h2.StreamClosed, Reason: "HEADERS of a stream that has ended"}
	}
	if err := unpack(k.packed, packed); err != nil {
		return err
	}
	text, err := k.head.End(ended)
	b.tail = text
	switch {
	case b.ended:
		k.strike(b, h2.StreamClosed)
	case err != nil || !ended:
		k.strike(b, h2.ProtocolError)
	default:
		b.complete(text)
	}
	return nil
}

// branchOff begins a request, unless it is refused.
func (k *trunk) branchOff(stream uint32, ended bool, t *task) {
	text, err := k.head.End(ended)
	t.got = text[:cap(text)]
	switch {
	case k.stage == aging && stream > k.final:
		k.struck.add(stream, streamWindow) // RFC 9113, 6.8: it has been told that nothing comes of it
	case err != nil:
		k.waste(len(text))
		k.refuse(stream, err.(*h2.Error).Code, streamWindow)
	case k.open() >= streamsMost || len(k.branches) >= streamsBeyond:
		k.waste(len(text))
		k.refuse(stream, h2.RefusedStream, streamWindow)
	default:
		k.loop.branchOff(k, stream, ended, t, len(text))
		return
	}
	k.loop.putTask(t)
}

// open is how many streams the client takes for open.
func (k *trunk) open() (n int) {
	if len(k.branches) < streamsMost {
		return len(k.branches)
	}
	for _, b := range k.branches {
		if !b.over {
			n++
		}
	}
	return n
}

// find returns the branch of a stream; nil: it is not open.
func (k *trunk) find(stream uint32) *branch {
	for i := len(k.branches) - 1; i >= 0 && k.branches[i].id >= stream; i-- {
		if b := k.branches[i]; b.id == stream && !b.over {
			return b
		}
	}
	return nil
}

// idle reports whether a stream has never begun.
func (k *trunk) idle(stream uint32) bool { return stream > k.last || stream%2 == 0 }

// waste weighs a request of so many bytes that came to nothing by its client's fault.
func (k *trunk) waste(n int) {
	k.wasted++
	k.barren += int64(n)
}

// refuse ends a stream, of which no branch is left, or none has been. window is how many bytes of
// its body may still be on their way.
func (k *trunk) refuse(stream uint32, c h2.Code, window int64) {
	k.speak()
	k.out = h2.AppendReset(k.out, stream, c)
	k.struck.add(stream, window)
}

// strike ends a stream for what its client did wrong. That weighs as if the client had given it up:
// to have a stream reset costs it no more, and the edge and a server as much.
func (k *trunk) strike(b *branch, c h2.Code) {
	b.over = true
	k.wasted += b.givenUp()
	k.refuse(b.id, c, b.window)
	b.cutOff()
}

// givenUp is for how many frames that bring nothing a stream stands that its client has no use for.
func (b *branch) givenUp() int {
	if b.told {
		return 1
	}
	return givenUpWeighs
}

// given ends a stream that its client has given up.
func (k *trunk) given(f *h2.Frame) error {
	if k.idle(f.Stream) {
		return &h2.Error{Code: h2.ProtocolError, Reason: "RST_STREAM of a stream that has not begun"}
	}
	k.unread.remove(f.Stream)
	if b := k.find(f.Stream); b != nil {
		if !b.told {
			k.wasted += b.givenUp()
		}
		b.over = true
		b.cutOff()
	}
	return nil
}

// data takes a piece of a body.
func (k *trunk) data(f *h2.Frame) error {
	b := k.find(f.Stream)
	if k.window -= int64(f.Size); k.window < 0 {
		return &h2.Error{Code: h2.FlowControlError, Reason: "more bytes than the connection's window lets through"}
	}
	switch {
	case b != nil && !b.ended:
		k.served = k.served || len(f.Payload) > 0 // a body is worth large reads
		k.repay(int64(f.Size - len(f.Payload)))
		b.gain(f)
		return nil
	case k.idle(f.Stream):
		return &h2.Error{Code: h2.ProtocolError, Reason: "DATA of a stream that has not begun"}
	}
	k.barren += int64(f.Size)
	if u := k.unread.find(f.Stream); u != nil {
		return k.forget(u, f)
	}
	switch s := k.struck.find(f.Stream); {
	case b != nil:
		k.strike(b, h2.StreamClosed)
	case s == nil:
		k.wasted++
		k.refuse(f.Stream, h2.StreamClosed, 0)
	case s.take(int64(f.Size)):
		k.repay(int64(f.Size)) // it was on its way
	default:
		return &h2.Error{Code: h2.FlowControlError, Reason: "more bytes than the window of a stream that has ended lets through"}
	}
	return nil
}

// discard has what still comes of a stream's body read and forgotten, for a while. The stream was answered
// to its end.
func (k *trunk) discard(stream uint32, window int64) {
	if s, full := k.unread.add(k.loop.now, stream, window); full {
		k.refuse(s.id, h2.NoError, s.window)
	}
	k.schedule()
}

// forget takes a piece of a body that nothing waits for.
func (k *trunk) forget(u *unreadStream, f *h2.Frame) error {
	more, ok := u.take(k.loop.now, int64(f.Size))
	switch {
	case !ok:
		return &h2.Error{Code: h2.FlowControlError, Reason: "more bytes than the window of a stream that has ended lets through"}
	case f.Has(h2.EndStream):
		k.unread.remove(f.Stream)
	case more > 0:
		k.speak()
		k.out = h2.AppendWindowUpdate(k.out, f.Stream, uint32(more))
	}
	k.repay(int64(f.Size))
	return nil
}

// resetUnread ends the streams whose bodies have not come in time (RFC 9113, 8.1: the rest of the request is not
// wanted).
func (k *trunk) resetUnread() {
	for k.stage <= aging {
		s, ok := k.unread.expired(k.loop.now)
		if !ok {
			return
		}
		k.refuse(s.id, h2.NoError, s.window)
	}
}

// repay lets the client send as many bytes again.
func (k *trunk) repay(n int64) {
	if k.credit += n; k.credit >= creditAtOnce && k.stage <= aging {
		k.speak()
		k.out = h2.AppendWindowUpdate(k.out, 0, uint32(k.credit))
		k.window += k.credit
		k.credit = 0
	}
}

// widen lets more bytes go to the client.
func (k *trunk) widen(f *h2.Frame) error {
	n := int64(f.Number())
	if f.Stream == 0 {
		if err := widen(&k.room, n); err != nil {
			return err
		}
		k.wake()
		return nil
	}
	b := k.find(f.Stream)
	switch {
	case k.idle(f.Stream):
		return &h2.Error{Code: h2.ProtocolError, Reason: "WINDOW_UPDATE of a stream that has not begun"}
	case b == nil: // its end may have been on its way
		return nil
	}
	if err := widen(&b.room, n); err != nil {
		k.strike(b, err.Code)
		return nil
	}
	b.wake()
	return nil
}

// adapt takes in what the client has chosen.
func (k *trunk) adapt(f *h2.Frame) error {
	if f.Has(h2.Ack) {
		return nil
	}
	k.settled = true
	first, _, err := k.heed(f, 0) // how many streams are its own affair: none is pushed
	if err != nil || first == k.first {
		return err
	}
	return k.resize(first)
}

// resize changes what one stream may take, of those that are open too (RFC 9113, 6.9.2).
func (k *trunk) resize(first int64) error {
	for _, b := range k.branches {
		if err := resized(&b.room, first-k.first); err != nil {
			return err
		}
	}
	k.first = first
	k.wake()
	return nil
}
