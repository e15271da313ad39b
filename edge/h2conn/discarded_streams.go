package h2conn

import (
	"slices"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// discardedStreams are the streams of a connection of HTTP/2 that were answered to the end before
// their request's body had come. What still comes of it is read and forgotten, as on a connection of
// HTTP/1.1, before the stream is reset: a client that is reset while it sends may lose the response.
type discardedStreams struct {
	list []discardedStream // the one answered first at the front
}

// discardedStream is one of them.
type discardedStream struct {
	id      uint32
	window  int64           // bytes of its body that the client may still send
	quietAt balance.Instant // it is reset then, if nothing comes before
	endAt   balance.Instant // it is reset then
}

// maxDiscardedStreams is how many of a connection are waited for at once.
const maxDiscardedStreams = 100

// add takes a stream, and returns the one that it displaces, if there were as many as there may be.
func (u *discardedStreams) add(now balance.Instant, id uint32, window int64) (displaced discardedStream, full bool) {
	if full = len(u.list) >= maxDiscardedStreams; full {
		displaced = u.list[0]
		u.list = slices.Delete(u.list, 0, 1)
	}
	u.list = append(u.list, discardedStream{id: id, window: window, quietAt: now.Add(LingerQuiet), endAt: now.Add(MaxLinger)})
	return displaced, full
}

// find returns a stream; nil: it is not waited for.
func (u *discardedStreams) find(id uint32) *discardedStream {
	for i := range u.list {
		if u.list[i].id == id {
			return &u.list[i]
		}
	}
	return nil
}

// remove forgets a stream.
func (u *discardedStreams) remove(id uint32) {
	u.list = slices.DeleteFunc(u.list, func(s discardedStream) bool { return s.id == id })
}

// nextTimeout returns when the next is over; zero: there is none.
func (u *discardedStreams) nextTimeout() (at balance.Instant) {
	for i := range u.list {
		if s := u.list[i].timeoutAt(); at == 0 || s < at {
			at = s
		}
	}
	return at
}

// takeExpired takes out a stream that is over.
func (u *discardedStreams) takeExpired(now balance.Instant) (s discardedStream, ok bool) {
	i := slices.IndexFunc(u.list, func(s discardedStream) bool { return now >= s.timeoutAt() })
	if i < 0 {
		return s, false
	}
	s = u.list[i]
	u.list = slices.Delete(u.list, i, i+1)
	return s, true
}

func (s *discardedStream) timeoutAt() balance.Instant { return min(s.quietAt, s.endAt) }

// consume takes so many bytes that have come, and returns how many more the client is to be allowed. False: they are
// more than it might send.
func (s *discardedStream) consume(now balance.Instant, n int64) (more int64, ok bool) {
	if s.window -= n; s.window < 0 {
		return 0, false
	}
	s.quietAt = now.Add(LingerQuiet)
	if s.window < StreamWindow/2 {
		more = StreamWindow - s.window
		s.window = StreamWindow
	}
	return more, true
}

// The times of a client that was answered before its request had come whole.
const (
	LingerQuiet = 5 * time.Second  // that it may be silent within its body, until it is not read any more
	MaxLinger   = 30 * time.Second // that it may go on sending it
)
