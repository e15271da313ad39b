package master

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/inside"
	"github.com/evenkeel-lb/evenkeel/internal/poison"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// limits bounds how long a peer can make a connection wait, and what it can make it keep.
type limits struct {
	handshake  time.Duration // from the accept to a complete Hello
	quiet      time.Duration // without a byte until a peer is pinged, and from then until it counts as dead
	write      time.Duration // at most for one write; at least half of it
	lingerTime time.Duration // for a peer to read the last frame before the socket is closed
	outBytes   int           // waiting to be written; a peer for which more would wait is disconnected
}

var standardLimits = limits{handshake: 5 * time.Second, quiet: 3 * time.Second, write: 5 * time.Second, lingerTime: time.Second, outBytes: 8 << 20}

const (
	smallBuffer = 4 << 10   // of an idle connection
	batchBytes  = 64 << 10  // at most, in one read of small frames
	lingerBytes = 256 << 10 // read and discarded after the last frame
)

// conn is one connection. Its reader, a goroutine or a loop, reads, handles all frames, and writes the answers
// at once. Frames from other goroutines are written by a goroutine that ends when they are written: most
// connections are idle, and there are thousands.
type conn struct {
	net.Conn     // nil while a loop reads it
	remote       string
	software     string // of the peer: name and version; set before the peer is registered
	accepted     balance.Instant
	identity     *trust.Peer   // by its certificate; nil: none is required. Set once, like origin, before the peer is registered
	origin       inside.Origin //
	limits       *limits
	log          *slog.Logger
	drop         context.CancelCauseFunc // ends the connection, from any goroutine; a *wire.Fail is sent to the peer
	ended        chan struct{}           // closed when no frame of the peer will be handled any more
	lastReceived atomic.Int64            // balance.Instant of the last byte
	faults       faults                  // owned by the reader
	buffers      *decodeBuffers          // the reader's
	metricNames  [][]string              // of each form, by its number less one; owned by the reader

	account      *account    // of the role's partial frames; set before the first frame is read, else nil
	partialBytes int         // of this connection in account; owned by the reader
	greeted      atomic.Bool // it has sent a Hello, or has ended before

	full atomic.Bool // the socket takes no more for now; set under mu

	mu sync.Mutex // guards the following
	connWriter
}

// connWriter is what is to be written. mu guards it.
type connWriter struct {
	loopWriter    loopWriter // of the loop; nil: a goroutine reads
	out           []byte     // to be written
	batch         []byte     // being written; batch[:written] is written
	written       int
	writing       bool
	writeDeadline balance.Instant // the write deadline; with a loop: of a batch that the socket did not take
	closed        bool            // nothing more is written
	writers       sync.WaitGroup  // none is started once it is closed
}

// decodeBuffers are the messages that a reader decodes large frames into, one after the other. Connections of
// one loop share them.
type decodeBuffers struct {
	ask     wire.Ask
	done    wire.Done
	reports wire.Reports
	hold    wire.Hold
	chosen  wire.Chosen
}

// loopWriter is how a conn writes while a loop reads it.
type loopWriter interface {
	// tryWrite writes as much as the socket takes.
	tryWrite(p []byte) (int, error)
	// awaitWritableLocked has becameWritable called when the socket takes more. The conn's mu must be held.
	awaitWritableLocked() error
	// releaseFD gives the descriptor up and returns it as a blocking connection; nil on failure.
	releaseFD() net.Conn
}

// peer is the part of a connection that differs by role.
type peer interface {
	// onFrame handles one frame that was read at now. It may keep a pool locked until takeReplies. errGoodbye
	// reports that the peer has left.
	onFrame(ctx context.Context, now balance.Instant, t wire.Type, payload []byte) error
	// takeReplies unlocks what onFrame has locked and returns the replies.
	takeReplies(now balance.Instant) []byte
	// readyForLoop reports whether onFrame waits for nothing but locks from now on.
	readyForLoop() bool
	// onDisconnect gives up what the peer has here. It may wait for the peer's goroutines.
	onDisconnect(why error)
}

