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

// h2ServerConn is a client's HTTP/2 connection. Each of its streams is an h2ServerStream, which the rest of
// the loop treats as a client's HTTP/1.1 connection.
type h2ServerConn struct {
	h2Conn
	timer
	service    *listenerService
	peer       netip.Addr
	state      h2ServerState
	streams    []*h2ServerStream // not closed, by their ids
	nextWriter int               // index of the stream that may write first
	served     bool              // a stream has ended, or DATA has come

	// Reading.
	partial      []byte // start of a frame whose end has not come
	prefaceBytes int    // bytes of the client's preface that have come
	gotSettings  bool   // the first SETTINGS frame has come
	lastID       uint32 // the highest stream id so far
	recvWindow   int64  // connection window: bytes of DATA that may still come
	unacked      int64  // bytes to be returned to the window, not announced yet
	flood        floodLimit
	decoder      *hpack.Decoder
	head         h2.Head
	block        headerBlock
	recentResets resetStreams
	discarded    discardedStreams
	penalty      int   // to be charged: frames in place of streams that their clients have wasted
	wastedBytes  int64 // to be charged: bytes of frames that turned out to be useless
	oversized    int   // requests whose head was too large
	broken       bool  // the client broke the protocol and has been sent GOAWAY
	pending      bool  // partial begins with complete frames that did not fit into their turn

	// Times.
	resumeAt   balance.Instant // reading is suspended until then; zero: it is not
	heardAt    balance.Instant // of the client's last byte
	progressAt balance.Instant // the client last took bytes, or there were none to take
	pingAt     balance.Instant // a PING was sent; zero: none is unanswered
	idleAt     balance.Instant // the last stream ended
	endAt      balance.Instant // new streams are refused from then on; zero: they are not
	finalID    uint32          // the last stream that is served, once GOAWAY has named it
}

// h2ServerState is the state of an h2ServerConn.
type h2ServerState uint8

const (
	h2ServerOpen      h2ServerState = iota // new streams are accepted
	h2ServerDraining                       // GOAWAY sent: no new streams; closes after the last
	h2ServerFlushing                       // no more frames; some are not sent yet
	h2ServerLingering                      // all sent; what the client still sends is discarded
	h2ServerClosed
)

const (
	maxFreeServerStreams = 1024     // kept for later streams
	allAtOnce            = 64 << 10 // bytes of one read
	someAtOnce           = 16 << 10 // after frames that make no progress
	fewAtOnce            = 4 << 10  // after many of them, or before anything was served
	h2LingerTime         = time.Second
	maxDiscarded         = 128 << 10 // bytes beyond the window that are discarded before the connection is closed
	windowUpdateAfter    = connectionWindow / 4
	maxOversized         = 3              // requests with too large a head, after which the connection ends
	resetPenalty         = 10             // in frames that make no progress: a server may have been asked, and its connection lost
	maxStreamsAborting   = 2 * maxStreams // with those that are reset and still ending
)

// addH2Client adds an accepted descriptor, of which early was read already.
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

// sendSettings sends the server's SETTINGS.
func (k *h2ServerConn) sendSettings() {
	k.markDirty()
	k.frames = h2.AppendSettings(k.frames,
		h2.Chosen{Setting: h2.MaxConcurrentStreams, Value: maxStreams},
		h2.Chosen{Setting: h2.InitialWindowSize, Value: streamWindow},
		h2.Chosen{Setting: h2.MaxHeaderListSize, Value: uint32(k.service.listener.HeaderLimit)})
	k.frames = h2.AppendWindowUpdate(k.frames, 0, connectionWindow-h2.WindowFirst)
}

// onReady implements the conn's owner.
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

// readFrames reads and handles frames, as long as the client reads what it is sent.
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

// nextReadSize returns the size of the next read. It is small for a client that sends frames that make no
// progress, or that has neither been served nor sent DATA: a large read has very many of them, and all are
// handled before any other connection has a turn.
func (k *h2ServerConn) nextReadSize() int {
	switch {
	case !k.served || k.flood.spent > idleFramesAtOnce/64:
		return fewAtOnce
	case k.flood.spent > 0:
		return someAtOnce
	}
	return allAtOnce
}

// parseFrames handles the complete frames and keeps the rest.
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

// newTurn returns the budget of one connection in this iteration.
func (l *loop) newTurn() limits.Turn { return limits.Turn{Most: l.engine.edge.cfg.maxTurn} }

// costOf returns the cost of a frame in a limits.Turn.
func costOf(f *h2.Frame) int { return 1 + f.Size>>10 }

// makesProgress reports whether a frame advances a request.
func makesProgress(f *h2.Frame) bool {
	return f.Type == h2.Headers || f.Type == h2.Data && (f.Size > 0 || f.Has(h2.EndStream))
}

// keepPartial keeps the start of a frame. p may share partial's memory.
func (k *h2ServerConn) keepPartial(p []byte) {
	if len(p) == 0 && (len(k.streams) == 0 || cap(k.partial) > 2*h2.FrameMost) {
		k.partial = nil
		return
	}
	k.partial = append(k.partial[:0], p...)
}

// holdBack suspends reading from a client that sends too many frames that make no progress.
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

// resumeWriters resumes the streams that may write. Each time another one is first, so that none takes the
// whole window again and again.
func (k *h2ServerConn) resumeWriters() {
	n := len(k.streams)
	for i := range n {
		k.streams[(k.nextWriter+i)%n].resumeWriter()
	}
	k.nextWriter++
}

// streamClosed removes a stream.
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
	k.markDirty() // the flush decides what to do next
}
