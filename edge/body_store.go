package edge

import (
	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
)

// bodyStore is what was read of a request body before a server was asked for, behind the buffer of its head.
// It holds the bytes as they go to the server, chunk sizes included, so that they can be sent more than once.
// The loop goroutine owns it. The zero value is empty.
type bodyStore struct {
	begun    bool // in use; every byte behind the head's buffer is or was in it
	freed    bool // its bytes are gone and cannot be sent again
	waits    bool // the body waits unread for memory
	stalled  bool // counted as stalled
	client   balance.ClientPrefix
	bufs     [][]byte // filled buffers, in order
	size     int64    // bytes in them
	charged  int64    // bytes of memory taken, including the promise
	rest     int64    // bytes that were taken by takeRest
	promise  int64    // of rest, for buffers to come
	bufIndex int      // bytes before bufs[bufIndex][bufOff] have been sent
	bufOff   int
	first    int64           // gRPC: length of the first message with its prefix; zero: unknown
	lastAt   balance.Instant // when a byte last came, or reading began
	pace     limits.Pace
}

// free returns the free part of the last buffer; empty: there is none.
func (s *bodyStore) free() []byte {
	if len(s.bufs) == 0 {
		return nil
	}
	last := s.bufs[len(s.bufs)-1]
	return last[len(last):cap(last)]
}

// filled records that n bytes were put into free.
func (s *bodyStore) filled(n int) {
	last := &s.bufs[len(s.bufs)-1]
	*last = (*last)[:len(*last)+n]
	s.size += int64(n)
}

// grow adds an empty buffer; known is how many bytes are known to come, or 0. It returns false if there is no
// memory.
func (s *bodyStore) grow(m *bodyBuffers, known int64) bool {
	size := int64(largeBuf)
	if known < smallBuf && len(s.bufs) == 0 {
		size = smallBuf
	}
	if s.promise >= size {
		s.promise -= size
		s.bufs = append(s.bufs, m.takeBuf(size))
		return true
	}
	var w limits.MemoryWaiter
	if len(s.bufs) == 0 {
		w = m.waiter
	}
	if !m.memory.Take(s.client, size, w) {
		return false
	}
	s.charged += size
	s.bufs = append(s.bufs, m.takeBuf(size))
	return true
}

// growToEnd adds an empty buffer when grow has no memory, and is promised memory for all n bytes still to be
// read. If not, ever reports whether it may be later.
func (s *bodyStore) growToEnd(m *bodyBuffers, n int64) (grown, ever bool) {
	n = (n + largeBuf - 1) / largeBuf * largeBuf
	taken, ever := m.memory.TakeRest(s.client, n, m.waiter)
	if !taken {
		return false, ever
	}
	s.charged += n
	s.rest += n
	s.promise += n
	return s.grow(m, largeBuf), true
}

// endRest returns the unused promise, once the body has been read.
func (s *bodyStore) endRest(m *bodyBuffers) {
	if s.rest == 0 {
		return
	}
	m.memory.EndRest(s.client, s.rest, s.promise)
	s.charged -= s.promise
	s.rest, s.promise = 0, 0
}

// add appends p, a few bytes that may exceed the memory limit.
func (s *bodyStore) add(p []byte) {
	s.bufs = append(s.bufs, append([]byte(nil), p...))
	s.size += int64(len(p))
}

// holds reports whether something is or was in it.
func (s *bodyStore) holds() bool { return len(s.bufs) > 0 || s.freed }

// keep appends a copy of p, which has gone to the server behind all that is here, so that it can be sent again
// too. It returns false if there is no memory, or it would be more than most bytes.
func (s *bodyStore) keep(m *bodyBuffers, p []byte, most int64) bool {
	if s.freed || s.size+int64(len(p)) > most || len(s.free()) < len(p) && (!s.grow(m, largeBuf) || len(s.free()) < len(p)) {
		return false
	}
	copy(s.free(), p)
	s.filled(len(p))
	s.bufIndex, s.bufOff = len(s.bufs)-1, len(s.bufs[len(s.bufs)-1])
	return true
}

// unsent reports whether some of it has not gone to the server.
func (s *bodyStore) unsent() bool {
	for s.bufIndex < len(s.bufs) && s.bufOff == len(s.bufs[s.bufIndex]) {
		s.bufIndex, s.bufOff = s.bufIndex+1, 0
	}
	return s.bufIndex < len(s.bufs)
}

// next returns the next bytes to be sent, at most so many. unsent must have been called.
func (s *bodyStore) next(most int) []byte {
	p := s.bufs[s.bufIndex][s.bufOff:]
	p = p[:min(len(p), most)]
	s.bufOff += len(p)
	return p
}

// rewind starts again with the first byte.
func (s *bodyStore) rewind() { s.bufIndex, s.bufOff = 0, 0 }

// release frees the memory. Its bytes cannot be sent again.
func (s *bodyStore) release(m *bodyBuffers) {
	if len(s.bufs) == 0 {
		return
	}
	s.endRest(m)
	for i, buf := range s.bufs {
		m.putBuf(buf)
		s.bufs[i] = nil
	}
	if s.charged > 0 {
		m.memory.Give(s.client, s.charged)
	}
	s.bufs, s.bufIndex, s.bufOff, s.size, s.charged = s.bufs[:0], 0, 0, 0, 0
	s.freed = true
}

// reset readies the store for another request.
func (s *bodyStore) reset(m *bodyBuffers) {
	if !s.begun {
		return
	}
	s.release(m)
	s.unstall(m)
	*s = bodyStore{bufs: s.bufs}
}

// stall reports whether a server may be asked for although the body has stalled. If so, it counts as stalled until
// unstall.
func (s *bodyStore) stall(m *bodyBuffers) bool {
	s.stalled = m.memory.Stall(s.client)
	return s.stalled
}

// unstall stops counting the request as stalled.
func (s *bodyStore) unstall(m *bodyBuffers) {
	if s.stalled {
		s.stalled = false
		m.memory.Unstall(s.client)
	}
}