var errSlowReader = errors.New("the peer reads too slowly: what waits for it has outgrown its buffer")

// send has frames written soon. It does not block; any goroutine may call it.
func (c *conn) send(frames []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	idle := len(c.out) == 0 // otherwise they are about to be written
	if c.appendLocked(frames) && idle && !c.writing && !c.full.Load() && !c.closed {
		c.writers.Go(func() { c.flush(clock.Now()) })
	}
}

func (c *conn) append(frames []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.appendLocked(frames)
}

// appendLocked appends frames to out. It reports whether they fitted; if not, the connection ends.
func (c *conn) appendLocked(frames []byte) bool {
	if len(c.out) > 0 && len(c.out)+len(frames) > c.limits.outBytes {
		c.drop(errSlowReader)
		return false
	}
	c.out = append(c.out, frames...)
	return true
}

// flush writes all that waits, or with a loop what the socket takes, unless another goroutine is writing.
func (c *conn) flush(now balance.Instant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writing {
		return
	}
	c.writing = true
	for !c.closed && !c.full.Load() && c.nextBatchLocked() {
		if err := c.writeBatchLocked(now); err != nil {
			c.out, c.closed = nil, true
			c.drop(fmt.Errorf("writing: %w", err))
			break
		}
	}
	c.writing = false
}

// nextBatchLocked makes out the batch if the last one is written. It reports whether there is anything to
// write.
func (c *conn) nextBatchLocked() bool {
	if c.written == len(c.batch) {
		if cap(c.batch) > batchBytes {
			c.batch = nil
		}
		c.batch, c.out, c.written = c.out, c.batch[:0], 0
	}
	return c.written < len(c.batch)
}

// writeBatchLocked writes the batch. It unlocks mu meanwhile.
func (c *conn) writeBatchLocked(now balance.Instant) error {
	w, rest := c.loopWriter, c.batch[c.written:]
	if w == nil && c.writeDeadline.Sub(now) < c.limits.write/2 {
		c.writeDeadline = now.Add(c.limits.write)
		_ = c.SetWriteDeadline(time.Now().Add(c.limits.write))
	}
	var n int
	var err error
	c.mu.Unlock()
	if w == nil {
		n, err = c.Write(rest)
	} else {
		n, err = w.tryWrite(rest)
	}
	c.mu.Lock()
	if c.written += n; w == nil || err != nil {
		return err
	}
	if n == len(rest) {
		c.writeDeadline = 0
		return nil
	}
	switch {
	case c.writeDeadline == 0:
		c.writeDeadline = now.Add(c.limits.write)
	case now > c.writeDeadline:
		return os.ErrDeadlineExceeded
	}
	c.full.Store(true)
	return w.awaitWritableLocked()
}

// becameWritable continues writing after the socket was full.
func (c *conn) becameWritable(now balance.Instant) {
	c.mu.Lock()
	c.full.Store(false)
	c.mu.Unlock()
	c.flush(now)
}

// writeOverdue reports whether the batch has not been written in time.
func (c *conn) writeOverdue(now balance.Instant) bool {
	if !c.full.Load() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.full.Load() && now > c.writeDeadline
}

// handle has the peer handle the frames in in and writes the answers. It returns how many bytes they were.
func (s *connSession) handle(now balance.Instant, in []byte) (used int, err error) {
	used, err = s.dispatchFrames(s.ctx, now, in, s.peer)
	if out := s.peer.takeReplies(now); len(out) > 0 && s.append(out) {
		s.flush(now)
	}
	s.faults.logDue(s.log, now)
	return used, err
}

