package bodies

// Copy is a copy of what the client has sent of a request body behind the buffer of its head, kept so that
// the request can be sent again. It holds the bytes as they were read, chunk sizes included. The loop
// goroutine owns it. The zero value is empty and ready.
type Copy struct {
	Bytes []byte
	lost  bool // more has come than is copied; bytes is empty
}

const (
	// MaxCopied bounds a copy. Most HTTP/2 servers accept 64 KiB of a stream's body before they respond, and
	// a server that refuses a stream mostly does so first.
	MaxCopied = 96 << 10
	// maxKeptCopy bounds what a copy keeps when it is empty.
	maxKeptCopy = 16 << 10
)

// Add copies the next bytes.
func (c *Copy) Add(m *Buffers, p []byte) {
	if c.lost {
		return
	}
	need := len(c.Bytes) + len(p)
	if need > MaxCopied {
		c.Lose(m)
		return
	}
	if need > cap(c.Bytes) && need > maxKeptCopy {
		larger := append(m.takeCopyBuf(), c.Bytes...)
		c.Reset(m)
		c.Bytes = larger
	}
	c.Bytes = append(c.Bytes, p...)
}

// Lose gives up the copy: the request cannot be sent again.
func (c *Copy) Lose(m *Buffers) {
	c.Reset(m)
	c.lost = true
}

// Reset empties the copy and frees a large buffer.
func (c *Copy) Reset(m *Buffers) {
	if cap(c.Bytes) > maxKeptCopy {
		if len(m.freeCopies) < maxFreeCopies && cap(c.Bytes) == MaxCopied {
			m.freeCopies = append(m.freeCopies, c.Bytes[:0])
		}
		c.Bytes = nil
	}
	c.Bytes, c.lost = c.Bytes[:0], false
}
