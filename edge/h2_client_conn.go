package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"syscall"

	"golang.org/x/net/http2/hpack"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/h2"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// h2ClientConn is an HTTP/2 connection to a server. Many links share it: each has an h2ClientStream.
type h2ClientConn struct {
	h2Conn
	timer
	list           *h2ConnList
	state          h2ClientState
	streams        []*h2ClientStream // open, by their ids
	waiting        []*h2ClientStream // until the connection is open
	active         int               // streams and waiting
	nextID         uint32            // id of the next stream
	limit          int               // concurrent streams
	served         bool              // the server has responded on it
	nextWriter     int               // index of the stream that may write first
	writersBlocked bool              // a stream could not write all, for want of a window
	awaitingEnd    int               // of active: streams whose links have ended before END_STREAM came
	startedAt      balance.Instant   // when the dial began
	cancelDial     context.CancelFunc

	// Reading.
	partial    []byte // start of a frame whose end has not come
	pending    bool   // partial begins with complete frames that did not fit into their turn
	recvWindow int64  // connection window: bytes of DATA that may still come
	unacked    int64  // bytes to be returned to the window, not announced yet
	decoder    *hpack.Decoder
	reply      h2.Reply
	block      headerBlock

	// Times.
	heardAt    balance.Instant // of the server's last byte
	progressAt balance.Instant // the server last took bytes, or there were none to take
	pingAt     balance.Instant // a PING was sent; zero: none is unanswered
	idleAt     balance.Instant // the last stream ended
}

// h2ClientState is the state of an h2ClientConn.
type h2ClientState uint8

const (
	h2ClientConnecting       h2ClientState = iota // dial or handshake in progress
	h2ClientAwaitingSettings                      // preface sent; the server's SETTINGS have not come
	h2ClientOpen                                  // new streams are opened
	h2ClientDraining                              // GOAWAY sent or received: no new streams; closes after the last
	h2ClientClosed
)

const (
	maxClientStreams        = 250       // concurrent streams of one connection
	firstClientStreams      = 100       // until the server's SETTINGS have come
	clientStreamWindow      = 256 << 10 // bytes of a response body that may be on their way, and are kept for a slow client
	clientConnWindow        = 4 << 20   // of all streams of one connection
	clientWindowUpdateAfter = clientConnWindow / 4
	maxAwaitingEnd          = 8    // of one connection
	maxFreeClientStreams    = 1024 // kept for later streams
	maxResponseBlock        = 2 * maxResponseHead
)

var (
	errNotTaken = errors.New("the server did not take the stream")
	errSilence  = errors.New("the server does not answer PING")
)

// h2ConnList is the connections to one target that open new streams, or will.
type h2ConnList struct {
	key    target
	server serverRef
	conns  []*h2ClientConn
	limit  int // concurrent streams of one of them, as far as is known
}

// h2ConnFor returns a connection that can open another stream, and makes one if there is none. once: the
// request cannot be repeated, so it is not sent over an idle connection whose end may have come in this
// iteration.
func (l *loop) h2ConnFor(key target, of serverRef, once bool) (*h2ClientConn, error) {
	list := l.h2Conns[key]
	if list == nil {
		list = &h2ConnList{key: key, server: of, limit: firstClientStreams}
		l.h2Conns[key] = list
		l.drainStale(of, key)
	}
	for _, k := range list.conns {
		if k.active < k.limit && (!once || k.active > 0 || k.state < h2ClientOpen || k.nothingToRead()) {
			return k, nil
		}
	}
	k := &h2ClientConn{list: list, nextID: 1, limit: list.limit, recvWindow: h2.WindowFirst, idleAt: l.now}
	k.h2Conn = newH2Conn(k)
	k.loop, k.conn.owner, k.timer.owner, k.isServer = l, k, k, true
	k.startedAt = l.now
	list.conns = append(list.conns, k)
	if err := k.connect(); err != nil {
		k.removeFromList()
		return nil, err
	}
	k.schedule()
	return k, nil
}

