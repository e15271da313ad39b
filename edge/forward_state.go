package edge

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/evenkeel-lb/evenkeel/edge/paths"
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
	reqHeaders  headerView // of the request
	respHeaders headerView // of the response
	adds        headerLines
	rewrite     http1.Rewrite
	out         []byte // a head being written

	buf        []byte     // of the request: the head, and the part of the body that came with it
	head       int        // its length in buf
	body       http1.Body // behind bodyInBuf
	bodyInBuf  int        // bytes of the body in buf that go to the server as they are
	trailerLen int        // bytes of trailers behind them
	complete   bool       // buf has the whole request
	isHTTP2    bool       // the client's connection is HTTP/2
	clientTLS  *clientTLS // what the client has shown by TLS; nil: nothing

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
	w.buf, w.reqHeaders, w.respHeaders, w.abortive, w.isHTTP2 = nil, headerView{}, headerView{}, false, false
	w.clientTLS = nil
	w.exchange.head, w.exchange.id = requestInfo{}, ""
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
	w.reqHeaders = headerView{head: &w.req.Head, buf: buf}
}

// openExchange begins the exchange. A non-zero answer is to be sent instead of starting it.
func (w *forwardState) openExchange(d *deps, l *boundListener, peer netip.Addr) flight.Answer {
	h := w.describe(l, peer)
	answer := w.exchange.init(d, l, &h, &w.cancel)
	if answer.Status == 0 && w.req.Form == http1.AbsoluteForm && !l.takesURL(w.req.Target.Of(w.buf), peer) {
		return flight.Answer{Status: 400, Reason: reasonTarget}
	}
	if x := &w.exchange; x.head.upgrade && x.route != nil && !x.route.upgrades.Allow(unsafeString(w.req.Upgrade.Of(w.buf))) {
		x.head.upgrade = false // RFC 9110, 7.8: a server may ignore it
	}
	if answer.Status == 0 && l.BodyLimit > 0 && w.req.Length > l.BodyLimit {
		return flight.Answer{Status: 413, Reason: reasonBodyTooBig}
	}
	return answer
}

// describe returns what the exchange needs of the head. Its strings share buf.
func (w *forwardState) describe(l *boundListener, peer netip.Addr) requestInfo {
	r, buf := &w.req, w.buf
	h := requestInfo{method: unsafeString(r.Verb.Of(buf)), host: unsafeString(r.Host.Of(buf)), proto: "1.1", secure: l.secure != nil, peer: peer, clientTLS: w.clientTLS, headers: &w.reqHeaders}
	switch {
	case w.isHTTP2:
		h.proto = version2
	case r.Minor == 0:
		h.proto = "1.0"
	}
	h.upgrade = r.Upgrade.Len() > 0 && (r.Framing == http1.NoBody || r.Framing == http1.ByLength && r.Length <= maxReplay && !r.Expect)
	h.target = unsafeString(r.Path.Of(buf))
	if r.Form == http1.AbsoluteForm && !strings.HasPrefix(h.target, "/") {
		h.target = "/" + h.target
	}
	h.raw, h.query, _ = strings.Cut(h.target, "?")
	h.path = h.raw
	if strings.IndexByte(h.path, '%') >= 0 {
		if plain, err := url.PathUnescape(h.path); err == nil {
			h.path = plain
		}
	}
	return h
}

// initRefused begins an exchange whose request could not be read.
func (x *exchange) initRefused(d *deps, l *boundListener, peer netip.Addr, r *cancellation) {
	x.renew(d, l, r)
	x.client, x.head.peer = peer, peer
	x.id = x.requestID("")
	x.countOpen(1)
}

// setGlimpse takes method and path from a malformed request, for the log.
func (x *exchange) setGlimpse(got []byte) {
	method, path := paths.Glimpse(got)
	x.head.method, x.head.path = x.text.clone(unsafeString(method)), x.text.clone(unsafeString(path))
}
