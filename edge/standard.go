package edge

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/flight"
)

// standard is the engine that stands on net/http: its server, its transport and its
// reverse proxy. The proxy's round trip is where the exchange happens.
type standard struct {
	edge      *Edge
	transport *http.Transport
	proxy     *httputil.ReverseProxy
}

const (
	// upstreamIdle is how long a connection to a server is kept without a request.
	// Many servers close theirs after 5 s; a request that meets the close on its way
	// is lost unless it can be sent again, so we close first.
	upstreamIdle     = 4 * time.Second
	responseHeadMost = 256 << 10
	copyBuffer       = 32 << 10
)

func newStandard(e *Edge) *standard {
	dialer := &net.Dialer{Timeout: e.cfg.ConnectTimeout}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	s := &standard{edge: e}
	s.transport = &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &countedConn{Conn: c}, nil
		},
		Protocols:              protocols,
		DisableCompression:     true, // what passes through is the client's business
		MaxIdleConnsPerHost:    256,
		IdleConnTimeout:        upstreamIdle,
		ResponseHeaderTimeout:  e.cfg.ResponseTimeout,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: responseHeadMost,
	}
	s.proxy = &httputil.ReverseProxy{
		Rewrite:        rewrite,
		Transport:      s,
		FlushInterval:  -1,
		BufferPool:     &buffers{},
		ErrorLog:       slog.NewLogLogger(e.cfg.Log.Handler(), slog.LevelDebug),
		ModifyResponse: func(res *http.Response) error { carriedOf(res.Request).toClient(res.Header); return nil },
		ErrorHandler:   unlinked,
	}
	return s
}

// serve implements engine.
func (s *standard) serve(ctx context.Context, l *listener, nl net.Listener) error {
	base, cut := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cut(nil)
	defer s.transport.CloseIdleConnections()
	var open gate
	srv := s.server(base, l, &open)
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(nl) }()
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(base, s.edge.cfg.DrainTime)
	defer cancel()
	if srv.Shutdown(limit) == nil {
		open.wait(limit) // for tunnels, which the server has let go of
	}
	cut(errors.New("the edge has drained for as long as it may"))
	_ = srv.Close() // whoever is still there had time enough
	open.shut()
	if err == nil {
		<-failed
	}
	return err
}

func (s *standard) server(base context.Context, l *listener, open *gate) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !open.enter() {
				panic(http.ErrAbortHandler)
			}
			defer open.leave()
			s.exchange(w, r, l)
		}),
		Protocols:                    protocols,
		ReadHeaderTimeout:            l.HeaderTimeout,
		IdleTimeout:                  l.IdleTimeout,
		MaxHeaderBytes:               l.HeaderLimit,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(s.edge.cfg.Log.Handler(), slog.LevelDebug),
		BaseContext:                  func(net.Listener) context.Context { return base },
	}
}

// carried is what the proxy's hooks find in a request's context.
type carried struct {
	*exchange
	patience patience
}

type carriedKey struct{}

func carriedOf(r *http.Request) *carried { return r.Context().Value(carriedKey{}).(*carried) }

// patience cuts a client off who is to send or take a byte and does not, for the
// listener's idle time: it would hold a server's slot.
type patience struct {
	*http.ResponseController
	idle time.Duration
}

func (p patience) awaitRead()  { _ = p.SetReadDeadline(time.Now().Add(p.idle)) } // an error would be the connection's, which whoever reads will see
func (p patience) awaitWrite() { _ = p.SetWriteDeadline(time.Now().Add(p.idle)) }

// patientBody is a request's body whose client must not dawdle.
type patientBody struct {
	io.ReadCloser
	patience patience
}

func (b *patientBody) Read(p []byte) (int, error) {
	b.patience.awaitRead()
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF { // from now on the server only watches whether the client leaves
		_ = b.patience.SetReadDeadline(time.Time{})
	}
	return n, err
}

// exchange serves one request.
func (s *standard) exchange(w http.ResponseWriter, r *http.Request, l *listener) {
	x, answer := s.edge.open(l, newHead(r))
	defer x.close()
	c := &carried{x, patience{http.NewResponseController(w), l.IdleTimeout}}
	_ = c.patience.SetWriteDeadline(time.Time{}) // of the connection's request before
	if r.Body != http.NoBody {
		c.patience.awaitRead() // holds also for what the server reads of it after an early answer
	}
	switch {
	case tooLarge(r, l):
		answer = flight.Answer{Status: http.StatusRequestHeaderFieldsTooLarge, Reason: reasonHeadTooBig}
	case answer.Status != 0:
	case l.BodyLimit > 0 && r.ContentLength > l.BodyLimit:
		answer = flight.Answer{Status: http.StatusRequestEntityTooLarge, Reason: reasonBodyTooBig}
	case x.head.upgrade && !printable(r.Header.Get("Upgrade")):
		answer = flight.Answer{Status: http.StatusBadRequest, Reason: reasonUpgrade}
	}
	if r.ProtoMajor == 1 && r.ProtoMinor == 0 || answer.Status != 0 && r.ContentLength != 0 {
		// What HTTP/1.0 says of where a body ends cannot be relied on, and a body that
		// nobody wants is not worth reading: nothing of it must pass for a request.
		w.Header().Set("Connection", "close")
	}
	if answer.Status != 0 {
		x.answer(w, answer)
		return
	}
	r = r.WithContext(context.WithValue(r.Context(), carriedKey{}, c))
	if r.Body != http.NoBody {
		r.Body = &patientBody{r.Body, c.patience}
		if l.BodyLimit > 0 {
			r.Body = http.MaxBytesReader(w, r.Body, l.BodyLimit)
		}
	}
	s.proxy.ServeHTTP(w, r)
	if x.flight != nil && x.status == http.StatusSwitchingProtocols {
		x.finished()
	}
}