// connect begins the dial: on a goroutine, if a name has to be resolved or a TLS handshake made.
func (k *h2ClientConn) connect() error {
	l, key := k.loop, &k.list.key
	if key.tls == nil {
		descriptor, err := l.engine.connect(key.address)
		if err != nil {
			return err
		}
		if descriptor.IsOpen() {
			return k.registerFD(&descriptor)
		}
	}
	ctx, abandon := context.WithTimeout(context.Background(), l.engine.edge.cfg.ConnectTimeout)
	k.cancelDial = abandon
	l.engine.background.Go(func() {
		descriptor, secure, err := l.engine.dialBlocking(ctx, key)
		if !l.post(message{do: func() { k.connected(&descriptor, secure, err); descriptor.Close() }}) {
			descriptor.Close()
		}
	})
	return nil
}

// registerFD registers the descriptor, which it moves.
func (k *h2ClientConn) registerFD(descriptor *fd.FD) error {
	return k.loop.register(&k.conn, descriptor, readiness)
}

// dialBlocking makes a connection, with a TLS handshake if the target has TLS.
func (e *loopEngine) dialBlocking(ctx context.Context, key *target) (descriptor fd.FD, secure *tlsConn, err error) {
	conn, err := e.edge.reaches.DialContext(ctx, "tcp", key.address)
	if err != nil {
		return fd.FD{}, nil, err
	}
	if key.tls != nil {
		if secure, err = handshake(ctx, conn, key); err != nil {
			_ = conn.Close() // nothing was sent
			return fd.FD{}, nil, err
		}
	}
	descriptor, err = fd.Take(conn)
	return descriptor.Move(), secure, err
}

// connected continues with a connection that a goroutine has made. It moves the descriptor unless there is an
// error.
func (k *h2ClientConn) connected(descriptor *fd.FD, secure *tlsConn, err error) {
	k.cancelDial()
	k.cancelDial = nil
	switch {
	case k.state == h2ClientClosed:
	case err != nil:
		k.closeConn(err)
	default:
		if err := k.registerFD(descriptor); err != nil {
			k.closeConn(err)
			return
		}
		k.useTLS(secure)
		k.writable = true
		k.onReady()
	}
}

// sendPreface sends the client's preface and SETTINGS.
func (k *h2ClientConn) sendPreface() {
	l := k.loop
	k.state = h2ClientAwaitingSettings
	k.decoder = hpack.NewDecoder(4096, func(f hpack.HeaderField) { k.reply.Field(f.Name, f.Value) })
	k.decoder.SetMaxStringLength(maxResponseBlock)
	k.heardAt, k.progressAt = l.now, l.now
	k.markDirty()
	k.frames = h2.AppendSettings(append(k.frames, h2.Preface...),
		h2.Chosen{Setting: h2.EnablePush, Value: 0},
		h2.Chosen{Setting: h2.InitialWindowSize, Value: clientStreamWindow},
		h2.Chosen{Setting: h2.MaxHeaderListSize, Value: maxResponseHead})
	k.frames = h2.AppendWindowUpdate(k.frames, 0, clientConnWindow-h2.WindowFirst)
	k.recvWindow = clientConnWindow
}

// settingsReceived opens the connection: waiting streams begin, as many as the server allows; the others look
// for another connection.
func (k *h2ClientConn) settingsReceived() {
	k.state, k.list.limit = h2ClientOpen, min(k.limit, maxClientStreams)
	k.limit = k.list.limit
	if k.limit == 0 {
		k.closeConn(errors.New("the server takes no streams"))
		return
	}
	waiting := k.waiting
	k.waiting = nil
	for i, s := range waiting {
		if i < k.limit {
			s.notifyReadable()
			continue
		}
		f := s.client
		f.dropServer()
		f.connectServer()
	}
}

// onReady implements the conn's owner.
func (k *h2ClientConn) onReady() {
	if k.state == h2ClientConnecting {
		if !k.writable {
			return
		}
		if err := k.fd.Connected(); err != nil {
			k.closeConn(err)
			return
		}
		k.sendPreface()
	}
	if !k.sendBuf.empty() && k.writable {
		k.markDirty()
	}
	k.readFrames()
	if k.isOpen() {
		k.schedule()
	}
}

