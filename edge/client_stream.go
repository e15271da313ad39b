package edge

import (
	"net/netip"

	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/http1"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// h2Client is a client's HTTP/2 connection. Each of its streams is a clientStream.
type h2Client struct {
	h2ServerConn
	worker  *worker
	service *listenerService
	peer    netip.Addr
	shown   *routing.ClientTLS // what the client has shown by TLS; nil: nothing
}

// clientStream is a stream of an h2Client: a client's connection with one request, which reads and writes HTTP/1.1
// like any other.
type clientStream struct {
	clientConn
	h2ServerStream
}

const maxFreeStreams = 1024 // kept for later streams

// addH2Client adds an accepted descriptor, of which early was read already.
func (l *worker) addH2Client(s *listenerService, descriptor *fd.FD, peer netip.Addr, tls *eventloop.TLSConn, shown *routing.ClientTLS, early []byte) {
	k := &h2Client{worker: l, service: s, peer: peer, shown: shown}
	k.init(&l.h2, &s.h2, k, s.listener.Schemes(peer))
	if err := l.Register(&k.Conn, descriptor, eventloop.Readiness); err != nil {
		s.clientGone(l, k)
		return
	}
	s.tracked[l][k] = struct{}{}
	k.UseTLS(tls)
	k.open()
	if s.draining.Load() {
		k.beginDrain()
	}
	k.serve(early)
	if s.killed.Load() {
		k.kill()
	}
}

// newStream implements h2Handler: it begins a request.
func (k *h2Client) newStream(o h2Opening, head []byte) {
	l := k.worker
	var b *clientStream
	if n := len(l.freeStreams); n > 0 {
		b, l.freeStreams = l.freeStreams[n-1], l.freeStreams[:n-1]
	} else {
		b = new(clientStream)
	}
	f, queued := &b.clientConn, b.Deferred
	*f = clientConn{worker: l, service: k.service, peer: k.peer, shown: k.shown, stream: b, req: l.takeRequest()}
	f.Deferred, f.Timer.Owner = queued, f
	o.accept(&b.h2ServerStream, &f.Conn, f)
	f.req.isHTTP2 = true
	f.req.appendInput(head, false)
	f.parseHead()
}

// recycle frees the stream, whose request has ended.
func (b *clientStream) recycle() {
	l := b.worker
	b.release()
	if len(l.freeStreams) < maxFreeStreams {
		l.freeStreams = append(l.freeStreams, b)
	}
}

// asked implements h2StreamUser.
func (f *clientConn) asked() http1.Asked {
	t := f.req
	return http1.Asked{Method: t.req.Method, Ended: t.headAlone || t.responseStarted && t.resp.Framing == http1.NoBody}
}

// readLimit returns how much to read from a server for this client: what the client's windows do not allow
// would only be kept.
func (f *clientConn) readLimit(space int) int {
	if f.stream == nil {
		return space
	}
	return int(min(int64(space), max(4<<10, f.stream.spaceToSend())))
}

// heldBack implements h2Handler.
func (k *h2Client) heldBack() { k.service.engine.edge.deps.metrics.heldBack.Inc() }

// protocolError implements h2Handler.
func (k *h2Client) protocolError(err error) {
	k.service.engine.edge.cfg.Log.Debug("connection refused", "client", routing.Node(k.peer), "err", err)
}

// connClosed implements h2Handler.
func (k *h2Client) connClosed() { k.service.clientGone(k.worker, k) }

// limitAddr implements trackedConn.
func (k *h2Client) limitAddr() netip.Addr { return k.peer }

// beginDrain implements trackedConn.
func (k *h2Client) beginDrain() {
	if k.isFresh() {
		k.drainAfter(k.service.firstWait())
	} else {
		k.drainAfter(min(k.service.engine.edge.lastGrace(), k.service.listener.IdleTimeout))
	}
}

// kill implements trackedConn.
func (k *h2Client) kill() { k.abort() }
