package edge

import (
	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
)

// bodyStore is what has been read of a request's body before a server was asked for, behind the buffer
// of its head. It holds the bytes as they go to the server, chunk sizes included, so that they can be
// sent more than once. The loop goroutine owns it. The zero value is empty.
type bodyStore struct {
	begun   bool // the body is read this way; everything behind the head's buffer is or was in it
	freed   bool // what was in it is gone, so that it cannot be sent again
	waits   bool // no memory is to be had: the body waits unread
	stalled bool // the request is counted among those whose body has stalled
	client  balance.ClientPrefix
	rooms   [][]byte // filled to their lengths, one after another
	size    int64    // bytes in them
	charged int64    // bytes of memory taken, for them and as promised
	rest    int64    // bytes of those that were taken as the rest of the body
	promise int64    // bytes of the rest that are for rooms to come
	room    int      // bytes before rooms[room][at] have been sent
	at      int
	first   int64           // gRPC: bytes of the first message with its prefix; zero: not known
	lastAt  balance.Instant // when a byte last came, or reading began
	pace    limits.Pace
}

const (
	smallRoom = 16 << 10
	largeRoom = 64 << 10
	mostRooms = 32 // of each size that a loop keeps for later bodies
)

// free returns the free part of the last room; empty: there is none.
func (s *bodyStore) free() []byte {
	if len(s.rooms) == 0 {
		return nil
	}
	last := s.rooms[len(s.rooms)-1]
	return last[len(last):cap(last)]
}

// filled says that n bytes were put where free said.
func (s *bodyStore) filled(n int) {
	last := &s.rooms[len(s.rooms)-1]
	*last = (*last)[:len(*last)+n]
	s.size += int64(n)
}

// grow adds an empty room for a body of which so many bytes are known to come, or 0; false: there is no
// memory for one.
func (s *bodyStore) grow(l *loop, known int64) bool {
	size := int64(largeRoom)
	if known < smallRoom && len(s.rooms) == 0 {
		size = smallRoom
	}
	if s.promise >= size {
		s.promise -= size
		s.rooms = append(s.rooms, l.takeBodyBuf(size))
		return true
	}
	var w bodyWaiter
	if len(s.rooms) == 0 {
		w = l
	}
	if !l.engine.edge.bodies.take(s.client, size, w) {
		return false
	}
	s.charged += size
	s.rooms = append(s.rooms, l.takeBodyBuf(size))
	return true
}

// growToEnd adds an empty room where grow has no memory for one, and is promised those for all n bytes
// that are still to be read. If not, ever is false if it will never be.
func (s *bodyStore) growToEnd(l *loop, n int64) (grown, ever bool) {
	n = (n + largeRoom - 1) / largeRoom * largeRoom
	taken, ever := l.engine.edge.bodies.takeRest(s.client, n, l)
	if !taken {
		return false, ever
	}
	s.charged += n
	s.rest += n
	s.promise += n
	return s.grow(l, largeRoom), true
}

// endRest gives back what was promised and is not needed, once the body has been read.
func (s *bodyStore) endRest(l *loop) {
	if s.rest == 0 {
		return
	}
	l.engine.edge.bodies.endRest(s.client, s.rest, s.promise)
	s.charged -= s.promise
	s.rest, s.promise = 0, 0
}

// add appends p, a few bytes that may go beyond what memory there is.
func (s *bodyStore) add(p []byte) {
	s.rooms = append(s.rooms, append([]byte(nil), p...))
	s.size += int64(len(p))
}

// holds reports whether something is or was in it.
func (s *bodyStore) holds() bool { return len(s.rooms) > 0 || s.freed }

// keep appends a copy of p, which has gone to the server behind all that is here, so that it can be
// sent again too; false: there is no memory, or it would be more than most bytes.
func (s *bodyStore) keep(l *loop, p []byte, most int64) bool {
	if s.freed || s.size+int64(len(p)) > most || len(s.free()) < len(p) && (!s.grow(l, largeRoom) || len(s.free()) < len(p)) {
		return false
	}
	copy(s.free(), p)
	s.filled(len(p))
	s.room, s.at = len(s.rooms)-1, len(s.rooms[len(s.rooms)-1])
	return true
}

// unsent reports whether some of it is still to go to the server.
func (s *bodyStore) unsent() bool {
	for s.room < len(s.rooms) && s.at == len(s.rooms[s.room]) {
		s.room, s.at = s.room+1, 0
	}
	return s.room < len(s.rooms)
}

// next returns the next bytes to be sent, at most so many. unsent must have been asked.
func (s *bodyStore) next(most int) []byte {
	p := s.rooms[s.room][s.at:]
	p = p[:min(len(p), most)]
	s.at += len(p)
	return p
}

// rewind begins anew with the first byte.
func (s *bodyStore) rewind() { s.room, s.at = 0, 0 }

// release gives the memory back. What was in it cannot be sent again.
func (s *bodyStore) release(l *loop) {
	if len(s.rooms) == 0 {
		return
	}
	s.endRest(l)
	for i, room := range s.rooms {
		l.putBodyBuf(room)
		s.rooms[i] = nil
	}
	if s.charged > 0 {
		l.engine.edge.bodies.give(s.client, s.charged)
	}
	s.rooms, s.room, s.at, s.size, s.charged = s.rooms[:0], 0, 0, 0, 0
	s.freed = true
}

// reset readies the store for another request.
func (s *bodyStore) reset(l *loop) {
	if !s.begun {
		return
	}
	s.release(l)
	s.unstall(l)
	*s = bodyStore{rooms: s.rooms}
}

// unstall says that the request needs not be counted among those that stall any more.
func (s *bodyStore) unstall(l *loop) {
	if s.stalled {
		s.stalled = false
		l.engine.edge.bodies.unstall(s.client)
	}
}

// takeBodyBuf returns an empty room.
func (l *loop) takeBodyBuf(size int64) []byte {
	kept := l.bodyBufsOf(size)
	if n := len(*kept); n > 0 {
		room := (*kept)[n-1]
		*kept = (*kept)[:n-1]
		return room
	}
	return make([]byte, 0, size)
}

func (l *loop) putBodyBuf(room []byte) {
	if kept := l.bodyBufsOf(int64(cap(room))); kept != nil && len(*kept) < mostRooms {
		*kept = append(*kept, room[:0])
	}
}

// bodyBufsOf returns where rooms of a size are kept; nil: they are not.
func (l *loop) bodyBufsOf(size int64) *[][]byte {
	switch size {
	case smallRoom:
		return &l.freeBodyBufs[0]
	case largeRoom:
		return &l.freeBodyBufs[1]
	}
	return nil
}
