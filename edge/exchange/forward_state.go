package exchange

import (
	"net/netip"
	"net/url"
	"strings"

	"github.com/evenkeel-lb/evenkeel/edge/paths"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/http1"
)

// ForwardState is what forwarding one request needs, and an idle connection does not. It is reused, so that in
// the steady state nothing is allocated.
type ForwardState struct {
	Exchange    Exchange
	Cancel      Cancellation
	Req         http1.RequestHead
	Resp        http1.ResponseHead
	trailers    http1.Trailers
	ReqHeaders  routing.HeaderView // of the request
	respHeaders routing.HeaderView // of the response
	adds        HeaderLines
	Rewrite     http1.Rewrite
	Out         []byte // a head being written

	Buf        []byte             // of the request: the head, and the part of the body that came with it
	Head       int                // its length in buf
	Body       http1.Body         // behind BodyInBuf
	BodyInBuf  int                // bytes of the body in buf that go to the server as they are
	TrailerLen int                // bytes of trailers behind them
	Complete   bool               // buf has the whole request
	IsHTTP2    bool               // the client's connection is HTTP/2
	Kept       bool               // the request goes on without its client
	ClientTLS  *routing.ClientTLS // what the client has shown by TLS; nil: nothing

	In         []byte // from the server: space for a head, then input in in[r:w]
	R, W       int
	RespHead   int  // length of the response's head
	inTrailers bool // reading the response's trailers
	Abortive   bool // the client must see that its response is truncated
}

const (
	HeadSpace = 1 << 10  // space for a head that has grown, right before its body
	BodyRoom  = 32 << 10 // bytes of one read
	MaxInput  = 64 << 10 // larger buffers are not kept
	SpliceMin = 64 << 10 // bytes of a body from which on the kernel moves it
)

// Reset drops the request, so that its memory can be freed.
func (w *ForwardState) Reset() {
	w.Req.Reset()
	w.Buf, w.ReqHeaders, w.respHeaders, w.Abortive, w.IsHTTP2, w.Kept = nil, routing.HeaderView{}, routing.HeaderView{}, false, false, false
	w.ClientTLS = nil
	w.Exchange.Head, w.Exchange.ID = routing.RequestInfo{}, ""
	if len(w.In) > MaxInput {
		w.In = make([]byte, HeadSpace+BodyRoom)
	}
	if cap(w.Out) > MaxInput {
		w.Out = nil
	}
}

// SetHead begins a request whose head has n bytes of buf.
func (w *ForwardState) SetHead(buf []byte, n int) {
	w.Buf, w.Head, w.Complete = buf, n, false
	w.ReqHeaders = routing.HeaderView{Head: &w.Req.Head, Buf: buf}
}

// OpenExchange begins the exchange. A non-zero answer is to be sent instead of starting it.
func (w *ForwardState) OpenExchange(d *Deps, l *routing.BoundListener, peer netip.Addr) flight.Answer {
	h := w.describe(l, peer)
	answer := w.Exchange.open(d, l, &h, &w.Cancel)
	if answer.Status == 0 && w.Req.Form == http1.AbsoluteForm && !l.TakesURL(w.Req.Target.Of(w.Buf), peer) {
		return flight.Answer{Status: 400, Reason: reasonTarget}
	}
	if x := &w.Exchange; x.Head.Upgrade && x.Route != nil && !x.Route.Upgrades.Allow(routing.UnsafeString(w.Req.Upgrade.Of(w.Buf))) {
		x.Head.Upgrade = false // RFC 9110, 7.8: a server may ignore it
	}
	if answer.Status == 0 && l.BodyLimit > 0 && w.Req.Length > l.BodyLimit {
		return flight.Answer{Status: 413, Reason: reasonBodyTooBig}
	}
	return answer
}

// describe returns what the exchange needs of the head. Its strings share buf.
func (w *ForwardState) describe(l *routing.BoundListener, peer netip.Addr) routing.RequestInfo {
	r, buf := &w.Req, w.Buf
	h := routing.RequestInfo{Method: routing.UnsafeString(r.Verb.Of(buf)), Host: routing.UnsafeString(r.Host.Of(buf)), Proto: "1.1", Secure: l.TLS != nil, Peer: peer, Kept: w.Kept, ClientTLS: w.ClientTLS, ContentLength: contentLength(r), Headers: &w.ReqHeaders}
	switch {
	case w.IsHTTP2:
		h.Proto = routing.HTTPVersion2
	case r.Minor == 0:
		h.Proto = "1.0"
	}
	h.Upgrade = r.Upgrade.Len() > 0 && (r.Framing == http1.NoBody || r.Framing == http1.ByLength && r.Length <= MaxReplay && !r.Expect)
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

// contentLength returns how long a request says that its body is; negative: it does not say.
func contentLength(r *http1.RequestHead) int64 {
	switch r.Framing {
	case http1.NoBody:
		return 0
	case http1.ByLength:
		return r.Length
	}
	return -1
}

// Start asks for a server, as Exchange.Start. stored is what was read of the body behind buf; whole: it is all of it.
func (w *ForwardState) Start(stored [][]byte, whole bool) flight.Step {
	x := &w.Exchange
	if !x.Route.ReadsBody() {
		return x.Start()
	}
	x.Head.Body = &routing.RequestBody{First: w.Buf[w.Head : w.Head+w.BodyInBuf], Rest: stored, Framing: w.Req.Framing, Complete: whole}
	defer func() { x.Head.Body = nil }()
	return x.Start()
}

// InitRefused begins an exchange whose request could not be read.
func (x *Exchange) InitRefused(d *Deps, l *routing.BoundListener, peer netip.Addr, r *Cancellation) {
	x.renew(d, l, r)
	x.ClientAddr, x.Head.Peer = peer, peer
	x.ID = x.requestID("")
	x.countOpen(1)
}

// SetGlimpse takes method and path from a malformed request, for the log.
func (x *Exchange) SetGlimpse(got []byte) {
	method, path := paths.Glimpse(got)
	x.Head.Method, x.Head.Path = x.text.Clone(routing.UnsafeString(method)), x.text.Clone(routing.UnsafeString(path))
}
