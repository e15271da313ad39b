package h2conn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/h2"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// ClientConn is an HTTP/2 connection to a server. Many requests share it: each has a ClientStream.
type ClientConn struct {
	conn
	cfg            *ClientConfig
	keeper         Keeper
	state          clientState
	streams        []*ClientStream    // open, by their ids
	waiting        []*ClientStream    // until the connection is open
	active         int                // streams and waiting
	nextID         uint32             // id of the next stream
	limit          int                // concurrent streams
	served         bool               // the server has responded on it
	writersBlocked bool               // a stream could not write all, for want of a window
	awaitingEnd    int                // of active: streams that were released before END_STREAM came
	startedAt      balance.Instant    // when the dial began
	cancelDial     context.CancelFunc // of the dial on another goroutine; nil: there is none
	reply          h2.Reply
}

// ClientConfig is how long servers may take. It is immutable.
type ClientConfig struct {
	ConnectTimeout time.Duration // until the server's SETTINGS
	IdleTimeout    time.Duration // without a stream, and without taking what is sent
}

// Keeper keeps connections to a server. Its methods are called on the loop goroutine.
type Keeper interface {
	// Opened is called when the server's SETTINGS have come: streams of the connection are open at once, at most.
	Opened(streams int)
	// Drained is called when the connection opens no more streams, at least once.
	Drained(k *ClientConn)
	// ProtocolError is called when the connection ends because the server broke the protocol.
	ProtocolError(err error)
}

// clientState is the state of a ClientConn.
type clientState uint8

const (
	clientConnecting       clientState = iota // dial or handshake in progress
	clientAwaitingSettings                    // preface sent; the server's SETTINGS have not come
	clientOpen                                // new streams are opened
	clientDraining                            // GOAWAY sent or received: no new streams; closes after the last
	clientClosed
)

const (
	maxClientStreams        = 250       // concurrent streams of one connection
	firstClientStreams      = 100       // until the server's SETTINGS have come
	clientStreamWindow      = 256 << 10 // bytes of a response body that may be on their way, and are kept for a slow client
	clientConnWindow        = 4 << 20   // of all streams of one connection
	clientWindowUpdateAfter = clientConnWindow / 4
	maxAwaitingEnd          = 8 // of one connection
	maxResponseBlock        = 2 * MaxResponseHead
)

var (
	ErrNotTaken   = errors.New("the server did not take the stream")
	errConnClosed = errors.New("the server broke the connection off")
	errSilence    = errors.New("the server does not answer PING")
)

// Init makes a connection that is being dialed. Then connected or attach follows, unless it is closed before. limit is
// how many streams the server is known to allow; zero: it is not known.
func (k *ClientConn) Init(shared *Shared, cfg *ClientConfig, keeper Keeper, limit int) {
	l := shared.Loop
	k.conn = newConn(shared, k)
	k.Loop, k.Conn.Owner, k.Timer.Owner, k.IsServer = l, k, k, true
	k.cfg, k.keeper, k.limit, k.nextID, k.recvWindow = cfg, keeper, cmp.Or(limit, firstClientStreams), 1, h2.WindowFirst
	k.startedAt, k.idleAt = l.Now, l.Now
	k.schedule()
}

// HasRoom reports whether the connection can open another stream now. once: the request cannot be repeated, so it
// is not sent over an idle connection whose end may have come in this iteration.
func (k *ClientConn) HasRoom(once bool) bool {
	return k.active < k.limit && (!once || k.active > 0 || k.state < clientOpen || k.NothingToRead())
}

// DialContext returns the context for a dial on another goroutine, after which connected is called.
func (k *ClientConn) DialContext() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	k.cancelDial = cancel
	return ctx
}

// Abandon drops a connection that could not be begun.
func (k *ClientConn) Abandon() {
	k.Loop.Timers.Stop(&k.Timer)
	k.keeper.Drained(k)
}

// Attach takes a descriptor, which it moves and whose connection is being made.
func (k *ClientConn) Attach(descriptor *fd.FD) error {
	return k.Loop.Register(&k.Conn, descriptor, eventloop.Readiness)
}

// Connected continues with a connection that a goroutine has made. It moves the descriptor unless there is an
// error.
func (k *ClientConn) Connected(descriptor *fd.FD, secure *eventloop.TLSConn, err error) {
	k.cancelDial()
	k.cancelDial = nil
	switch {
	case k.state == clientClosed:
	case err != nil:
		k.CloseWith(err)
	default:
		if err := k.Attach(descriptor); err != nil {
			k.CloseWith(err)
			return
		}
		k.UseTLS(secure)
		k.Writable = true
		k.OnReady()
	}
}

// sendPreface sends the client's preface and SETTINGS.
func (k *ClientConn) sendPreface() {
	l := k.Loop
	k.state = clientAwaitingSettings
	k.decoder = hpack.NewDecoder(4096, func(f hpack.HeaderField) { k.reply.Field(f.Name, f.Value) })
	k.decoder.SetMaxStringLength(maxResponseBlock)
	k.heardAt, k.progressAt = l.Now, l.Now
	k.markDirty()
	k.frames = h2.AppendSettings(append(k.frames, h2.Preface...),
		h2.Chosen{Setting: h2.EnablePush, Value: 0},
		h2.Chosen{Setting: h2.InitialWindowSize, Value: clientStreamWindow},
		h2.Chosen{Setting: h2.MaxHeaderListSize, Value: MaxResponseHead})
	k.frames = h2.AppendWindowUpdate(k.frames, 0, clientConnWindow-h2.WindowFirst)
	k.recvWindow = clientConnWindow
}

