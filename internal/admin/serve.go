package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"
)

// Limits of a connection to an admin address.
const (
	headTime    = 10 * time.Second // to send a request's head, and for the TLS handshake
	requestTime = 30 * time.Second // to send the whole request
	idleTime    = time.Minute      // between two requests
	writeTime   = 30 * time.Second // for the caller to take what one write sends
	mostHead    = 32 << 10         // bytes of a request's head
	mostConns   = 512              // connections at once; more wait
	lastTime    = time.Second      // to finish what is being answered when the process stops
)

type socketKey struct{}

// bySocket reports whether a request came by a unix socket.
func bySocket(r *http.Request) bool {
	yes, _ := r.Context().Value(socketKey{}).(bool)
	return yes
}

// Serve serves what comes to l until ctx ends, and then gives what is being answered a
// second. It closes l. Callers by a unix socket have proved who they are by being able to
// open it.
func (s *Surface) Serve(ctx context.Context, l net.Listener) error {
	isSocket := l.Addr().Network() == "unix"
	server := &http.Server{Handler: s, ReadHeaderTimeout: headTime, ReadTimeout: requestTime, IdleTimeout: idleTime, MaxHeaderBytes: mostHead,
		ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.WithoutCancel(ctx), socketKey{}, isSocket)
		}}
	l = &boundedWrites{netutil.LimitListener(l, mostConns)}
	if secure := s.cfg.Keys.tlsConfig(); secure != nil && !isSocket {
		l = tls.NewListener(l, secure)
	}
	return ServeUntil(ctx, server, l)
}

// ServeUntil serves until ctx ends, then lets the connections that were accepted end with the answers to their requests, for a second. It
// closes l. Shutdown would not do: it drops a request that is read after it has begun.
func ServeUntil(ctx context.Context, server *http.Server, l net.Listener) error {
	open := newOpenConns()
	server.ConnState = open.changed
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	_ = l.Close() // nothing was taken from it
	err := <-ended
	server.SetKeepAlivesEnabled(false)
	open.waitForNone(lastTime)
	_ = server.Close() // a caller who still reads had a second
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// openConns counts the connections of a server.
type openConns struct {
	mu    sync.Mutex
	count int           // guarded by mu
	last  bool          // guarded by mu: no more are accepted
	none  chan struct{} // closed when last is set and none is open
}

func newOpenConns() *openConns { return &openConns{none: make(chan struct{})} }

func (o *openConns) changed(_ net.Conn, to http.ConnState) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch to {
	case http.StateNew:
		o.count++
	case http.StateClosed, http.StateHijacked:
		if o.count--; o.last && o.count == 0 {
			close(o.none)
		}
	}
}

// waitForNone waits until all connections have ended, for a limited time. No more may be accepted from now on.
func (o *openConns) waitForNone(most time.Duration) {
	o.mu.Lock()
	o.last = true
	open := o.count > 0
	o.mu.Unlock()
	if !open {
		return
	}
	select {
	case <-o.none:
	case <-time.After(most):
	}
}

// boundedWrites is a listener whose connections end when the other side does not take what
// is written to it. A time limit for the whole answer would also limit how long a handler
// may think.
type boundedWrites struct{ net.Listener }

func (l *boundedWrites) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &boundedConn{c}, nil
}

type boundedConn struct{ net.Conn }

func (c *boundedConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}