func newHead(r *http.Request) head {
	h := head{method: r.Method, target: r.RequestURI, host: r.Host, path: r.URL.Path, query: r.URL.RawQuery, proto: "1.1",
		secure: r.TLS != nil, header: r.Header.Values}
	h.upgrade = hasToken(r.Header.Values("Connection"), "upgrade") && r.Header.Get("Upgrade") != "" && !upgradesHTTP(r.Header)
	if r.URL.IsAbs() { // absolute-form, which servers must take as well (RFC 9112, 3.2.2)
		h.target = r.URL.RequestURI()
	}
	if r.ProtoMinor == 0 {
		h.proto = "1.0"
	}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		h.peer = peer.Addr().Unmap()
	}
	return h
}

// tooLarge holds a head to the listener's limits. The server itself lets some more
// through, and counts no lines.
func tooLarge(r *http.Request, l *listener) bool {
	lines, size := 1, len(r.Method)+len(r.RequestURI)+len(" HTTP/1.1\r\n \r\n")+len("Host: \r\n")+len(r.Host)
	for name, values := range r.Header {
		for _, v := range values {
			lines++
			size += len(name) + len(": \r\n") + len(v)
		}
	}
	return lines > l.HeaderCount || size > l.HeaderLimit
}

func hasToken(values []string, token string) bool {
	for _, line := range values {
		for word := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(word), token) {
				return true
			}
		}
	}
	return false
}

// upgradesHTTP tells whether the client asks for another HTTP in the same connection. A
// tunnel of that would take any number of requests past the routes and the header rules,
// so we do as a server may that does not know the protocol (RFC 9110, 7.8): ignore it.
func upgradesHTTP(h http.Header) bool {
	return hasToken(h.Values("Upgrade"), "h2c") || hasToken(h.Values("Upgrade"), "h2")
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// rewrite makes the request to the server from the client's.
func rewrite(pr *httputil.ProxyRequest) {
	pr.Out.URL.Scheme = "http"
	pr.Out.URL.User = nil
	pr.Out.URL.RawQuery = pr.In.URL.RawQuery // the proxy would drop what it cannot parse; servers may
	pr.Out.Trailer = nil                     // a recipient may discard trailers (RFC 9110, 6.5.1), and they could say what headers may not
	if upgradesHTTP(pr.In.Header) {
		for _, name := range []string{"Connection", "Upgrade", "Http2-Settings"} {
			pr.Out.Header.Del(name)
		}
	}
	carriedOf(pr.In).toServer(pr.Out.Header)
}

// ended is the error of a round trip that the exchange ended without a response.
type ended struct{ step flight.Step }

func (e ended) Error() string { return "no response: " + e.step.Do.String() }

// unlinked tells the client what came instead of a response from a server.
func unlinked(w http.ResponseWriter, r *http.Request, err error) {
	x := carriedOf(r)
	var e ended
	if !errors.As(err, &e) { // the client has left before it was told that its upgrade succeeded
		e.step = x.gone()
	}
	switch e.step.Do {
	case flight.Respond:
		x.answer(w, e.step.Answer)
	case flight.Redirect:
		x.redirect(w)
	default:
		panic(http.ErrAbortHandler) // the client has left
	}
}

func (x *exchange) answer(w http.ResponseWriter, a flight.Answer) {
	p := newPage(a, x.id)
	x.status, x.bytes = p.status, int64(len(p.body))
	w.Header().Set(headerRequestID, x.id)
	p.write(w)
}

// redirect sends the client to the server. 307 keeps method and body.
func (x *exchange) redirect(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Location", x.location())
	h.Set("Cache-Control", "no-store")
	h.Set(headerRequestID, x.id)
	if x.grant.Lease != 0 {
		h.Set(HeaderLease, x.grant.Lease.String())
	}
	h.Set("Content-Length", "0")
	x.status = http.StatusTemporaryRedirect
	w.WriteHeader(x.status)
}

// gate counts who is inside, and lets nobody in once it is shut.
type gate struct {
	mu     sync.Mutex
	inside int
	closed bool
	empty  chan struct{} // closed when the last one leaves; nil: nobody waits
}

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.inside++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.inside == 0 && g.empty != nil {
		close(g.empty)
		g.empty = nil
	}
}

// wait returns when nobody is inside or ctx has ended.
func (g *gate) wait(ctx context.Context) {
	g.mu.Lock()
	if g.inside == 0 {
		g.mu.Unlock()
		return
	}
	if g.empty == nil {
		g.empty = make(chan struct{})
	}
	empty := g.empty
	g.mu.Unlock()
	select {
	case <-empty:
	case <-ctx.Done():
	}
}

// shut lets nobody in any more and returns when all have left.
func (g *gate) shut() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.wait(context.Background())
}

// buffers is a pool of buffers to copy bodies through.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[copyBuffer]byte); ok {
		return p[:]
	}
	return make([]byte, copyBuffer)
}

func (b *buffers) Put(p []byte) { b.pool.Put((*[copyBuffer]byte)(p)) }
