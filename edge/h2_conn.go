package edge

import (
	"io"

	"github.com/evenkeel-lb/evenkeel/h2"
)

// h2Conn is the sending half of an HTTP/2 connection, client's or server's: all frames of an iteration are
// sent in one write at its end, and what the peer does not take is kept.
type h2Conn struct {
	conn
	owner         interface{ flush() }
	frames        []byte // frames of this iteration; nil: none
	sendBuf       sendBuffer
	socketTook    int64 // bytes that the socket has taken
	isDirty       bool  // is in loop.dirty
	sendWindow    int64 // the connection's, for DATA
	initialWindow int64 // of a new stream
	maxFrame      int   // bytes of a frame
	emptyTable    bool  // the peer must be told that the encoder uses no dynamic table
}

// newH2Conn returns the state before the peer's SETTINGS; its conn is not registered. It defers all frames to
// the end of the iteration.
func newH2Conn(who interface{ flush() }) h2Conn {
	return h2Conn{conn: conn{unbatched: true}, owner: who, sendWindow: h2.WindowFirst, initialWindow: h2.WindowFirst, maxFrame: h2.FrameMost}
}

const (
	maxPending       = 128 << 10 // bytes waiting for a peer, beyond which no DATA is sent
	maxFreeFrameBufs = 4         // free frame buffers of a loop
	frameBufSize     = 16 << 10  // of a frame buffer
)

// markDirty has frames sent at the end of the iteration, all in one write.
func (k *h2Conn) markDirty() {
	l := k.loop
	if k.frames == nil {
		if n := len(l.freeFrameBufs); n > 0 {
			k.frames, l.freeFrameBufs = l.freeFrameBufs[n-1], l.freeFrameBufs[:n-1]
		} else {
			k.frames = make([]byte, 0, frameBufSize)
		}
	}
	if !k.isDirty {
		k.isDirty = true
		l.dirty = append(l.dirty, k)
	}
}

// flushFrames sends the frames of all dirty connections.
func (l *loop) flushFrames() {
	for i := 0; i < len(l.dirty); i++ { // sending may make another one dirty
		k := l.dirty[i]
		l.dirty[i] = nil
		k.isDirty = false
		if k.isOpen() {
			k.owner.flush()
		}
		k.putFrameBuf()
	}
	l.dirty = l.dirty[:0]
}

// putFrameBuf frees the buffer for frames.
func (k *h2Conn) putFrameBuf() {
	if l := k.loop; k.frames != nil && !k.isDirty {
		if len(l.freeFrameBufs) < maxFreeFrameBufs && cap(k.frames) <= 2*maxPending {
			l.freeFrameBufs = append(l.freeFrameBufs, k.frames[:0])
		}
		k.frames = nil
	}
}

// sendFrames sends kept bytes and frames. clear reports that all have gone; took is how many have.
func (k *h2Conn) sendFrames() (clear bool, took int64, err error) {
	before, kept := k.sendBuf.pendingBytes()+int64(len(k.frames)), k.sendBuf.pendingBytes()
	clear, err = k.sendBuf.flush(&k.conn)
	k.socketTook += kept - k.sendBuf.pendingBytes()
	if err == nil && len(k.frames) > 0 {
		k.sendBuf.compact()
		n := 0
		n, err = k.sendBuf.write(&k.conn, k.frames)
		k.socketTook += int64(n)
		clear = k.sendBuf.empty()
	}
	k.frames = k.frames[:0]
	return clear, before - k.sendBuf.pendingBytes(), err
}

// pendingBytes returns how many bytes the peer has not taken.
func (k *h2Conn) pendingBytes() int { return len(k.frames) + int(k.sendBuf.pendingBytes()) }

// beginBlock begins a header block.
func (k *h2Conn) beginBlock() (start int) {
	k.markDirty()
	start = len(k.frames)
	k.frames = h2.BeginBlock(k.frames)
	if k.emptyTable {
		k.emptyTable = false
		k.frames = append(k.frames, h2.EmptyTable)
	}
	return start
}

// appendGoAway appends a GOAWAY frame.
func (k *h2Conn) appendGoAway(last uint32, c h2.Code, reason string) {
	k.markDirty()
	k.frames = h2.AppendGoAway(k.frames, last, c, reason)
}

// readMore reads behind the partial frame and returns both, valid until the loop's next read. It returns
// EAGAIN if there is nothing, io.EOF at the end.
func (k *h2Conn) readMore(kept []byte, most int) ([]byte, error) {
	l := k.loop
	if l.frameBuf == nil {
		l.frameBuf = make([]byte, h2.HeadSize+h2.FrameMost+allAtOnce)
	}
	at := copy(l.frameBuf, kept)
	n, err := k.read(l.frameBuf[at : at+most])
	if n == 0 && err == nil {
		err = io.EOF
	}
	return l.frameBuf[:at+max(0, n)], err
}

// applySettings applies the peer's SETTINGS. first is the initial window of a stream; streams is
// SETTINGS_MAX_CONCURRENT_STREAMS, was if it is not set.
func (k *h2Conn) applySettings(f *h2.Frame, was uint32) (first int64, streams uint32, err error) {
	first, streams = k.initialWindow, was
	for p := f.Payload; len(p) > 0; {
		var s h2.Setting
		var value uint32
		if s, value, p, err = h2.NextSetting(p); err != nil {
			return first, streams, err
		}
		switch s {
		case h2.MaxConcurrentStreams:
			streams = value
		case h2.InitialWindowSize:
			first = int64(value)
		case h2.MaxFrameSize:
			k.maxFrame = min(int(value), allAtOnce)
		case h2.HeaderTableSize:
			k.emptyTable = true
		}
	}
	k.markDirty()
	k.frames = h2.AppendSettingsAck(k.frames)
	return first, streams, nil
}

// growWindow adds n bytes to a window, for WINDOW_UPDATE (RFC 9113, 6.9).
func growWindow(window *int64, n int64) *h2.Error {
	switch {
	case n == 0:
		return &h2.Error{Code: h2.ProtocolError, Reason: "WINDOW_UPDATE of nothing"}
	case *window+n > h2.WindowMost:
		return &h2.Error{Code: h2.FlowControlError, Reason: "a window is larger than windows may be"}
	}
	*window += n
	return nil
}

// shiftWindow changes a stream's window when the initial window changes (RFC 9113, 6.9.2).
func shiftWindow(window *int64, by int64) error {
	if *window += by; *window > h2.WindowMost {
		return &h2.Error{Code: h2.FlowControlError, Reason: "INITIAL_WINDOW_SIZE makes a window larger than windows may be"}
	}
	return nil
}
