package proxy

import (
	"net/netip"

	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/h2conn"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/http1"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// h2Client is a client's HTTP/2 connection. Each of its streams is a clientStream.
type h2Client struct {
	h2conn.ServerConn
	worker  *worker
	service *listenerService
	peer    netip.Addr
	shown   *routing.ClientTLS // what the client has shown by TLS; nil: nothing
}

// clientStream is a stream of an h2Client: a client's connection with one request, which reads and writes HTTP/1.1
// like any other.
type clientStream struct {
	clientConn
	h2conn.ServerStream
}

const maxFreeStreams = 1024 // kept for later streams

// addH2Client adds an accepted descriptor, of which early was read already.
func (l *worker) addH2Client(s *listenerService, descriptor *fd.FD, peer netip.Addr, tls *eventloop.TLSConn, shown *routing.ClientTLS, early []byte) {
	k := &h2Client{worker: l, service: s, peer: peer, shown: shown}
	k.Init(&l.h2, &s.h2, k, s.listener.Schemes(peer))
	if err := l.Register(&k.Conn, descriptor, eventloop.Readiness); err != nil {
		s.clientGone(l, k)
		return
	}
	s.tracked[l][k] = struct{}{}
	k.UseTLS(tls)
	k.Open()
	if s.draining.Load() {
		k.beginDrain()
	}
	k.Serve(early)
	if s.killed.Load() {
		k.Kill()
	}
}

// NewStream implements h2conn.Handler: it begins a request.
func (k *h2Client) NewStream(o h2conn.Opening, head []byte) {
	l := k.worker
	var b *clientStream
	if n := len(l.freeStreams); n > 0 {
		b, l.freeStreams = l.freeStreams[n-1], l.freeStreams[:n-1]
	} else {
		b = new(clientStream)
	}
	f, queued := &b.clientConn, b.Deferred
	*f = clientConn{linkedConn: linkedConn{worker: l, service: k.service}, peer: k.peer, shown: k.shown, stream: b, req: l.takeRequest()}
	f.Deferred, f.Timer.Owner = queued, f
	o.Accept(&b.ServerStream, &f.Conn, f)
	f.req.IsHTTP2 = true
	f.req.appendInput(head, false)
	f.parseHead()
}

// recycle frees the stream, whose request has ended.
func (b *clientStream) recycle() {
	l := b.worker
	b.Release()
	if len(l.freeStreams) < maxFreeStreams {
		l.freeStreams = append(l.freeStreams, b)
	}
}

// Asked implements h2conn.ServerUser.
func (f *clientConn) Asked() http1.Asked {
	t := f.req
	return http1.Asked{Method: t.Req.Method, Ended: t.headAlone || t.responseStarted && t.Resp.Framing == http1.NoBody}
}

// readLimit returns how much to read from a server for this client: what the client's windows do not allow
// would only be kept.
func (f *clientConn) readLimit(space int) int {
	if f.stream == nil {
		return space
	}
	return int(min(int64(space), max(4<<10, f.stream.SpaceToSend())))
}

// HeldBack implements h2conn.Handler.
func (k *h2Client) HeldBack() { k.service.engine.deps.Metrics.HeldBack.Inc() }

// ProtocolError implements h2conn.Handler.
func (k *h2Client) ProtocolError(err error) {
	k.service.engine.deps.Log.Debug("connection refused", "client", routing.Node(k.peer), "err", err)
}

// ConnClosed implements h2conn.Handler.
func (k *h2Client) ConnClosed() { k.service.clientGone(k.worker, k) }

// limitAddr implements trackedConn.
func (k *h2Client) limitAddr() netip.Addr { return k.peer }

// beginDrain implements trackedConn.
func (k *h2Client) beginDrain() {
	if k.IsFresh() {
		k.DrainAfter(k.service.firstWait())
	} else {
		k.DrainAfter(min(k.service.engine.lastGrace(), k.service.listener.IdleTimeout))
	}
}

// Kill implements trackedConn.
func (k *h2Client) Kill() { k.Abort() }
