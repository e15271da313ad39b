package h2conn

import (
	"encoding/binary"
	"fmt"

	"github.com/evenkeel-lb/evenkeel/h2"
)

// A server's frames.

// onFrame implements role.
func (k *ClientConn) onFrame(f *h2.Frame) error {
	switch {
	case k.state == clientAwaitingSettings && (f.Type != h2.Settings || f.Has(h2.Ack)):
		return &h2.Error{Code: h2.ProtocolError, Reason: "the first frame is not SETTINGS: perhaps the server does not speak HTTP/2"}
	case k.isInterrupted(f):
		return errInterrupted
	case f.Stream != 0 && k.neverOpened(f.Stream) && f.Type <= h2.Continuation && f.Type != h2.Priority:
		return &h2.Error{Code: h2.ProtocolError, Reason: "a frame of a stream that has not begun"}
	}
	switch f.Type {
	case h2.Data:
		return k.onData(f)
	case h2.RSTStream:
		k.onReset(f)
	case h2.WindowUpdate:
		return k.onWindowUpdate(f)
	case h2.Settings:
		return k.onSettings(f)
	case h2.GoAway:
		k.onGoAway(f.Number())
	default:
		return k.onCommonFrame(f, maxResponseBlock)
	}
	return nil
}

// neverOpened reports whether a stream has never been opened.
func (k *ClientConn) neverOpened(stream uint32) bool { return stream >= k.nextID || stream%2 == 0 }

// findStream returns a stream, or nil.
func (k *ClientConn) findStream(stream uint32) *ClientStream {
	if i := k.search(stream); i < len(k.streams) && k.streams[i].id == stream {
		return k.streams[i]
	}
	return nil
}

// search returns the index of the first stream whose id is not lower.
func (k *ClientConn) search(stream uint32) int {
	low, high := 0, len(k.streams)
	for low < high {
		if mid := (low + high) / 2; k.streams[mid].id < stream {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// decodeHeaders implements role.
func (k *ClientConn) decodeHeaders(stream uint32, ended bool, packed []byte) error {
	s := k.findStream(stream)
	k.reply.Limit = MaxResponseHead
	switch {
	case s == nil:
		k.reply.Begin(nil)
	case s.gotHead:
		k.reply.BeginTrailers(append(s.tail[:0], "0\r\n"...))
	default:
		k.reply.Begin(s.head)
		k.reply.Bodiless = s.isHead
	}
	if err := decodeBlock(k.decoder, packed); err != nil {
		return err
	}
	if s != nil {
		s.onHead(ended)
	}
	return nil
}

// onReset handles RST_STREAM. What came before it is passed on.
func (k *ClientConn) onReset(f *h2.Frame) {
	s := k.findStream(f.Stream)
	if s == nil {
		return
	}
	code := h2.Code(binary.BigEndian.Uint32(f.Payload))
	err := fmt.Errorf("the server ended the stream (HTTP/2 code %d)", code)
	if code == h2.RefusedStream && !s.gotHead {
		err = ErrNotTaken // RFC 9113, 8.7: it was closed "prior to any processing having occurred"
	}
	k.removeStream(s)
	s.detachWith(err, false)
}

// onGoAway handles GOAWAY (RFC 9113, 6.8): streams above last were not processed, so their requests may be
// sent again; the connection drains.
func (k *ClientConn) onGoAway(last uint32) {
	k.Drain()
	for i := k.search(last + 1); i < len(k.streams); { // in order, also when they are sent again
		s := k.streams[i]
		k.removeStream(s)
		s.detachWith(ErrNotTaken, last > 0)
	}
}

// removeStream removes a stream: nothing more comes for it.
func (k *ClientConn) removeStream(s *ClientStream) {
	if i := k.search(s.id); i < len(k.streams) && k.streams[i] == s {
		k.streams = append(k.streams[:i], k.streams[i+1:]...)
	}
	k.streamClosed()
}

// onData handles DATA. The connection's window is returned at once, so that a slow client does not block
// others; the stream's window bounds what is kept for it.
func (k *ClientConn) onData(f *h2.Frame) error {
	if err := k.takeWindow(f.Size); err != nil {
		return err
	}
	k.returnWindow(int64(f.Size), clientWindowUpdateAfter)
	if s := k.findStream(f.Stream); s != nil {
		s.onData(f)
	}
	return nil
}

// onWindowUpdate handles WINDOW_UPDATE.
func (k *ClientConn) onWindowUpdate(f *h2.Frame) error {
	n := int64(f.Number())
	if f.Stream == 0 {
		return k.growConnWindow(n)
	}
	s := k.findStream(f.Stream)
	if s == nil {
		return nil // it ended meanwhile
	}
	if err := growWindow(&s.sendWindow, n); err != nil {
		s.resetWith(err)
		return nil
	}
	s.resumeWriter()
	return nil
}

// onSettings handles SETTINGS.
func (k *ClientConn) onSettings(f *h2.Frame) error {
	if f.Has(h2.Ack) {
		return nil
	}
	limit := uint32(k.limit)
	if k.state == clientAwaitingSettings {
		limit = maxClientStreams
	}
	first, limit, err := k.applySettings(f, limit)
	if err != nil {
		return err
	}
	k.limit = int(min(limit, maxClientStreams))
	if err := setInitialWindow(&k.conn, k.streams, first); err != nil {
		return err
	}
	if k.state == clientAwaitingSettings {
		k.settingsReceived()
	}
	return nil
}