// settingsReceived opens the connection: waiting streams begin, as many as the server allows; the others look
// for another connection.
func (k *ClientConn) settingsReceived() {
	k.state, k.limit = clientOpen, min(k.limit, maxClientStreams)
	k.keeper.Opened(k.limit)
	if k.limit == 0 {
		k.CloseWith(errors.New("the server takes no streams"))
		return
	}
	waiting := k.waiting
	k.waiting = nil
	for i, s := range waiting {
		if i < k.limit {
			s.notifyReadable()
		} else {
			s.user.TryAnother()
		}
	}
}

// OnReady implements the conn's owner.
func (k *ClientConn) OnReady() {
	if k.state == clientConnecting {
		if !k.Writable {
			return
		}
		if err := k.FD.Connected(); err != nil {
			k.CloseWith(err)
			return
		}
		k.sendPreface()
	}
	if !k.sendBuf.Empty(&k.Conn) && k.Writable {
		k.markDirty()
	}
	k.readInput()
	if k.IsOpen() {
		k.schedule()
	}
}

// readInput reads and handles frames for one turn.
func (k *ClientConn) readInput() {
	k.afterRead(k.readTurn())
}

// afterRead ends the connection if reading has failed.
func (k *ClientConn) afterRead(err error) {
	switch {
	case err == io.EOF:
		k.CloseWith(err)
	case err != nil:
		k.CloseWith(os.NewSyscallError("read", err))
	}
}

// wantsInput implements role: frames are read up to twice maxPending, more than a writer may queue. Perhaps the
// server reads nothing until its frames are read.
func (k *ClientConn) wantsInput() bool { return k.PendingBytes() < 2*maxPending }

// readSize implements role.
func (k *ClientConn) readSize() int { return allAtOnce }

// parseFrames implements role.
func (k *ClientConn) parseFrames(p []byte, turn *limits.Turn) {
	rest, err := k.handleFrames(p, turn)
	switch {
	case err != nil:
		k.failConn(err)
	case !k.inputOver:
		k.keepPartial(rest, k.active > 0)
	}
}

// flush implements role.
func (k *ClientConn) flush() {
	clear, _, err := k.sendFrames()
	if err != nil {
		k.Readable = true // what the server sent before is still to be read
		if k.sendBuf.Discard(k.Loop); k.state < clientClosed {
			k.afterRead(k.readFrames(&limits.Turn{Most: math.MaxInt64})) // the socket's buffer bounds it
			k.CloseWith(os.NewSyscallError("write", err))
		}
		return
	}
	if k.sendBuf.PendingBytes() < maxPending/2 {
		k.resumeWriters()
		if k.Readable || k.pending {
			k.Loop.Defer(&k.Conn) // it was not read meanwhile
		}
	}
	if clear && k.state == clientDraining && k.active == 0 {
		k.CloseWith(nil)
		return
	}
	k.schedule()
}

// resumeWriters resumes the streams that may write.
func (k *ClientConn) resumeWriters() {
	if !k.writersBlocked {
		return
	}
	resumeStreams(&k.conn, k.streams)
	k.writersBlocked = slices.ContainsFunc(k.streams, func(s *ClientStream) bool { return !s.h1.Writable })
}

// streamClosed counts a stream as closed.
func (k *ClientConn) streamClosed() {
	if k.active--; k.active == 0 && k.state < clientClosed {
		k.idleAt = k.Loop.Now
		k.markDirty() // the flush decides what to do next
	}
}

// Drain opens no more streams.
func (k *ClientConn) Drain() {
	if k.state >= clientDraining {
		return
	}
	k.state = clientDraining
	k.keeper.Drained(k)
	k.markDirty()
}

// failConn ends the connection because the server broke the protocol.
func (k *ClientConn) failConn(err error) {
	code := h2.InternalError
	if why := (*h2.Error)(nil); errors.As(err, &why) {
		code = why.Code
	}
	k.appendGoAway(0, code, "")
	_, _, _ = k.sendFrames() // best effort
	k.keeper.ProtocolError(err)
	k.CloseWith(fmt.Errorf("connection: %w", err))
}

// CloseWith ends the connection and all its streams.
func (k *ClientConn) CloseWith(err error) {
	if k.state == clientClosed {
		return
	}
	k.state = clientClosed
	l := k.Loop
	if k.cancelDial != nil {
		k.cancelDial()
	}
	k.keeper.Drained(k)
	l.Timers.Stop(&k.Timer)
	if err == nil && k.sendBuf.Empty(&k.Conn) {
		k.SendCloseNotify()
	}
	k.sendBuf.Discard(l)
	k.stopInput()
	k.Conn.Close()
	for _, s := range k.waiting {
		s.detachWith(err, false)
	}
	for _, s := range k.streams {
		s.NothingSent = k.socketTook <= s.sentBefore
		s.detachWith(err, k.served)
	}
	k.waiting, k.streams = nil, nil
}
