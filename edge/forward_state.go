package edge

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/evenkeel-lb/evenkeel/edge/paths"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/http1"
)

// forwardState is what a request needs while it is under way, and an idle connection does
// not. It is used again and again, so that in the steady state nothing is allocated.
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
	out         []byte // a head on its way

	buf        []byte     // of the request: the head, and what of the body came with it
	head       int        // its length in buf
	body       http1.Body // behind what is passed
	bodyInBuf  int        // bytes of the body in buf that go to the server as they are
	trailerLen int        // bytes of trailers behind them
	complete   bool       // the request is in buf to its end
	isHTTP2    bool       // its client speaks HTTP/2
	clientTLS  *clientTLS // what its client has shown by TLS; nil: nothing

	in         []byte // from the server: room for a head, then what has come in in[r:w]
	r, w       int
	respHead   int  // length of the response's head
	inTrailers bool // those of the response are being read
	abortive   bool // the client must see that its answer is not whole
}

const (
	headRoom  = 1 << 10  // a head that has grown stands there, right before its body
	bodyRoom  = 32 << 10 // what is read at once
	maxInput  = 64 << 10 // larger buffers do not outlive their request
	spliceMin = 64 << 10 // bytes of a body for which it pays to move them inside the kernel
)

// reset forgets the request, lest it be kept in memory.
func (w *forwardState) reset() {
	w.req.Reset()
	w.buf, w.reqHeaders, w.respHeaders, w.abortive, w.isHTTP2 = nil, headerView{}, headerView{}, false, false
	w.clientTLS = nil
	w.exchange.head, w.exchange.id = requestInfo{}, ""
	if len(w.in) > maxInput {
		w.in = make([]byte, headRoom+bodyRoom)
	}
	if cap(w.out) > maxInput {
		w.out = nil
	}
}

// setHead takes a request whose head of n bytes begins buf.
func (w *forwardState) setHead(buf []byte, n int) {
	w.buf, w.head, w.complete = buf, n, false
	w.reqHeaders = headerView{&w.req.Head, buf}
}

// openExchange begins the exchange. A non-zero answer is what the client is to be told instead
// of starting it.
func (w *forwardState) openExchange(e *Edge, l *boundListener, peer netip.Addr) flight.Answer {
	h := w.describe(l, peer)
	answer := w.exchange.init(e, l, &h, &w.cancel)
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

// describe tells the exchange of the head. Its strings are views of the buffer.
func (w *forwardState) describe(l *boundListener, peer netip.Addr) requestInfo {
	r, buf := &w.req, w.buf
	h := requestInfo{method: unsafeString(r.Verb.Of(buf)), host: unsafeString(r.Host.Of(buf)), proto: "1.1", secure: l.secure != nil, peer: peer, clientTLS: w.clientTLS, headers: &w.reqHeaders}
	switch {
	case w.isHTTP2:
		h.proto = version2
	case r.Minor == 0:
		h.proto = "1.0"
	}
	h.upgrade = r.Upgrade.Len() > 0 && (r.Framing == http1.NoBody || r.Framing == http1.ByLength && r.Length <= replayMost && !r.Expect)
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

// initRefused begins an exchange with a client whose request could not be read.
func (x *exchange) initRefused(e *Edge, l *boundListener, peer netip.Addr, r *cancellation) {
	*x = exchange{edge: e, listener: l, startedAt: x.now(), cancel: r, client: peer, loop: x.loop, text: x.text, code: grpcNone}
	x.text.reset()
	x.head.peer = peer
	x.id = x.requestID("")
	x.countOpen(1)
}

// setGlimpse takes method and path from what could not be read as a whole, for the log.
func (x *exchange) setGlimpse(got []byte) {
	method, path := paths.Glimpse(got)
	x.head.method, x.head.path = x.text.clone(unsafeString(method)), x.text.clone(unsafeString(path))
}

// headerView is the fields of a head that was parsed.
type headerView struct {
	head *http1.Head
	buf  []byte
}

func (v *headerView) first(lower string) string {
	value, _ := v.head.Value(v.buf, lower)
	return unsafeString(value)
}

func (v *headerView) all(lower string) (values []string) {
	for i := v.head.Index(v.buf, lower, 0); i >= 0; i = v.head.Index(v.buf, lower, i+1) {
		values = append(values, unsafeString(v.head.Fields[i].Value.Of(v.buf)))
	}
	return values
}

// limits are a listener's, as the parser takes them.
func (l *Listener) parserLimits() http1.Limits {
	return http1.Limits{Head: l.HeaderLimit, Line: max(8<<10, l.HeaderLimit/4), Fields: l.HeaderCount}
}

// trailerView is the fields of trailers that were read.
type trailerView struct {
	trailers *http1.Trailers
	buf      []byte
}

func (v *trailerView) first(lower string) string {
	if i := v.trailers.Index(v.buf, lower, 0); i >= 0 {
		return unsafeString(v.trailers.Fields[i].Value.Of(v.buf))
	}
	return ""
}

func (v *trailerView) all(lower string) (values []string) {
	for i := v.trailers.Index(v.buf, lower, 0); i >= 0; i = v.trailers.Index(v.buf, lower, i+1) {
		values = append(values, unsafeString(v.trailers.Fields[i].Value.Of(v.buf)))
	}
	return values
}
