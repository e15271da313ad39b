package h2conn

import (
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/h2"
)

// ServerConn is a client's HTTP/2 connection. It translates between the frames of its streams and HTTP/1.1, which
// is what its handler reads and writes.
type ServerConn struct {
	conn
	cfg     *ServerConfig
	handler Handler
	state   serverState
	streams []*ServerStream // not closed, by their ids
	served  bool            // a stream has ended, or DATA has come

	// Reading.
	prefaceBytes int    // bytes of the client's preface that have come
	gotSettings  bool   // the first SETTINGS frame has come
	lastID       uint32 // the highest stream id so far
	flood        floodLimit
	head         h2.Head
	recentResets resetStreams
	discarded    discardedStreams
	penalty      int   // to be charged: frames that make no progress, and more in place of streams that their clients have wasted
	useful       int64 // to be credited: bytes of frames that make progress
	oversized    int   // requests whose head was too large
	broken       bool  // the client broke the protocol and has been sent GOAWAY

	resumeAt balance.Instant // reading is suspended until then; zero: it is not
	endAt    balance.Instant // new streams are refused from then on; zero: they are not
	finalID  uint32          // the last stream that is served, once GOAWAY has named it
}

// ServerConfig is what clients' connections are held to. It is immutable.
type ServerConfig struct {
	HeaderLimit   int           // bytes of a request's head
	HeaderTimeout time.Duration // for what has begun: the preface, a header block
	IdleTimeout   time.Duration // without a stream, and without taking what is sent
}

// Handler is told of a client's connection. Its methods are called on the loop goroutine.
type Handler interface {
	// NewStream accepts a stream by h2Opening.accept. head is the request's, as HTTP/1.1, and valid until
	// NewStream returns; the body is read from the stream's conn.
	NewStream(o Opening, head []byte)
	// HeldBack is called when reading is suspended because of frames that make no progress.
	HeldBack()
	// ProtocolError is called when the connection ends because the client broke the protocol.
	ProtocolError(err error)
	// ConnClosed is called once, when the connection and all its streams are closed.
	ConnClosed()
}

// serverState is the state of a ServerConn.
type serverState uint8

const (
	serverOpen      serverState = iota // new streams are accepted
	serverDraining                     // GOAWAY sent: no new streams; closes after the last
	serverFlushing                     // no more frames; some are not sent yet
	serverLingering                    // all sent; what the client still sends is discarded
	serverClosed
)

const (
	someAtOnce         = 16 << 10 // after frames that make no progress
	fewAtOnce          = 4 << 10  // after many of them, or before anything was served
	lingerTime         = time.Second
	maxDiscarded       = 128 << 10 // bytes beyond the window that are discarded before the connection is closed
	windowUpdateAfter  = ConnectionWindow / 4
	maxOversized       = 3              // requests with too large a head, after which the connection ends
	resetPenalty       = 10             // in frames that make no progress: a server may have been asked, and its connection lost
	maxStreamsAborting = 2 * MaxStreams // with those that are reset and still ending
)

// Init makes a connection, which is then to be registered.
func (k *ServerConn) Init(shared *Shared, cfg *ServerConfig, handler Handler, schemes h2.Schemes) {
	k.conn = newConn(shared, k)
	k.Conn.Owner, k.Timer.Owner = k, k
	k.cfg, k.handler, k.recvWindow, k.head.Schemes = cfg, handler, ConnectionWindow, schemes
	k.head.Limit = cfg.HeaderLimit
}

// Open begins the connection, which is registered, by the server's SETTINGS.
func (k *ServerConn) Open() {
	k.decoder = hpack.NewDecoder(4096, func(f hpack.HeaderField) { k.head.Field(f.Name, f.Value) })
	k.decoder.SetMaxStringLength(2 * max(k.cfg.HeaderLimit, h2.FrameMost))
	k.heardAt, k.progressAt, k.idleAt = k.Loop.Now, k.Loop.Now, k.Loop.Now
	k.markDirty()
	k.frames = h2.AppendSettings(k.frames,
		h2.Chosen{Setting: h2.MaxConcurrentStreams, Value: MaxStreams},
		h2.Chosen{Setting: h2.InitialWindowSize, Value: StreamWindow},
		h2.Chosen{Setting: h2.MaxHeaderListSize, Value: uint32(k.cfg.HeaderLimit)})
	k.frames = h2.AppendWindowUpdate(k.frames, 0, ConnectionWindow-h2.WindowFirst)
}

