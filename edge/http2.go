//lint:file-ignore SA1019 http.Server takes no connection that was accepted, and has shaken hands, elsewhere: what is deprecated in favour of it is what can.

package edge

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// What a client of HTTP/2 may have, as is safe at the open internet.
const (
	streamsMost      = 100      // requests at once
	streamWindow     = 64 << 10 // bytes of a request's body that may be on their way
	connectionWindow = 1 << 20  // of all of them
	frameMost        = 16 << 10 // bytes of a frame, the least that may be asked for
	pingAfter        = 30 * time.Second
	pingWait         = 15 * time.Second
)

// front is the HTTP/2 of one listener: golang.org/x/net/http2 has the frames, and every
// stream becomes an exchange.
type front struct {
	base   *http.Server // never listens; it has the settings, and tells connections to drain
	server *http2.Server
}

func newFront(l *listener, log *slog.Logger) *front {
	f := &front{server: new(http2.Server), base: &http.Server{
		IdleTimeout:    l.IdleTimeout,
		MaxHeaderBytes: l.HeaderLimit,
		ErrorLog:       slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          streamsMost,
			MaxReadFrameSize:              frameMost,
			MaxReceiveBufferPerStream:     streamWindow,
			MaxReceiveBufferPerConnection: connectionWindow,
			SendPingTimeout:               pingAfter,
			PingTimeout:                   pingWait,
			WriteByteTimeout:              l.IdleTimeout,
		},
	}}
	_ = http2.ConfigureServer(f.base, f.server) // it objects to cipher suites, of which we name none
	return f
}

// drain tells every connection to end with the streams it has. It does not wait.
func (f *front) drain() {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_ = f.base.Shutdown(ended) // whoever is open is waited for elsewhere
}

// session is a client's connection that speaks HTTP/2.
type session struct {
	conn *conn

	mu      sync.Mutex
	over    bool
	streams map[*stream]struct{}
	serving sync.WaitGroup // streams
}

var clientPreface = []byte(http2.ClientPreface)

// awaitPreface reports whether the client begins with HTTP/2's preface, of which nothing
// has been read then. It reads until that is certain.
func (c *conn) awaitPreface() (two, ok bool) {
	if !c.await() {
		return false, false
	}
	c.reading = patience{}
	c.readUntil(time.Now().Add(c.service.listener.HeaderTimeout))
	defer c.readUntil(noTime)
	for {
		come := c.in[c.r:c.w]
		if len(come) >= len(clientPreface) || !bytes.HasPrefix(clientPreface, come) {
			return bytes.HasPrefix(come, clientPreface), true
		}
		if c.fill() != nil {
			return false, true // the parser of HTTP/1 will say what is missing
		}
	}
}

// serveHTTP2 returns when the connection has ended and all its streams have.
func (c *conn) serveHTTP2() {
	s := &session{conn: c, streams: make(map[*stream]struct{})}
	c.mu.Lock()
	c.waiting, c.hurried, c.session = forNothing, false, s
	c.mu.Unlock()
	_ = c.SetDeadline(noTime)
	c.recut()
	first := bytes.Clone(c.in[c.r:c.w])
	c.in = nil
	c.service.front.server.ServeConn(pacedConn(c.Conn, first, c.service.edge.metrics.heldBack), &http2.ServeConnOpts{BaseConfig: c.service.front.base, Handler: s})
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.serving.Wait()
}

// ServeHTTP takes a stream.
func (s *session) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	st := &stream{session: s, w: w, r: r}
	if !s.join(st) {
		panic(http.ErrAbortHandler) // the connection has ended
	}
	whole := st.serve()
	s.leave(st)
	if !whole {
		panic(http.ErrAbortHandler) // which resets the stream
	}
}

func (s *session) join(st *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false
	}
	s.streams[st] = struct{}{}
	s.serving.Add(1)
	return true
}

func (s *session) leave(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, st)
	s.serving.Done()
}

// watch looks whether the master is silent.
func (s *session) watch(now balance.Instant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for st := range s.streams {
		st.recall.expire(now)
	}
}