// readFrames reads and handles frames for one turn.
func (k *h2ClientConn) readFrames() {
	turn := k.loop.newTurn()
	k.readFramesFor(&turn)
}

// readFramesFor reads up to twice maxPending, more than a writer may queue: perhaps the server reads nothing
// until its frames are read.
func (k *h2ClientConn) readFramesFor(turn *limits.Turn) {
	l := k.loop
	for (k.readable || k.pending) && k.state < h2ClientClosed && k.pendingBytes() < 2*maxPending {
		if turn.Over(clock.Now) {
			l.deferConn(&k.conn)
			return
		}
		if k.pending {
			k.parseFrames(k.partial, turn)
			continue
		}
		p, err := k.readMore(k.partial, allAtOnce)
		switch {
		case err == syscall.EAGAIN:
			return
		case err == io.EOF:
			k.closeConn(err)
			return
		case err != nil:
			k.closeConn(os.NewSyscallError("read", err))
			return
		}
		k.heardAt, k.pingAt = l.now, 0
		turn.Spend(limits.TurnCall)
		k.parseFrames(p, turn)
	}
}

// parseFrames handles the complete frames and keeps the rest. p may share partial's memory.
func (k *h2ClientConn) parseFrames(p []byte, turn *limits.Turn) {
	for k.pending = false; k.state < h2ClientClosed; {
		if k.pending = turn.Over(clock.Now); k.pending {
			break
		}
		f, n, err := h2.Next(p)
		turn.Spend(costOf(&f))
		if err == nil && n > 0 {
			p = p[n:]
			err = k.onFrame(&f)
		}
		if err != nil {
			k.failConn(err)
			return
		}
		if n == 0 {
			break
		}
	}
	if k.state == h2ClientClosed {
		return
	}
	if len(p) == 0 && (k.active == 0 || cap(k.partial) > 2*h2.FrameMost) {
		k.partial = nil
		return
	}
	k.partial = append(k.partial[:0], p...)
}

// flush sends frames.
func (k *h2ClientConn) flush() {
	waited := k.sendBuf.pendingBytes()
	clear, took, err := k.sendFrames()
	if err != nil {
		k.readable = true // what the server sent before is still to be read
		if k.sendBuf.discard(k.loop); k.state < h2ClientClosed {
			k.readFramesFor(&limits.Turn{Most: math.MaxInt64}) // the socket's buffer bounds it
			k.closeConn(os.NewSyscallError("write", err))
		}
		return
	}
	if clear || waited == 0 || took > 0 {
		k.progressAt = k.loop.now
	}
	if k.sendBuf.pendingBytes() < maxPending/2 {
		k.resumeWriters()
		if k.readable || k.pending {
			k.loop.deferConn(&k.conn) // it was not read meanwhile
		}
	}
	if clear && k.state == h2ClientDraining && k.active == 0 {
		k.closeConn(nil)
		return
	}
	k.schedule()
}

// resumeWriters resumes the streams that may write. Each time another one is first, so that none takes the
// whole window again and again.
func (k *h2ClientConn) resumeWriters() {
	if !k.writersBlocked {
		return
	}
	k.writersBlocked = false
	n := len(k.streams)
	for i := range n {
		s := k.streams[(k.nextWriter+i)%n]
		s.resumeWriter()
		k.writersBlocked = k.writersBlocked || !s.writable
	}
	k.nextWriter++
}

// streamClosed counts a stream as closed.
func (k *h2ClientConn) streamClosed() {
	if k.active--; k.active == 0 && k.state < h2ClientClosed {
		k.idleAt = k.loop.now
		k.markDirty() // the flush decides what to do next
	}
}

// drain opens no more streams.
func (k *h2ClientConn) drain() {
	if k.state >= h2ClientDraining {
		return
	}
	k.state = h2ClientDraining
	k.removeFromList()
	k.markDirty()
}

