package edge

// bodyCopy is a copy of what the client has sent of a request body behind the buffer of its head, kept so that
// the request can be sent again. It holds the bytes as they were read, chunk sizes included. The loop
// goroutine owns it. The zero value is empty and ready.
type bodyCopy struct {
	bytes []byte
	lost  bool // more has come than is copied; bytes is empty
}

const (
	// maxCopied bounds a copy. Most HTTP/2 servers accept 64 KiB of a stream's body before they respond, and
	// a server that refuses a stream mostly does so first.
	maxCopied = 96 << 10
	// maxKeptCopy bounds what a copy keeps when it is empty.
	maxKeptCopy = 16 << 10
)

// add copies the next bytes.
func (c *bodyCopy) add(m *bodyBuffers, p []byte) {
	if c.lost {
		return
	}
	need := len(c.bytes) + len(p)
	if need > maxCopied {
		c.lose(m)
		return
	}
	if need > cap(c.bytes) && need > maxKeptCopy {
		larger := append(m.takeCopyBuf(), c.bytes...)
		c.reset(m)
		c.bytes = larger
	}
	c.bytes = append(c.bytes, p...)
}

// lose gives up the copy: the request cannot be sent again.
func (c *bodyCopy) lose(m *bodyBuffers) {
	c.reset(m)
	c.lost = true
}

// reset empties the copy and frees a large buffer.
func (c *bodyCopy) reset(m *bodyBuffers) {
	if cap(c.bytes) > maxKeptCopy {
		if len(m.freeCopies) < maxFreeCopies && cap(c.bytes) == maxCopied {
			m.freeCopies = append(m.freeCopies, c.bytes[:0])
		}
		c.bytes = nil
	}
	c.bytes, c.lost = c.bytes[:0], false
}
