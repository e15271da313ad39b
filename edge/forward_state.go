package edge

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/evenkeel-lb/evenkeel/edge/paths"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/http1"
)

// forwardState is what forwarding one request needs, and an idle connection does not. It is reused, so that in
// the steady state nothing is allocated.
type forwardState struct {
	exchange    exchange
	cancel      cancellation
	req         http1.RequestHead
	resp        http1.ResponseHead
	trailers    http1.Trailers
	reqHeaders  routing.HeaderView // of the request
	respHeaders routing.HeaderView // of the response
	adds        headerLines
	rewrite     http1.Rewrite
	out         []byte // a head being written

	buf        []byte             // of the request: the head, and the part of the body that came with it
	head       int                // its length in buf
	body       http1.Body         // behind bodyInBuf
	bodyInBuf  int                // bytes of the body in buf that go to the server as they are
	trailerLen int                // bytes of trailers behind them
	complete   bool               // buf has the whole request
	isHTTP2    bool               // the client's connection is HTTP/2
	clientTLS  *routing.ClientTLS // what the client has shown by TLS; nil: nothing

	in         []byte // from the server: space for a head, then input in in[r:w]
	r, w       int
	respHead   int  // length of the response's head
	inTrailers bool // reading the response's trailers
	abortive   bool // the client must see that its response is truncated
}

const (
	headSpace = 1 << 10  // space for a head that has grown, right before its body
	bodyRoom  = 32 << 10 // bytes of one read
	maxInput  = 64 << 10 // larger buffers are not kept
	spliceMin = 64 << 10 // bytes of a body from which on the kernel moves it
)

// reset drops the request, so that its memory can be freed.
func (w *forwardState) reset() {
	w.req.Reset()
	w.buf, w.reqHeaders, w.respHeaders, w.abortive, w.isHTTP2 = nil, routing.HeaderView{}, routing.HeaderView{}, false, false
	w.clientTLS = nil
	w.exchange.head, w.exchange.id = routing.RequestInfo{}, ""
	if len(w.in) > maxInput {
		w.in = make([]byte, headSpace+bodyRoom)
	}
	if cap(w.out) > maxInput {
		w.out = nil
	}
}

// setHead begins a request whose head has n bytes of buf.
func (w *forwardState) setHead(buf []byte, n int) {
	w.buf, w.head, w.complete = buf, n, false
	w.reqHeaders = routing.HeaderView{Head: &w.req.Head, Buf: buf}
}

// openExchange begins the exchange. A non-zero answer is to be sent instead of starting it.
func (w *forwardState) openExchange(d *deps, l *routing.BoundListener, peer netip.Addr) flight.Answer {
	h := w.describe(l, peer)
	answer := w.exchange.init(d, l, &h, &w.cancel)
	if answer.Status == 0 && w.req.Form == http1.AbsoluteForm && !l.TakesURL(w.req.Target.Of(w.buf), peer) {
		return flight.Answer{Status: 400, Reason: reasonTarget}
	}
	if x := &w.exchange; x.head.Upgrade && x.route != nil && !x.route.Upgrades.Allow(routing.UnsafeString(w.req.Upgrade.Of(w.buf))) {
		x.head.Upgrade = false // RFC 9110, 7.8: a server may ignore it
	}
	if answer.Status == 0 && l.BodyLimit > 0 && w.req.Length > l.BodyLimit {
		return flight.Answer{Status: 413, Reason: reasonBodyTooBig}
	}
	return answer
}

// describe returns what the exchange needs of the head. Its strings share buf.
func (w *forwardState) describe(l *routing.BoundListener, peer netip.Addr) routing.RequestInfo {
	r, buf := &w.req, w.buf
	h := routing.RequestInfo{Method: routing.UnsafeString(r.Verb.Of(buf)), Host: routing.UnsafeString(r.Host.Of(buf)), Proto: "1.1", Secure: l.TLS != nil, Peer: peer, ClientTLS: w.clientTLS, Headers: &w.reqHeaders}
	switch {
	case w.isHTTP2:
		h.Proto = routing.HTTPVersion2
	case r.Minor == 0:
		h.Proto = "1.0"
	}
	h.Upgrade = r.Upgrade.Len() > 0 && (r.Framing == http1.NoBody || r.Framing == http1.ByLength && r.Length <= maxReplay && !r.Expect)
	h.Target = routing.UnsafeString(r.Path.Of(buf))
	if r.Form == http1.AbsoluteForm && !strings.HasPrefix(h.Target, "/") {
		h.Target = "/" + h.Target
	}
	h.RawPath, h.Query, _ = strings.Cut(h.Target, "?")
	h.Path = h.RawPath
	if strings.IndexByte(h.Path, '%') >= 0 {
		if plain, err := url.PathUnescape(h.Path); err == nil {
			h.Path = plain
		}
	}
	return h
}

// initRefused begins an exchange whose request could not be read.
func (x *exchange) initRefused(d *deps, l *routing.BoundListener, peer netip.Addr, r *cancellation) {
	x.renew(d, l, r)
	x.client, x.head.Peer = peer, peer
	x.id = x.requestID("")
	x.countOpen(1)
}

// setGlimpse takes method and path from a malformed request, for the log.
func (x *exchange) setGlimpse(got []byte) {
	method, path := paths.Glimpse(got)
	x.head.Method, x.head.Path = x.text.Clone(routing.UnsafeString(method)), x.text.Clone(routing.UnsafeString(path))
}