// removeFromList removes it from the connections that open new streams.
func (k *h2ClientConn) removeFromList() {
	list := k.list
	if i := slices.Index(list.conns, k); i >= 0 {
		list.conns = slices.Delete(list.conns, i, i+1)
	}
	if len(list.conns) == 0 && k.loop.h2Conns[list.key] == list {
		delete(k.loop.h2Conns, list.key)
	}
}

// closeH2Conns closes all HTTP/2 connections to servers.
func (l *loop) closeH2Conns() {
	for _, list := range l.h2Conns {
		for _, k := range slices.Clone(list.conns) {
			k.closeConn(nil)
		}
	}
	for i := range l.registrations { // draining ones are in no list
		if e := l.registrations[i].conn; e != nil {
			if k, ok := e.owner.(*h2ClientConn); ok {
				k.closeConn(nil)
			}
		}
	}
}

// failConn ends the connection because the server broke the protocol.
func (k *h2ClientConn) failConn(err error) {
	code := h2.InternalError
	if why := (*h2.Error)(nil); errors.As(err, &why) {
		code = why.Code
	}
	k.appendGoAway(0, code, "")
	_, _, _ = k.sendFrames() // best effort
	k.loop.engine.edge.cfg.Log.Debug("connection to a server given up", "address", k.list.key.address, "err", err)
	k.closeConn(fmt.Errorf("connection: %w", err))
}

// closeConn ends the connection and all its streams.
func (k *h2ClientConn) closeConn(err error) {
	if k.state == h2ClientClosed {
		return
	}
	k.state = h2ClientClosed
	l := k.loop
	if k.cancelDial != nil {
		k.cancelDial()
	}
	k.removeFromList()
	l.timers.stop(&k.timer)
	if err == nil && k.sendBuf.empty() {
		k.sendCloseNotify()
	}
	k.sendBuf.discard(l)
	k.partial, k.block = nil, headerBlock{}
	k.conn.close()
	for _, s := range k.waiting {
		s.detachWith(err, false)
	}
	for _, s := range k.streams {
		s.nothingSent = k.socketTook <= s.sentBefore
		s.detachWith(err, k.served)
	}
	k.waiting, k.streams = nil, nil
}

// schedule sets the timer to the next timeout.
func (k *h2ClientConn) schedule() {
	switch {
	case k.state < h2ClientOpen:
		k.loop.timers.set(&k.timer, k.startedAt.Add(k.loop.engine.edge.cfg.ConnectTimeout))
	case !k.sendBuf.empty():
		k.loop.timers.set(&k.timer, k.progressAt.Add(defaultIdleTimeout))
	case k.active == 0:
		k.loop.timers.set(&k.timer, k.idleAt.Add(defaultIdleTimeout))
	case k.pingAt != 0:
		k.loop.timers.set(&k.timer, k.pingAt.Add(pingWait))
	default:
		k.loop.timers.set(&k.timer, k.heardAt.Add(pingAfter))
	}
}

// onTimer implements the timer's owner.
func (k *h2ClientConn) onTimer() {
	now := k.loop.now
	switch {
	case k.state < h2ClientOpen:
		k.closeConn(os.ErrDeadlineExceeded)
	case !k.sendBuf.empty() && now >= k.progressAt.Add(defaultIdleTimeout):
		k.closeConn(os.ErrDeadlineExceeded)
	case !k.sendBuf.empty():
	case k.active == 0 && now >= k.idleAt.Add(defaultIdleTimeout):
		k.appendGoAway(0, h2.NoError, "")
		k.drain()
	case k.active == 0:
	case k.pingAt != 0 && now >= k.pingAt.Add(pingWait):
		k.closeConn(errSilence)
	case k.pingAt == 0 && now >= k.heardAt.Add(pingAfter):
		k.pingAt = now
		k.markDirty()
		k.frames = h2.AppendPing(k.frames, make([]byte, 8), 0)
	}
	if k.isOpen() {
		k.schedule()
	}
}
