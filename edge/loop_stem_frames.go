package edge

import (
	"encoding/binary"
	"fmt"

	"github.com/evenkeel-lb/evenkeel/h2"
)

// What a server's frames say.

// follow does what a frame asks for. An error ends the connection.
func (k *stem) follow(f *h2.Frame) error {
	switch {
	case k.stage == greeted && (f.Type != h2.Settings || f.Has(h2.Ack)):
		return &h2.Error{Code: h2.ProtocolError, Reason: "the first frame is not SETTINGS: perhaps the server does not speak HTTP/2"}
	case k.block.stream != 0 && (f.Type != h2.Continuation || f.Stream != k.block.stream):
		return &h2.Error{Code: h2.ProtocolError, Reason: "a block of fields is broken off"}
	case f.Stream != 0 && k.idle(f.Stream) && f.Type <= h2.Continuation && f.Type != h2.Priority:
		return &h2.Error{Code: h2.ProtocolError, Reason: "a frame of a stream that has not begun"}
	}
	switch f.Type {
	case h2.Data:
		return k.data(f)
	case h2.Headers:
		return k.begin(f)
	case h2.Continuation:
		return k.goOn(f)
	case h2.RSTStream:
		k.given(f)
	case h2.WindowUpdate:
		return k.widen(f)
	case h2.Settings:
		return k.adapt(f)
	case h2.Ping:
		if !f.Has(h2.Ack) {
			k.speak()
			k.out = h2.AppendPing(k.out, f.Payload, h2.Ack)
		}
	case h2.GoAway:
		k.sentAway(f.Number())
	}
	return nil
}

// idle reports whether a stream has never begun.
func (k *stem) idle(stream uint32) bool { return stream >= k.next || stream%2 == 0 }

// find returns the shoot of a stream; nil: there is none, any more.
func (k *stem) find(stream uint32) *shoot {
	if i := k.place(stream); i < len(k.shoots) && k.shoots[i].id == stream {
		return k.shoots[i]
	}
	return nil
}

// place is where the first shoot stands whose number is not lower.
func (k *stem) place(stream uint32) int {
	low, high := 0, len(k.shoots)
	for low < high {
		if mid := (low + high) / 2; k.shoots[mid].id < stream {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// begin takes the fields of a response, or of its trailers.
func (k *stem) begin(f *h2.Frame) error {
	if f.Has(h2.EndHeaders) {
		return k.fields(f.Stream, f.Has(h2.EndStream), f.Payload)
	}
	k.block.begin(f, k.loop.now)
	return nil
}

// goOn takes more of them.
func (k *stem) goOn(f *h2.Frame) error {
	b, whole, err := k.block.goOn(f, responsePacked)
	if err != nil || !whole {
		return err
	}
	return k.fields(b.stream, b.ended, b.octets)
}

// fields unpacks a whole block. That must be done whatever becomes of it, since later
// ones refer to it.
func (k *stem) fields(stream uint32, ended bool, packed []byte) error {
	s := k.find(stream)
	k.reply.Limit = responseHeadMost
	switch {
	case s == nil:
		k.reply.Begin(nil)
	case s.answered:
		k.reply.BeginTrailers(append(s.tail[:0], "0\r\n"...))
	default:
		k.reply.Begin(s.head)
		k.reply.Bodiless = s.bodiless
	}
	if err := unpack(k.packed, packed); err != nil {
		return err
	}
	if s != nil {
		s.hear(ended)
	}
	return nil
}

// given ends a stream that its server gives up. What came before is passed on.
func (k *stem) given(f *h2.Frame) {
	s := k.find(f.Stream)
	if s == nil {
		return
	}
	code := h2.Code(binary.BigEndian.Uint32(f.Payload))
	err := fmt.Errorf("the server ended the stream (HTTP/2 code %d)", code)
	if code == h2.RefusedStream && !s.answered {
		err = errNotTaken // RFC 9113, 8.7: it was closed "prior to any processing having occurred"
	}
	k.drop(s)
	s.lose(err, false)
}

// sentAway says that the server takes no more streams, and which was the last that it has
// taken (RFC 9113, 6.8).
func (k *stem) sentAway(last uint32) {
	k.wilt()
	for i := k.place(last + 1); i < len(k.shoots); { // the first goes first, elsewhere too
		s := k.shoots[i]
		k.drop(s)
		s.lose(errNotTaken, last > 0)
	}
}

// drop takes a shoot off the list: nothing more comes for it.
func (k *stem) drop(s *shoot) {
	if i := k.place(s.id); i < len(k.shoots) && k.shoots[i] == s {
		k.shoots = append(k.shoots[:i], k.shoots[i+1:]...)
	}
	k.left()
}

// data takes a piece of a body. The connection's window is given back at once, lest a
// client that takes nothing stands in the way of others; the stream's bounds what is kept
// for it.
func (k *stem) data(f *h2.Frame) error {
	if k.window -= int64(f.Size); k.window < 0 {
		return &h2.Error{Code: h2.FlowControlError, Reason: "more bytes than the connection's window lets through"}
	}
	if k.credit += int64(f.Size); k.credit >= repaidAtOnce {
		k.speak()
		k.out = h2.AppendWindowUpdate(k.out, 0, uint32(k.credit))
		k.window += k.credit
		k.credit = 0
	}
	if s := k.find(f.Stream); s != nil {
		s.gain(f)
	}
	return nil
}

// widen lets more bytes go to the server.
func (k *stem) widen(f *h2.Frame) error {
	n := int64(f.Number())
	if f.Stream == 0 {
		if err := widen(&k.room, n); err != nil {
			return err
		}
		k.wake()
		return nil
	}
	s := k.find(f.Stream)
	if s == nil {
		return nil // it ended while that was on its way
	}
	if err := widen(&s.room, n); err != nil {
		s.give(err)
		return nil
	}
	s.wake()
	return nil
}

// adapt takes in what the server has chosen.
func (k *stem) adapt(f *h2.Frame) error {
	if f.Has(h2.Ack) {
		return nil
	}
	limit := uint32(k.limit)
	if k.stage == greeted {
		limit = shootsMost
	}
	first, limit, err := k.heed(f, limit)
	if err != nil {
		return err
	}
	k.limit = int(min(limit, shootsMost))
	if err := k.resize(first); err != nil {
		return err
	}
	if k.stage == greeted {
		k.stand()
	}
	return nil
}

// resize changes what one stream may take, of those that are open too (RFC 9113, 6.9.2).
func (k *stem) resize(first int64) error {
	if first == k.first {
		return nil
	}
	for _, s := range k.shoots {
		if err := resized(&s.room, first-k.first); err != nil {
			return err
		}
	}
	k.first = first
	k.wake()
	return nil
}