// readLoop handles frames until the connection ends or is moved to a loop, and returns why. The buffer may
// hold what came after the Hello.
func (s *connSession) readLoop(in []byte) error {
	var armed balance.Instant
	pinged, now := false, clock.Now()
	for {
		used, err := s.handle(now, in)
		if err != nil {
			return err
		}
		if s.peer.readyForLoop() && s.loops.moveConn(s, in[used:]) {
			return errMoved
		}
		if err := s.accountPartial(s.peers, len(in)-used); err != nil {
			return err
		}
		in = growBuffer(in, used)
		if now.Sub(armed) > s.limits.quiet/4 {
			armed = now
			_ = s.SetReadDeadline(time.Now().Add(s.limits.quiet))
		}
		if s.ctx.Err() != nil { // checked after the deadline is set, since the end of ctx sets it too
			return context.Cause(s.ctx)
		}
		n, err := s.Read(in[len(in):cap(in)])
		in, now = in[:len(in)+n], clock.Now()
		switch {
		case n > 0:
			s.lastReceived.Store(int64(now))
			pinged = false
		case s.ctx.Err() != nil:
			return context.Cause(s.ctx)
		case isTimeout(err) && !pinged:
			s.sendPing(now)
			pinged, armed = true, 0
		case isTimeout(err):
			return s.silenceError()
		case err != nil:
			return fmt.Errorf("reading: %w", err)
		}
	}
}

// errMoved reports that a loop serves the connection from now on.
var errMoved = errors.New("moved to a loop")

func (c *conn) sendPing(now balance.Instant) { c.send((&wire.Ping{Seq: uint64(now)}).Append(nil)) }

func (c *conn) silenceError() error {
	return fmt.Errorf("nothing received for %v, not even the answer to a ping", 2*c.limits.quiet)
}

// dispatchFrames passes all complete frames to p and returns how many bytes they were.
func (c *conn) dispatchFrames(ctx context.Context, now balance.Instant, in []byte, p peer) (used int, err error) {
	for {
		t, payload, size, err := wire.Next(in[used:])
		if err != nil {
			return used, &wire.Fail{Code: wire.BadFrame, Detail: err.Error()}
		}
		if size == 0 {
			return used, nil
		}
		used += size
		err = p.onFrame(ctx, now, t, payload)
		poison.Fill(payload)
		if err != nil {
			var bad *wire.FrameError
			if errors.As(err, &bad) {
				err = &wire.Fail{Code: wire.BadFrame, Detail: err.Error()}
			}
			return used, err
		}
	}
}

// growBuffer moves unused bytes to the front and makes space behind them.
func growBuffer(in []byte, used int) []byte {
	rest := in[used:]
	switch size := cap(in); {
	case len(rest) == 0 && size > batchBytes:
		return make([]byte, 0, batchBytes)
	case len(in) == size && (size < batchBytes || len(rest) > size/2):
		// The last read filled the buffer: more is waiting, or one frame is larger.
		return append(make([]byte, 0, max(smallBuffer, min(2*size, wire.MaxFrame+batchBytes))), rest...)
	}
	return append(in[:0], rest...)
}

// sendLast sends a last frame and waits for the peer to read it.
func (c *conn) sendLast(last []byte) {
	_ = c.SetDeadline(time.Now().Add(c.limits.lingerTime))
	if _, err := c.Write(last); err != nil {
		return
	}
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	// Closing a socket with unread bytes resets it, and may destroy what was just sent.
	_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
}

func isTimeout(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) && netErr.Timeout()
}

// faults gathers what a peer does wrong, for one log record a second at most.
type faults struct {
	first      error
	n          int
	lastLogged balance.Instant
}

func (f *faults) add(err error) {
	if f.first == nil {
		f.first = err
	}
	f.n++
}

func (f *faults) logDue(log *slog.Logger, now balance.Instant) {
	if f.n == 0 || f.lastLogged != 0 && now.Sub(f.lastLogged) < time.Second {
		return
	}
	log.Warn("peer sent invalid or doubtful data", "err", f.first, "faults", f.n)
	*f = faults{lastLogged: now}
}
