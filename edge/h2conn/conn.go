package h2conn

import (
	"io"
	"syscall"

	"golang.org/x/net/http2/hpack"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/h2"
	"github.com/evenkeel-lb/evenkeel/http1"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// conn is what both ends of HTTP/2 have in common: a ServerConn or a ClientConn is one with a role. All
// frames of an iteration are sent in one write at its end, and what the peer does not take is kept.
type conn struct {
	eventloop.Conn
	eventloop.Timer
	shared *Shared
	role   role

	// Sending.
	frames        []byte // frames of this iteration; nil: none
	sendBuf       eventloop.SendBuffer
	socketTook    int64 // bytes that the socket has taken
	isDirty       bool  // is in shared.dirty
	sendWindow    int64 // the connection's, for DATA
	initialWindow int64 // of a new stream
	maxFrame      int   // bytes of a frame
	emptyTable    bool  // the peer must be told that the encoder uses no dynamic table
	nextWriter    int   // index of the stream that may write first

	// Reading.
	partial    []byte // start of a frame whose end has not come
	pending    bool   // partial begins with complete frames that did not fit into their turn
	inputOver  bool   // no more frames are handled
	recvWindow int64  // connection window: bytes of DATA that may still come
	unacked    int64  // bytes to be returned to the window, not announced yet
	decoder    *hpack.Decoder
	block      headerBlock

	// Times.
	heardAt    balance.Instant // of the peer's last byte
	progressAt balance.Instant // the peer last took bytes, or there were none to take
	pingAt     balance.Instant // a PING was sent; zero: none is unanswered
	idleAt     balance.Instant // the last stream ended
}

// role is the end of a connection that this machine is.
type role interface {
	// flush sends frames, and continues with what waits for that.
	flush()
	// wantsInput reports whether to read: the peer takes what it is sent, and is not to be held back.
	wantsInput() bool
	// readSize returns the size of the next read.
	readSize() int
	// parseFrames handles the complete frames of p, as long as the turn lasts, and keeps the rest.
	parseFrames(p []byte, turn *limits.Turn)
	// onFrame handles a frame. An error ends the connection.
	onFrame(f *h2.Frame) error
	// resumeWriters resumes the streams that may write.
	resumeWriters()
	// decodeHeaders decodes a whole header block. That has to be done in any case, because later blocks refer
	// to it.
	decodeHeaders(stream uint32, ended bool, packed []byte) error
}

// Shared is what the HTTP/2 connections of a loop share. The loop goroutine owns it.
type Shared struct {
	Loop          *eventloop.Loop
	readBuf       []byte   // bytes read from a connection; valid until the next read
	freeFrameBufs [][]byte // free buffers for the frames of one iteration
	dirty         []*conn
	turn          limits.Turn        // of the connection that is being read
	frame         h2.Frame           // that is being handled; here, it is not allocated
	requestHead   []byte             // a request's head, as HTTP/1.1; valid until the next one
	responseHead  http1.ResponseHead // the response head that is being translated
	trailers      http1.Trailers     // the trailers that are being translated
}

// newConn returns the state before the peer's SETTINGS; its conn is not registered. It defers all frames to
// the end of the iteration.
func newConn(shared *Shared, role role) conn {
	return conn{Conn: eventloop.Conn{Unbatched: true}, shared: shared, role: role, sendWindow: h2.WindowFirst, initialWindow: h2.WindowFirst, maxFrame: h2.FrameMost}
}

const (
	maxPending       = 128 << 10 // bytes waiting for a peer, beyond which no DATA is sent
	maxFreeFrameBufs = 4         // free frame buffers of a loop
	frameBufSize     = 16 << 10  // of a frame buffer
	allAtOnce        = 64 << 10  // bytes of one read
)

// markDirty has frames sent at the end of the iteration, all in one write.
func (k *conn) markDirty() {
	l := k.shared
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

// Flush sends the frames of all dirty connections. It is called at the end of each iteration.
func (l *Shared) Flush() {
	for i := 0; i < len(l.dirty); i++ { // sending may make another one dirty
		k := l.dirty[i]
		l.dirty[i] = nil
		k.isDirty = false
		if k.IsOpen() {
			k.role.flush()
		}
		k.putFrameBuf()
	}
	l.dirty = l.dirty[:0]
}

// putFrameBuf frees the buffer for frames.
func (k *conn) putFrameBuf() {
	if l := k.shared; k.frames != nil && !k.isDirty {
		if len(l.freeFrameBufs) < maxFreeFrameBufs && cap(k.frames) <= 2*maxPending {
			l.freeFrameBufs = append(l.freeFrameBufs, k.frames[:0])
		}
		k.frames = nil
	}
}

// sendFrames sends kept bytes and frames. clear reports that all have gone; took is how many have.
func (k *conn) sendFrames() (clear bool, took int64, err error) {
	kept := k.sendBuf.PendingBytes()
	before := kept + int64(len(k.frames))
	clear, err = k.sendBuf.Flush(&k.Conn)
	k.socketTook += kept - k.sendBuf.PendingBytes()
	if err == nil && len(k.frames) > 0 {
		k.sendBuf.Compact()
		n := 0
		n, err = k.sendBuf.Write(&k.Conn, k.frames)
		k.socketTook += int64(n)
		clear = k.sendBuf.Empty(&k.Conn)
	}
	k.frames = k.frames[:0]
	if took = before - k.sendBuf.PendingBytes(); err == nil && (clear || kept == 0 || took > 0) {
		k.progressAt = k.Loop.Now
	}
	return clear, took, err
}

// PendingBytes returns how many bytes the peer has not taken.
func (k *conn) PendingBytes() int { return len(k.frames) + int(k.sendBuf.PendingBytes()) }

// beginBlock begins a header block.
func (k *conn) beginBlock() (start int) {
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
func (k *conn) appendGoAway(last uint32, c h2.Code, reason string) {
	k.markDirty()
	k.frames = h2.AppendGoAway(k.frames, last, c, reason)
}

// sendPing asks the peer whether it is still there.
func (k *conn) sendPing() {
	k.pingAt = k.Loop.Now
	k.markDirty()
	k.frames = h2.AppendPing(k.frames, make([]byte, 8), 0)
}

// onPing handles PING.
func (k *conn) onPing(f *h2.Frame) {
	if !f.Has(h2.Ack) {
		k.markDirty()
		k.frames = h2.AppendPing(k.frames, f.Payload, h2.Ack)
	}
}

// readTurn reads and handles frames for one turn.
func (k *conn) readTurn() error {
	k.shared.turn = k.Loop.NewTurn()
	return k.readFrames(&k.shared.turn)
}

// readFrames reads and handles frames as long as the turn lasts. An error ends the connection: io.EOF is the
// peer's end.
func (k *conn) readFrames(turn *limits.Turn) error {
	for (k.Readable || k.pending) && !k.inputOver && k.role.wantsInput() {
		if turn.Over(clock.Now) {
			k.Loop.Defer(&k.Conn)
			return nil
		}
		if k.pending {
			k.role.parseFrames(k.partial, turn)
			continue
		}
		p, err := k.readMore(k.partial, k.role.readSize())
		switch {
		case err == syscall.EAGAIN:
			return nil
		case err != nil:
			return err
		}
		k.heardAt, k.pingAt = k.Loop.Now, 0
		turn.Spend(limits.TurnCall)
		k.role.parseFrames(p, turn)
	}
	return nil
}

// readMore reads behind the partial frame and returns both, valid until the loop's next read. It returns
// EAGAIN if there is nothing, io.EOF at the end.
func (k *conn) readMore(kept []byte, most int) ([]byte, error) {
	l := k.shared
	if l.readBuf == nil {
		l.readBuf = make([]byte, h2.HeadSize+h2.FrameMost+allAtOnce)
	}
	at := copy(l.readBuf, kept)
	n, err := k.Read(l.readBuf[at : at+most])
	if n == 0 && err == nil {
		err = io.EOF
	}
	return l.readBuf[:at+max(0, n)], err
}

// handleFrames handles the complete frames of p, as long as the turn lasts, and returns what is left.
func (k *conn) handleFrames(p []byte, turn *limits.Turn) (rest []byte, err error) {
	f, n := &k.shared.frame, 0
	for k.pending = false; !k.inputOver; {
		if k.pending = turn.Over(clock.Now); k.pending {
			break
		}
		*f, n, err = h2.Next(p)
		turn.Spend(costOf(f))
		switch {
		case err != nil:
			return p, err
		case n == 0:
			return p, nil
		}
		p = p[n:]
		if err := k.role.onFrame(f); err != nil {
			return p, err
		}
	}
	return p, nil
}

// costOf returns the cost of a frame in a limits.Turn.
func costOf(f *h2.Frame) int { return 1 + f.Size>>10 }

// keepPartial keeps the start of a frame. p may share partial's memory. hasStreams: another frame will come soon.
func (k *conn) keepPartial(p []byte, hasStreams bool) {
	if len(p) == 0 && (!hasStreams || cap(k.partial) > 2*h2.FrameMost) {
		k.partial = nil
		return
	}
	k.partial = append(k.partial[:0], p...)
}

// stopInput handles no more frames.
func (k *conn) stopInput() { k.inputOver, k.partial, k.block = true, nil, headerBlock{} }

// onCommonFrame handles a frame that means the same at both ends. A header block may have maxBlock bytes.
func (k *conn) onCommonFrame(f *h2.Frame, maxBlock int) error {
	switch f.Type {
	case h2.Headers:
		return k.onHeaders(f)
	case h2.Continuation:
		return k.onContinuation(f, maxBlock)
	case h2.Ping:
		k.onPing(f)
	}
	return nil
}

// onHeaders handles HEADERS.
func (k *conn) onHeaders(f *h2.Frame) error {
	if f.Has(h2.EndHeaders) {
		return k.role.decodeHeaders(f.Stream, f.Has(h2.EndStream), f.Payload)
	}
	k.block.start(f, k.Loop.Now)
	return nil
}

// onContinuation handles CONTINUATION. The block may have most bytes.
func (k *conn) onContinuation(f *h2.Frame, most int) error {
	b, whole, err := k.block.add(f, most)
	if err != nil || !whole {
		return err
	}
	return k.role.decodeHeaders(b.stream, b.endStream, b.bytes)
}

// isInterrupted reports whether a frame comes between those of a header block.
func (k *conn) isInterrupted(f *h2.Frame) bool {
	return k.block.stream != 0 && (f.Type != h2.Continuation || f.Stream != k.block.stream)
}

var (
	errInterrupted = &h2.Error{Code: h2.ProtocolError, Reason: "a header block is interrupted"}
	errConnWindow  = &h2.Error{Code: h2.FlowControlError, Reason: "more bytes than the connection's window lets through"}
)

// takeWindow counts n bytes of DATA that have come.
func (k *conn) takeWindow(n int) error {
	if k.recvWindow -= int64(n); k.recvWindow < 0 {
		return errConnWindow
	}
	return nil
}

// returnWindow returns n bytes to the connection's window, once that is worth a frame.
func (k *conn) returnWindow(n, least int64) {
	if k.unacked += n; k.unacked >= least && !k.inputOver {
		k.markDirty()
		k.frames = h2.AppendWindowUpdate(k.frames, 0, uint32(k.unacked))
		k.recvWindow += k.unacked
		k.unacked = 0
	}
}

// applySettings applies the peer's SETTINGS. first is the initial window of a stream; streams is
// SETTINGS_MAX_CONCURRENT_STREAMS, was if it is not set.
func (k *conn) applySettings(f *h2.Frame, was uint32) (first int64, streams uint32, err error) {
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

// growConnWindow handles WINDOW_UPDATE of the connection.
func (k *conn) growConnWindow(n int64) error {
	if err := growWindow(&k.sendWindow, n); err != nil {
		return err
	}
	k.role.resumeWriters()
	return nil
}

// stream is an open stream to which the peer's windows apply.
type stream interface {
	// sending returns the body that is sent on it.
	sending() *sendBody
	// resumeWriter continues with what was not written for want of a window, if it may be now.
	resumeWriter()
}

// resumeStreams resumes the streams that may write. Each time another one is first, so that none takes the
// whole window again and again.
func resumeStreams[S stream](k *conn, streams []S) {
	for i := range streams {
		streams[(k.nextWriter+i)%len(streams)].resumeWriter()
	}
	k.nextWriter++
}

// setInitialWindow changes the initial window, also of open streams (RFC 9113, 6.9.2).
func setInitialWindow[S stream](k *conn, streams []S, first int64) error {
	if first == k.initialWindow {
		return nil
	}
	for _, s := range streams {
		window := &s.sending().sendWindow
		if *window += first - k.initialWindow; *window > h2.WindowMost {
			return &h2.Error{Code: h2.FlowControlError, Reason: "INITIAL_WINDOW_SIZE makes a window larger than windows may be"}
		}
	}
	k.initialWindow = first
	k.role.resumeWriters()
	return nil
}