// Serve handles what has come: early, which was read already, and what can be read.
func (k *ServerConn) Serve(early []byte) {
	if len(early) > 0 {
		turn := k.Loop.NewTurn()
		k.parseFrames(early, &turn)
	}
	k.OnReady()
}

// OnReady implements the conn's owner.
func (k *ServerConn) OnReady() {
	if !k.sendBuf.Empty(&k.Conn) && k.Writable {
		k.markDirty()
	}
	switch k.state {
	case serverOpen, serverDraining:
		k.readInput()
	case serverLingering:
		k.discardInput()
	}
	if k.IsOpen() {
		k.schedule()
	}
}

// readInput reads and handles frames for one turn.
func (k *ServerConn) readInput() {
	if err := k.readTurn(); err != nil {
		k.Abort() // and so all its requests
	}
}

// wantsInput implements role: the client has to read what it is sent.
func (k *ServerConn) wantsInput() bool { return k.resumeAt == 0 && k.PendingBytes() < maxPending }

// readSize implements role. It is small for a client that sends frames that make no
// progress, or that has neither been served nor sent DATA: a large read has very many of them, and all are
// handled before any other connection has a turn.
func (k *ServerConn) readSize() int {
	switch {
	case !k.served || k.flood.spent > IdleFramesAtOnce/64:
		return fewAtOnce
	case k.flood.spent > 0:
		return someAtOnce
	}
	return allAtOnce
}

// parseFrames implements role.
func (k *ServerConn) parseFrames(p []byte, turn *limits.Turn) {
	p, err := k.takePreface(p)
	if err == nil {
		p, err = k.handleFrames(p, turn)
	}
	if err != nil {
		k.failConn(err)
		return
	}
	if !k.inputOver {
		k.keepPartial(p, len(k.streams) > 0)
		k.holdBack()
	}
}

// takePreface returns what follows the client's preface.
func (k *ServerConn) takePreface(p []byte) ([]byte, error) {
	if k.prefaceBytes == len(h2.Preface) {
		return p, nil
	}
	n := min(len(p), len(h2.Preface)-k.prefaceBytes)
	if string(p[:n]) != h2.Preface[k.prefaceBytes:k.prefaceBytes+n] {
		return p, &h2.Error{Code: h2.ProtocolError, Reason: "the connection does not begin with the preface of HTTP/2"}
	}
	k.prefaceBytes += n
	return p[n:], nil
}

// countFrame notes what a frame is to be charged or credited.
func (k *ServerConn) countFrame(f *h2.Frame) {
	if makesProgress(f) {
		k.useful += int64(f.Size)
	} else if f.Type != h2.WindowUpdate {
		k.penalty++
	}
}

// makesProgress reports whether a frame advances a request.
func makesProgress(f *h2.Frame) bool {
	return f.Type == h2.Headers || f.Type == h2.Data && (f.Size > 0 || f.Has(h2.EndStream))
}

// holdBack charges and credits what has been noted, and suspends reading from a client that sends too many frames
// that make no progress.
func (k *ServerConn) holdBack() {
	cost, useful := k.penalty, max(0, k.useful)
	k.penalty, k.useful = 0, 0
	if k.flood.spent > 0 {
		k.flood.credit(useful)
	}
	if cost == 0 {
		return
	}
	if k.flood.charge(k.Loop.Now, cost) > 0 {
		k.handler.HeldBack()
		k.resumeAt = k.Loop.Now.Add(k.flood.delay())
	}
}

// resumeWriters resumes the streams that may write.
func (k *ServerConn) resumeWriters() { resumeStreams(&k.conn, k.streams) }

// streamClosed removes a stream.
func (k *ServerConn) streamClosed(b *ServerStream) {
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
	if k.idleAt = k.Loop.Now; k.state == serverClosed {
		k.handler.ConnClosed()
		return
	}
	k.markDirty() // the flush decides what to do next
}
