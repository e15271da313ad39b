package bodies

import (
	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
)

// Store is what was read of a request body before a server was asked for, behind the buffer of its head.
// It holds the bytes as they go to the server, chunk sizes included, so that they can be sent more than once.
// The loop goroutine owns it. The zero value is empty.
type Store struct {
	Begun        bool // in use; every byte behind the head's buffer is or was in it
	Freed        bool // its bytes are gone and cannot be sent again
	Waits        bool // the body waits unread for memory
	stalled      bool // counted as stalled
	Client       balance.ClientPrefix
	Bufs         [][]byte // filled buffers, in order
	Size         int64    // bytes in them
	charged      int64    // bytes of memory taken, including the promise
	rest         int64    // bytes that were taken by takeRest
	promise      int64    // of rest, for buffers to come
	bufIndex     int      // bytes before bufs[bufIndex][bufOff] have been sent
	bufOff       int
	FirstMessage int64           // gRPC: length of the first message with its prefix; zero: unknown
	LastAt       balance.Instant // when a byte last came, or reading began
	Pace         limits.Pace
}

// Free returns the free part of the last buffer; empty: there is none.
func (s *Store) Free() []byte {
	if len(s.Bufs) == 0 {
		return nil
	}
	last := s.Bufs[len(s.Bufs)-1]
	return last[len(last):cap(last)]
}

// Filled records that n bytes were put into Free. Nothing is filled in once bytes are sent; Keep adds to them then.
func (s *Store) Filled(n int) {
	last := &s.Bufs[len(s.Bufs)-1]
	*last = (*last)[:len(*last)+n]
	s.Size += int64(n)
}

// Grow adds an empty buffer; known is how many bytes are known to come, or 0. It returns false if there is no
// memory.
func (s *Store) Grow(m *Buffers, known int64) bool {
	size := int64(LargeBuf)
	if known < SmallBuf && len(s.Bufs) == 0 {
		size = SmallBuf
	}
	if s.promise >= size {
		s.promise -= size
		s.Bufs = append(s.Bufs, m.takeBuf(size))
		return true
	}
	var w limits.MemoryWaiter
	if len(s.Bufs) == 0 {
		w = m.Waiter
	}
	if !m.Memory.Take(s.Client, size, w) {
		return false
	}
	s.charged += size
	s.Bufs = append(s.Bufs, m.takeBuf(size))
	return true
}

// GrowToEnd adds an empty buffer when grow has no memory, and is promised memory for all n bytes still to be
// read. If not, ever reports whether it may be later.
func (s *Store) GrowToEnd(m *Buffers, n int64) (grown, ever bool) {
	n = (n + LargeBuf - 1) / LargeBuf * LargeBuf
	taken, ever := m.Memory.TakeRest(s.Client, n, m.Waiter)
	if !taken {
		return false, ever
	}
	s.charged += n
	s.rest += n
	s.promise += n
	return s.Grow(m, LargeBuf), true
}

// EndRest returns the unused promise, once the body has been read.
func (s *Store) EndRest(m *Buffers) {
	if s.rest == 0 {
		return
	}
	m.Memory.EndRest(s.Client, s.rest, s.promise)
	s.charged -= s.promise
	s.rest, s.promise = 0, 0
}

// Add appends p, a few bytes that may exceed the memory limit.
func (s *Store) Add(p []byte) {
	s.Bufs = append(s.Bufs, append([]byte(nil), p...))
	s.Size += int64(len(p))
}

// Holds reports whether something is or was in it.
func (s *Store) Holds() bool { return len(s.Bufs) > 0 || s.Freed }

// Keep appends a copy of p, which has gone to the server behind all that is here, so that it can be sent again
// too. It returns false if there is no memory, or it would be more than most bytes.
func (s *Store) Keep(m *Buffers, p []byte, most int64) bool {
	if s.Freed || s.Size+int64(len(p)) > most || len(s.Free()) < len(p) && (!s.Grow(m, LargeBuf) || len(s.Free()) < len(p)) {
		return false
	}
	copy(s.Free(), p)
	s.Filled(len(p))
	s.bufIndex, s.bufOff = len(s.Bufs)-1, len(s.Bufs[len(s.Bufs)-1])
	return true
}

// Unsent reports whether some of it has not gone to the server.
func (s *Store) Unsent() bool {
	for s.bufIndex < len(s.Bufs) && s.bufOff == len(s.Bufs[s.bufIndex]) {
		s.bufIndex, s.bufOff = s.bufIndex+1, 0
	}
	return s.bufIndex < len(s.Bufs)
}

// Next returns the next bytes to be sent, at most so many. unsent must have been called.
func (s *Store) Next(most int) []byte {
	p := s.Bufs[s.bufIndex][s.bufOff:]
	p = p[:min(len(p), most)]
	s.bufOff += len(p)
	return p
}

// Rewind starts again with the first byte.
func (s *Store) Rewind() { s.bufIndex, s.bufOff = 0, 0 }

// Release frees the memory. Its bytes cannot be sent again.
func (s *Store) Release(m *Buffers) {
	if len(s.Bufs) == 0 {
		return
	}
	s.EndRest(m)
	for i, buf := range s.Bufs {
		m.putBuf(buf)
		s.Bufs[i] = nil
	}
	if s.charged > 0 {
		m.Memory.Give(s.Client, s.charged)
	}
	s.Bufs, s.bufIndex, s.bufOff, s.Size, s.charged = s.Bufs[:0], 0, 0, 0, 0
	s.Freed = true
}

// Reset readies the store for another request.
func (s *Store) Reset(m *Buffers) {
	if !s.Begun {
		return
	}
	s.Release(m)
	s.Unstall(m)
	*s = Store{Bufs: s.Bufs}
}

// Stall reports whether a server may be asked for although the body has stalled. If so, it counts as stalled until
// unstall.
func (s *Store) Stall(m *Buffers) bool {
	s.stalled = m.Memory.Stall(s.Client)
	return s.stalled
}

// Unstall stops counting the request as stalled.
func (s *Store) Unstall(m *Buffers) {
	if s.stalled {
		s.stalled = false
		m.Memory.Unstall(s.Client)
	}
}
