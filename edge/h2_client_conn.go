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

// h2ClientConn is a connection to a server that speaks HTTP/2, in a loop. The links of many
// requests share it: each has a shoot of it.
type h2ClientConn struct {
	h2Conn
	timer
	list           *h2ConnList
	state          h2ClientState
	streams        []*h2ClientStream // that have begun, by their numbers
	waiting        []*h2ClientStream // until it stands
	active         int               // how many there are of both
	nextID         uint32            // number of the next stream
	limit          int               // streams at once
	served         bool              // the server has answered by it
	nextWriter     int               // of them is woken first
	writersBlocked bool              // one of them could not say all, for want of a window
	awaitingEnd    int               // of held, those whose links are done
	startedAt      balance.Instant   // when it was begun
	cancelDial     context.CancelFunc

	// What comes.
	partial    []byte // of a frame that has not come whole
	pending    bool   // in begins with whole frames, for which there was no time
	recvWindow int64  // bytes of bodies that the server may still send
	unacked    int64  // of them that it may send again, and has not been told of
	decoder    *hpack.Decoder
	reply      h2.Reply
	block      headerBlock

	// When.
	heardAt    balance.Instant // of the server
	progressAt balance.Instant // it took something, or there was nothing to take
	pingAt     balance.Instant // a PING was sent; zero: none is on its way
	idleAt     balance.Instant // the last stream ended
}

// h2ClientState is how far a stem has come.
type h2ClientState uint8

const (
	h2ClientConnecting       h2ClientState = iota // the connection is being made
	h2ClientAwaitingSettings                      // we have begun to speak; the server has not yet
	h2ClientOpen                                  // streams are taken
	h2ClientDraining                              // no more are; it ends with the last
	h2ClientClosed
)

const (
	maxClientStreams        = 250       // streams at once by one connection
	firstClientStreams      = 100       // as long as the server has not said how many it takes
	clientStreamWindow      = 256 << 10 // bytes of a response's body that may be on their way, and are kept for a client that takes them slowly
	clientConnWindow        = 4 << 20   // of all by one connection
	clientWindowUpdateAfter = clientConnWindow / 4
	maxAwaitingEnd          = 8    // streams whose links are done, and of which the server has not said the end
	maxFreeClientStreams    = 1024 // kept for the next stream
	maxResponseBlock        = 2 * responseHeadMost
)

var (
	errNotTaken = errors.New("the server did not take the stream")
	errSilence  = errors.New("the server does not answer PING")
)

// h2ConnList is the connections that take streams, or soon will.
type h2ConnList struct {
	key    target
	server serverRef
	conns  []*h2ClientConn
	limit  int // streams that one of them takes, as far as is known
}

// h2ConnFor returns a connection that takes a stream more, perhaps one that is still to be made.
// once: the stream is for a request that cannot be repeated, and so not trusted to an idle
// connection whose end may have been told in this very turn.
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

// connect begins to make the connection: on a goroutine, if there is a name to be looked up
// or a hand to be shaken.
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

// registerFD has the loop watch the descriptor, which it moves.
func (k *h2ClientConn) registerFD(descriptor *fd.FD) error {
	return k.loop.register(&k.conn, descriptor, readiness)
}

// dialBlocking makes a connection, and proves who the server is if that is asked for.
func (e *loopEngine) dialBlocking(ctx context.Context, key *target) (descriptor fd.FD, secure *tlsConn, err error) {
	conn, err := e.edge.reaches.DialContext(ctx, "tcp", key.address)
	if err != nil {
		return fd.FD{}, nil, err
	}
	if key.tls != nil {
		if secure, err = handshake(ctx, conn, key); err != nil {
			_ = conn.Close() // nothing was said
			return fd.FD{}, nil, err
		}
	}
	descriptor, err = fd.Take(conn)
	return descriptor.Move(), secure, err
}

// connected goes on with a connection that was made elsewhere. It moves the descriptor if
// it wants it.
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

// sendPreface begins to speak.
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
		h2.Chosen{Setting: h2.MaxHeaderListSize, Value: responseHeadMost})
	k.frames = h2.AppendWindowUpdate(k.frames, 0, clientConnWindow-h2.WindowFirst)
	k.recvWindow = clientConnWindow
}

// settingsReceived lets those begin who have waited, as many as the server takes; others have to look
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

// onReady implements the end's owner.
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

// readFrames reads what has come, for the time that a connection has in a turn.
func (k *h2ClientConn) readFrames() {
	turn := k.loop.newTurn()
	k.readFramesFor(&turn)
}

// readFramesFor goes on when as much of bodies waits to go as may: perhaps the server takes no more until what it
// says is taken.
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

// parseFrames deals with what has come, and keeps what is no whole frame. p may lie in what is
// kept already.
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

// flush sends what there is to say.
func (k *h2ClientConn) flush() {
	waited := k.sendBuf.pendingBytes()
	clear, took, err := k.sendFrames()
	if err != nil {
		k.readable = true // what it said before it went is still to be read
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

// resumeWriters lets those go on that have something to say and may. Each time another one is
// first, lest one take the whole window again and again.
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

// streamClosed says that a shoot is no more.
func (k *h2ClientConn) streamClosed() {
	if k.active--; k.active == 0 && k.state < h2ClientClosed {
		k.idleAt = k.loop.now
		k.markDirty() // which looks what is to be done then
	}
}

// drain takes no more streams.
func (k *h2ClientConn) drain() {
	if k.state >= h2ClientDraining {
		return
	}
	k.state = h2ClientDraining
	k.removeFromList()
	k.markDirty()
}

// removeFromList takes it off the list of those that take streams.
func (k *h2ClientConn) removeFromList() {
	list := k.list
	if i := slices.Index(list.conns, k); i >= 0 {
		list.conns = slices.Delete(list.conns, i, i+1)
	}
	if len(list.conns) == 0 && k.loop.h2Conns[list.key] == list {
		delete(k.loop.h2Conns, list.key)
	}
}

// closeH2Conns ends all connections of HTTP/2 to servers.
func (l *loop) closeH2Conns() {
	for _, list := range l.h2Conns {
		for _, k := range slices.Clone(list.conns) {
			k.closeConn(nil)
		}
	}
	for i := range l.registrations { // those that took no more streams
		if e := l.registrations[i].conn; e != nil {
			if k, ok := e.owner.(*h2ClientConn); ok {
				k.closeConn(nil)
			}
		}
	}
}

// failConn ends the connection for what its server did wrong.
func (k *h2ClientConn) failConn(err error) {
	code := h2.InternalError
	if why := (*h2.Error)(nil); errors.As(err, &why) {
		code = why.Code
	}
	k.appendGoAway(0, code, "")
	_, _, _ = k.sendFrames() // it is told if it takes that at once
	k.loop.engine.edge.cfg.Log.Debug("connection to a server given up", "address", k.list.key.address, "err", err)
	k.closeConn(fmt.Errorf("connection: %w", err))
}

// closeConn ends the connection, and with it whatever is under way on it.
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

// schedule sets the time at which something must be done if nothing happens until then.
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
