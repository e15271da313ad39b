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

// limits bound what a peer can make a connection wait or hold.
type limits struct {
	handshake time.Duration // from the accept to a whole Hello
	quiet     time.Duration // without a byte before a peer is pinged, and from then until it counts as dead
	write     time.Duration // for one write to be taken, at most; half of it at least
	linger    time.Duration // for a peer to read the last frame before the socket closes
	outBytes  int           // waiting to be written; if something is and more would exceed it, the connection is dropped
}

var standardLimits = limits{handshake: 5 * time.Second, quiet: 3 * time.Second, write: 5 * time.Second, linger: time.Second, outBytes: 8 << 20}

const (
	smallBuffer = 4 << 10   // of an idle connection
	batchBytes  = 64 << 10  // read at once, at most, of small frames
	lingerBytes = 256 << 10 // read and thrown away after the last frame
)

// conn is one connection. Its reader, a goroutine or a loop, reads, handles all that it
// has read, and writes the answers at once; what others send is written by a goroutine that
// lives no longer than that takes, for most connections are idle and thousands.
type conn struct {
	net.Conn // nil while a loop reads it
	remote   string
	software string // of the peer: name and version; set before the peer is entered
	accepted balance.Instant
	who      *trust.Peer   // by its certificate; nil: none is wanted here. Set once, as from is, before the peer is entered
	from     inside.Origin //
	limits   *limits
	log      *slog.Logger
	drop     context.CancelCauseFunc // ends the connection, from any goroutine; a *wire.Fail is told to the peer
	ended    chan struct{}           // closed when nothing more of what the peer said will be done
	heard    atomic.Int64            // balance.Instant of the last byte
	faults   faults                  // owned by the reader
	desk     *desk                   // of the reader
	forms    [][]string              // names of metrics, by the number of the form less one; owned by the reader

	account *account    // of the role's unfinished frames; set before the peer is read, nil before it is known
	kept    int         // bytes in it; owned by the reader
	known   atomic.Bool // it has said hello, or has ended before

	full atomic.Bool // nothing more can be written just now; set under mu

	mu      sync.Mutex // guards the following
	window  window     // of the loop; nil: a goroutine reads
	out     []byte     // to be written
	going   []byte     // the batch on its way; going[gone:] has not gone
	gone    int
	writing bool
	writeBy balance.Instant // the deadline that is set for writing; of a window: for the batch that does not go
	over    bool            // nothing more is to be written
	writers sync.WaitGroup  // nobody joins once it is over
}

// desk is where a reader decodes what may be large, one frame after the other. Those who
// are read by one loop share it.
type desk struct {
	ask     wire.Ask
	done    wire.Done
	reports wire.Reports
	hold    wire.Hold
}

// window is what a conn has of the loop that reads it.
type window interface {
	// write writes what goes now.
	write(p []byte) (int, error)
	// await has emptied called when there is room again. It wants the conn's mu held.
	await() error
	// release parts from the descriptor, and returns it as a connection that blocks; nil: it cannot be made one.
	release() net.Conn
}

// peer is what an edge's and an agent's connection differ in.
type peer interface {
	// frame takes one frame that was read at now. It may hold a pool's lock from one
	// call to the next. errGoodbye says that the peer has
	// left in good order.
	frame(ctx context.Context, now balance.Instant, t wire.Type, payload []byte) error
	// settle lets go of whatever frame holds, and hands over what is to be written.
	settle(now balance.Instant) []byte
	// steady reports whether frame, from now on, never waits for anything but a lock.
	steady() bool
	// leave gives up what the peer has here. It may wait for those who work for it.
	leave(why error)
}

var errSlow = errors.New("the peer reads too slowly: what waits for it has outgrown its buffer")

// send hands over frames to be written soon. It never blocks; any goroutine may call it.
func (c *conn) send(frames []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	idle := len(c.out) == 0 // else somebody is about to write already
	if c.put(frames) && idle && !c.writing && !c.full.Load() && !c.over {
		c.writers.Go(func() { c.flush(clock.Now()) })
	}
}

func (c *conn) append(frames []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.put(frames)
}

// put wants mu held.
func (c *conn) put(frames []byte) bool {
	if len(c.out) > 0 && len(c.out)+len(frames) > c.limits.outBytes {
		c.drop(errSlow)
		return false
	}
	c.out = append(c.out, frames...)
	return true
}

// flush writes all that waits, or of a window what goes now, unless another goroutine is
// at it already.
func (c *conn) flush(now balance.Instant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writing {
		return
	}
	c.writing = true
	for !c.over && !c.full.Load() && c.load() {
		if err := c.write(now); err != nil {
			c.out, c.over = nil, true
			c.drop(fmt.Errorf("writing: %w", err))
			break
		}
	}
	c.writing = false
}

// load makes what waits the batch that goes, if none is on its way; false: there is neither.
func (c *conn) load() bool {
	if c.gone == len(c.going) {
		if cap(c.going) > batchBytes {
			c.going = nil
		}
		c.going, c.out, c.gone = c.out, c.going[:0], 0
	}
	return c.gone < len(c.going)
}

