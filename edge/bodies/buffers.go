package bodies

import "github.com/evenkeel-lb/evenkeel/edge/limits"

// Buffers is what a loop has for request bodies: buffers for later use, and the memory that all loops share. The
// loop goroutine owns it.
type Buffers struct {
	Memory *limits.BodyMemory
	Waiter limits.MemoryWaiter // the loop, which is called when memory is available again

	free       [2][][]byte // for bodies that are read before a server is asked for: small, large
	freeCopies [][]byte    // for large copies
}

const (
	SmallBuf      = 16 << 10
	LargeBuf      = 64 << 10
	maxFreeBufs   = 32 // of each size that a loop keeps
	maxFreeCopies = 4  // buffers of MaxCopied bytes that a loop keeps
)

// takeBuf returns an empty buffer.
func (m *Buffers) takeBuf(size int64) []byte {
	kept := m.freeOf(size)
	if n := len(*kept); n > 0 {
		buf := (*kept)[n-1]
		*kept = (*kept)[:n-1]
		return buf
	}
	return make([]byte, 0, size)
}

func (m *Buffers) putBuf(buf []byte) {
	if kept := m.freeOf(int64(cap(buf))); kept != nil && len(*kept) < maxFreeBufs {
		*kept = append(*kept, buf[:0])
	}
}

// freeOf returns the free buffers of a size; nil: none are kept.
func (m *Buffers) freeOf(size int64) *[][]byte {
	switch size {
	case SmallBuf:
		return &m.free[0]
	case LargeBuf:
		return &m.free[1]
	}
	return nil
}

// takeCopyBuf returns an empty buffer of MaxCopied bytes.
func (m *Buffers) takeCopyBuf() []byte {
	if n := len(m.freeCopies); n > 0 {
		buf := m.freeCopies[n-1]
		m.freeCopies = m.freeCopies[:n-1]
		return buf
	}
	return make([]byte, 0, MaxCopied)
}
