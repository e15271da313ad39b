package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
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

// ServeUntil serves until ctx ends, then lets the requests under way end, for a second. It
// closes l.
func ServeUntil(ctx context.Context, server *http.Server, l net.Listener) error {
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTime)
	defer cancel()
	if server.Shutdown(last) != nil {
		_ = server.Close() // a caller who still reads had a second
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
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
