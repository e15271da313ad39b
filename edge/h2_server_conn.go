package edge

import (
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/h2"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// h2ServerConn is a client's connection of HTTP/2 in a loop. Each of its streams is a branch,
// which the rest of the loop takes for a client's connection of HTTP/1.1.
type h2ServerConn struct {
	h2Conn
	timer
	service    *listenerService
	peer       netip.Addr
	state      h2ServerState
	streams    []*h2ServerStream // those that are not closed, by their numbers
	nextWriter int               // of them is woken first
	served     bool              // one of them has ended, or has brought a part of a body

	// What comes.
	partial      []byte // of a frame that has not come whole
	prefaceBytes int    // bytes of the client's preface that have come
	gotSettings  bool   // its first SETTINGS have come
	lastID       uint32 // the highest number of a stream so far
	recvWindow   int64  // bytes of bodies that it may still send
	unacked      int64  // of them that it may send again, and has not been told of
	flood        floodLimit
	decoder      *hpack.Decoder
	head         h2.Head
	block        headerBlock
	recentResets resetStreams
	discarded    discardedStreams
	penalty      int   // frames that bring nothing, for which those stand that are not yet weighed and came to nothing by their client's fault
	wastedBytes  int64 // bytes of frames that brought nothing after all, and are not yet weighed
	oversized    int   // requests whose fields were more than is taken
	broken       bool  // it broke the protocol, and is told so
	pending      bool  // in begins with whole frames, which did not fit into their turn

	// When.
	resumeAt   balance.Instant // reading is put off until then; zero: it is not
	heardAt    balance.Instant // of the client
	progressAt balance.Instant // the client took something, or there was nothing to take
	pingAt     balance.Instant // a PING was sent; zero: none is on its way
	idleAt     balance.Instant // the last stream ended
	endAt      balance.Instant // no more streams are taken; zero: they are
	finalID    uint32          // the last stream that is served, once that is told
}

// h2ServerState is how far a trunk has come.
type h2ServerState uint8

const (
	h2ServerOpen      h2ServerState = iota // new streams are taken
	h2ServerDraining                       // no more are; it ends with the last
	h2ServerFlushing                       // all has been said, and some of it is on its way
	h2ServerLingering                      // all has gone; what the client still sends is thrown away
	h2ServerClosed
)

const (
	maxFreeServerStreams = 1024     // kept for the next stream
	allAtOnce            = 64 << 10 // bytes that are read at once
	someAtOnce           = 16 << 10 // of a client that has sent frames that bring nothing
	fewAtOnce            = 4 << 10  // of one that has sent many, or nothing yet
	h2LingerTime         = time.Second
	maxDiscarded         = 128 << 10 // bytes beyond the window that are read and forgotten when the connection has ended
	windowUpdateAfter    = connectionWindow / 4
	maxOversized         = 3               // requests with more fields than are taken, after which the connection ends
	resetPenalty         = 10              // frames that bring nothing: a server has perhaps been asked, and its connection is lost
	maxStreamsAborting   = 2 * streamsMost // with those that their clients have given up, and that are still being ended
)

// addH2Client makes one of an accepted descriptor, of which something was read already.
func (l *loop) addH2Client(s *listenerService, descriptor *fd.FD, peer netip.Addr, tls *tlsConn, early []byte) {
	k := &h2ServerConn{service: s, peer: peer, recvWindow: connectionWindow}
	k.h2Conn = newH2Conn(k)
	k.conn.owner, k.timer.owner = k, k
	if err := l.register(&k.conn, descriptor, readiness); err != nil {
		s.clientGone(l, k)
		return
	}
	s.tracked[l][k] = struct{}{}
	k.useTLS(tls)
	k.head.Schemes = s.listener.schemes(peer)
	k.decoder = hpack.NewDecoder(4096, func(f hpack.HeaderField) { k.head.Field(f.Name, f.Value) })
	k.decoder.SetMaxStringLength(2 * max(s.listener.HeaderLimit, h2.FrameMost))
	k.heardAt, k.progressAt, k.idleAt = l.now, l.now, l.now
	k.sendSettings()
	if s.draining.Load() {
		k.beginDrain()
	}
	if len(early) > 0 {
		turn := k.loop.newTurn()
		k.parseFrames(early, &turn)
	}
	k.onReady()
	if s.killed.Load() {
		k.kill()
	}
}

// sendSettings says what a client may do.
func (k *h2ServerConn) sendSettings() {
	k.markDirty()
	k.frames = h2.AppendSettings(k.frames,
		h2.Chosen{Setting: h2.MaxConcurrentStreams, Value: streamsMost},
		h2.Chosen{Setting: h2.InitialWindowSize, Value: streamWindow},
		h2.Chosen{Setting: h2.MaxHeaderListSize, Value: uint32(k.service.listener.HeaderLimit)})
	k.frames = h2.AppendWindowUpdate(k.frames, 0, connectionWindow-h2.WindowFirst)
}

// onReady implements the end's owner.
func (k *h2ServerConn) onReady() {
	if !k.sendBuf.empty() && k.writable {
		k.markDirty()
	}
	switch k.state {
	case h2ServerOpen, h2ServerDraining:
		k.readFrames()
	case h2ServerLingering:
		k.discardInput()
	}
	if k.isOpen() {
		k.schedule()
	}
}

// readFrames reads what has come, as long as the client takes what is said to it.
func (k *h2ServerConn) readFrames() {
	l := k.loop
	for turn := l.newTurn(); (k.readable || k.pending) && k.state <= h2ServerDraining && k.resumeAt == 0 && k.pendingBytes() < maxPending; {
		if turn.Over(clock.Now) {
			l.deferConn(&k.conn)
			return
		}
		if k.pending {
			k.parseFrames(k.partial, &turn)
			continue
		}
		p, err := k.readMore(k.partial, k.nextReadSize())
		switch {
		case err == syscall.EAGAIN:
			return
		case err != nil:
			k.close() // and so all its requests
			return
		}
		k.heardAt, k.pingAt = l.now, 0
		turn.Spend(limits.TurnCall)
		k.parseFrames(p, &turn)
	}
}

// nextReadSize is how much is read at once: less of a client that has sent frames which bring
// nothing, or has neither been served nor sent a body yet, since a great many go into a large one, and all of
// them are dealt with before anybody else has a turn.
func (k *h2ServerConn) nextReadSize() int {
	switch {
	case !k.served || k.flood.spent > idleFramesAtOnce/64:
		return fewAtOnce
	case k.flood.spent > 0:
		return someAtOnce
	}
	return allAtOnce
}

// parseFrames deals with what has come, and keeps what is no whole frame.
func (k *h2ServerConn) parseFrames(p []byte, turn *limits.Turn) {
	if k.prefaceBytes < len(h2.Preface) {
		n := min(len(p), len(h2.Preface)-k.prefaceBytes)
		if string(p[:n]) != h2.Preface[k.prefaceBytes:k.prefaceBytes+n] {
			k.failConn(&h2.Error{Code: h2.ProtocolError, Reason: "the connection does not begin with the preface of HTTP/2"})
			return
		}
		k.prefaceBytes += n
		p = p[n:]
	}
	idle, useful := 0, int64(0)
	for k.pending = false; k.state <= h2ServerDraining; {
		if k.pending = turn.Over(clock.Now); k.pending {
			break
		}
		f, n, err := h2.Next(p)
		turn.Spend(costOf(&f))
		if err == nil && n > 0 {
			p = p[n:]
			if makesProgress(&f) {
				useful += int64(f.Size)
			} else if f.Type != h2.WindowUpdate {
				idle++
			}
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
	if k.state <= h2ServerDraining {
		k.keepPartial(p)
		k.holdBack(idle+k.penalty, max(0, useful-k.wastedBytes))
		k.penalty, k.wastedBytes = 0, 0
	}
}

// newTurn begins the share that one connection has of this turn.
func (l *loop) newTurn() limits.Turn { return limits.Turn{Most: l.engine.edge.cfg.turnMost} }

// costOf is what a frame costs, as a limits.Turn counts it.
func costOf(f *h2.Frame) int { return 1 + f.Size>>10 }

// makesProgress reports whether a frame brings a request further.
func makesProgress(f *h2.Frame) bool {
	return f.Type == h2.Headers || f.Type == h2.Data && (f.Size > 0 || f.Has(h2.EndStream))
}

// keepPartial keeps a part of a frame. p may lie in what is kept already.
func (k *h2ServerConn) keepPartial(p []byte) {
	if len(p) == 0 && (len(k.streams) == 0 || cap(k.partial) > 2*h2.FrameMost) {
		k.partial = nil
		return
	}
	k.partial = append(k.partial[:0], p...)
}

// holdBack holds back a client that sends too many frames that bring nothing.
func (k *h2ServerConn) holdBack(idle int, useful int64) {
	if k.flood.spent > 0 {
		k.flood.credit(useful)
	}
	if idle == 0 {
		return
	}
	if k.flood.charge(k.loop.now, idle) > 0 {
		k.service.engine.edge.metrics.heldBack.Inc()
		k.resumeAt = k.loop.now.Add(k.flood.delay())
	}
}

// resumeWriters lets those branches go on that have something to say and may. Each time another
// one is first, lest one take the whole window again and again.
func (k *h2ServerConn) resumeWriters() {
	n := len(k.streams)
	for i := range n {
		k.streams[(k.nextWriter+i)%n].resumeWriter()
	}
	k.nextWriter++
}

// streamClosed says that a branch is no more.
func (k *h2ServerConn) streamClosed(b *h2ServerStream) {
	for i := range k.streams {
		if k.streams[i] == b {
			k.streams = append(k.streams[:i], k.streams[i+1:]...)
			break
		}
	}
	k.served = true
	if len(k.streams) > 0 {
		return
	}
	if k.idleAt = k.loop.now; k.state == h2ServerClosed {
		k.service.clientGone(k.loop, k)
		return
	}
	k.markDirty() // which looks what is to be done then
}