// write writes the batch. It lets go of mu meanwhile.
func (c *conn) write(now balance.Instant) error {
	w, rest := c.window, c.going[c.gone:]
	if w == nil && c.writeBy.Sub(now) < c.limits.write/2 {
		c.writeBy = now.Add(c.limits.write)
		_ = c.SetWriteDeadline(time.Now().Add(c.limits.write))
	}
	var n int
	var err error
	c.mu.Unlock()
	if w == nil {
		n, err = c.Write(rest)
	} else {
		n, err = w.write(rest)
	}
	c.mu.Lock()
	if c.gone += n; w == nil || err != nil {
		return err
	}
	if n == len(rest) {
		c.writeBy = 0
		return nil
	}
	switch {
	case c.writeBy == 0:
		c.writeBy = now.Add(c.limits.write)
	case now > c.writeBy:
		return os.ErrDeadlineExceeded
	}
	c.full.Store(true)
	return w.await()
}

// emptied goes on writing, for a window has room again.
func (c *conn) emptied(now balance.Instant) {
	c.mu.Lock()
	c.full.Store(false)
	c.mu.Unlock()
	c.flush(now)
}

// stuck reports whether a batch will not have gone in time.
func (c *conn) stuck(now balance.Instant) bool {
	if !c.full.Load() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.full.Load() && now > c.writeBy
}

// handle has the peer take the frames of in and writes the answers. It returns how many
// bytes they were.
func (s *stay) handle(now balance.Instant, in []byte) (used int, err error) {
	used, err = s.frames(s.ctx, now, in, s.peer)
	if out := s.peer.settle(now); len(out) > 0 && s.append(out) {
		s.flush(now)
	}
	s.faults.tell(s.log, now)
	return used, err
}

// read takes frames until the connection ends, and returns why, or until a loop has taken
// it over. The buffer may hold what came behind the Hello.
func (s *stay) read(in []byte) error {
	var armed balance.Instant
	pinged, now := false, clock.Now()
	for {
		used, err := s.handle(now, in)
		if err != nil {
			return err
		}
		if s.peer.steady() && s.loops.move(s, in[used:]) {
			return errMoved
		}
		if err := s.keeps(s.peers, len(in)-used); err != nil {
			return err
		}
		in = room(in, used)
		if now.Sub(armed) > s.limits.quiet/4 {
			armed = now
			_ = s.SetReadDeadline(time.Now().Add(s.limits.quiet))
		}
		if s.ctx.Err() != nil { // after the deadline was set, for the end of ctx sets it too
			return context.Cause(s.ctx)
		}
		n, err := s.Read(in[len(in):cap(in)])
		in, now = in[:len(in)+n], clock.Now()
		switch {
		case n > 0:
			s.heard.Store(int64(now))
			pinged = false
		case s.ctx.Err() != nil:
			return context.Cause(s.ctx)
		case isTimeout(err) && !pinged:
			s.ping(now)
			pinged, armed = true, 0
		case isTimeout(err):
			return s.silent()
		case err != nil:
			return fmt.Errorf("reading: %w", err)
		}
	}
}

// errMoved says that a loop serves the connection from now on.
var errMoved = errors.New("moved to a loop")

func (c *conn) ping(now balance.Instant) { c.send((&wire.Ping{Seq: uint64(now)}).Append(nil)) }

func (c *conn) silent() error {
	return fmt.Errorf("nothing heard for %v, not even the answer to a ping", 2*c.limits.quiet)
}

// frames hands all complete frames to p and returns how many bytes they were.
func (c *conn) frames(ctx context.Context, now balance.Instant, in []byte, p peer) (used int, err error) {
	for {
		t, payload, size, err := wire.Next(in[used:])
		if err != nil {
			return used, &wire.Fail{Code: wire.BadFrame, Detail: err.Error()}
		}
		if size == 0 {
			return used, nil
		}
		used += size
		err = p.frame(ctx, now, t, payload)
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

// room moves what was not used to the front and makes room for more behind it.
func room(in []byte, used int) []byte {
	rest := in[used:]
	switch size := cap(in); {
	case len(rest) == 0 && size > batchBytes:
		return make([]byte, 0, batchBytes)
	case len(in) == size && (size < batchBytes || len(rest) > size/2):
		// The last read filled it: more is waiting, or one frame is larger.
		return append(make([]byte, 0, max(smallBuffer, min(2*size, wire.MaxFrame+batchBytes))), rest...)
	}
	return append(in[:0], rest...)
}

// farewell tells the peer why, if that is for it, and lets it read that.
func (c *conn) farewell(last []byte) {
	_ = c.SetDeadline(time.Now().Add(c.limits.linger))
	if _, err := c.Write(last); err != nil {
		return
	}
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	// Closing a socket with bytes unread resets it, and may destroy what was just sent.
	_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes)
}

func isTimeout(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) && netErr.Timeout()
}

// faults gathers what a peer does wrong and is told in the log once a second at most.
type faults struct {
	first error
	n     int
	told  balance.Instant
}

func (f *faults) add(err error) {
	if f.first == nil {
		f.first = err
	}
	f.n++
}

func (f *faults) tell(log *slog.Logger, now balance.Instant) {
	if f.n == 0 || f.told != 0 && now.Sub(f.told) < time.Second {
		return
	}
	log.Warn("peer is at fault", "err", f.first, "faults", f.n)
	*f = faults{told: now}
}
