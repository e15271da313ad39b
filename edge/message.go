package edge

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/http1"
	"github.com/evenkeel-lb/evenkeel/internal/orca"
)

const (
	// maxReplay is the largest body, in bytes, that is read before the request is sent so that it can be sent
	// again. Only bodies of idempotent requests are, and those of requests for another protocol, which begins
	// behind the body.
	maxReplay   = 64 << 10
	maxInterims = 16 // 1xx responses to one request
)

// responseLimits are those of the head of a server's response, and of its trailers. HTTP/2 connections hold
// servers to the same.
var responseLimits = http1.Limits{Head: 256 << 10, Fields: 1000}

var errInterims = errors.New("the server sent too many interim responses")

// closing reports whether the connection ends with this exchange. HTTP/1.0's framing of bodies is not
// reliable.
func (w *forwardState) closing(draining bool) bool {
	if !w.req.KeepAlive || w.req.Minor == 0 {
		return true
	}
	return draining && (!w.complete || w.head+w.bodyInBuf+w.trailerLen == len(w.buf))
}

// closingUnread reports whether the connection ends with an answer that was given before the request body was
// looked at. A body that is not needed is not worth reading, and nothing of it must be taken for a request;
// nor must what a client sends into the tunnel that it believes to have.
func (w *forwardState) closingUnread(a flight.Answer, draining bool) bool {
	return w.req.Framing != http1.NoBody || w.req.Method == http1.MethodConnect || a.Status == 400 || a.Status == 204 || w.closing(draining)
}

// mayFrame reports whether enough of a request has come to begin its link: n bytes from its head on.
func (w *forwardState) mayFrame(come int) bool {
	r := &w.req
	replayed := r.Framing == http1.ByLength && r.Length <= maxReplay && !r.Expect && (w.exchange.head.Upgrade || flight.Idempotent(w.exchange.head.Method))
	return !replayed || int64(come-w.head) >= r.Length
}

// frame finds how much of the request body is in buf, which begins with its head.
func (w *forwardState) frame(buf []byte, l *routing.BoundListener) (err error) {
	w.buf = buf
	w.body, w.bodyInBuf, w.trailerLen = w.req.Body(), 0, 0
	w.body.Limit = l.BodyLimit
	if w.bodyInBuf, err = w.body.Pass(w.buf[w.head:]); err != nil {
		return err
	}
	if w.body.AtTrailers() {
		w.trailers.Limits = l.HeadLimits
		if w.trailerLen, err = w.body.ReadTrailers(&w.trailers, w.buf[w.head+w.bodyInBuf:]); err != nil {
			return err
		}
	}
	w.complete = w.body.Done()
	return nil
}

// unreadable returns the answer to a malformed head, of which n bytes have come; false: none, since nothing
// was asked.
func unreadable(err error, come int) (a flight.Answer, detail string, ok bool) {
	var bad http1.Error
	switch {
	case errors.As(err, &bad):
		a, detail = flight.Answer{Status: bad.Status(), Reason: reasonMalformed}, bad.Error()
		if a.Status == 431 {
			a.Reason, detail = reasonHeadTooBig, ""
		}
		return a, detail, true
	case errors.Is(err, os.ErrDeadlineExceeded) && come > len("\r\n"):
		return flight.Answer{Status: 408, Reason: reasonHeadSlow}, "", true
	}
	return a, "", false
}

// unusable returns the answer to a request whose body could not be read; false: none, since the client has
// left.
func unusable(err error) (a flight.Answer, detail string, ok bool) {
	var bad http1.Error
	switch {
	case errors.Is(err, http1.ErrLongBody):
		return flight.Answer{Status: 413, Reason: reasonBodyTooBig}, "", true
	case errors.As(err, &bad) && bad != http1.ErrTruncated:
		return flight.Answer{Status: 400, Reason: reasonMalformed}, bad.Error(), true
	case errors.Is(err, os.ErrDeadlineExceeded):
		return flight.Answer{Status: 408, Reason: reasonBodySlow}, "", true
	}
	return a, "", false
}

// compose builds the request for the server, with as much of the body as has come.
func (w *forwardState) compose() {
	x := &w.exchange
	w.rewrite = http1.Rewrite{Drop: x.requestDrops(), Upgrade: x.head.Upgrade, Open: true}
	if x.newPath {
		w.rewrite.Target = []byte(x.head.Target)
	}
	a := headerLines{w.req.Append(w.out[:0], w.buf, &w.rewrite)}
	x.appendRequestHeaders(&a)
	w.out = append(a.text, "\r\n"...)
	w.composeBody()
}

// composeBody appends as much of the body as has come.
func (w *forwardState) composeBody() {
	body := w.buf[w.head:]
	w.out = append(w.out, body[:w.bodyInBuf]...)
	if w.trailerLen > 0 {
		w.out = w.trailers.Append(w.out, body[w.bodyInBuf:], w.exchange.route.Drops.Trailers)
	}
}

// awaitResponse prepares the parser for another response.
func (w *forwardState) awaitResponse() {
	w.resp.Limits = responseLimits
	w.resp.Reset()
}

// checkSwitch checks a 101 response. RFC 9110, 7.8: a server cannot switch to a protocol that was not offered.
func (w *forwardState) checkSwitch() error {
	if !w.resp.Tunnel {
		return nil
	}
	offered, taken := routing.UnsafeString(w.req.Upgrade.Of(w.buf)), routing.UnsafeString(w.resp.Upgrade.Of(w.in[w.r:w.w]))
	for p := range strings.SplitSeq(offered, ",") {
		if strings.EqualFold(strings.TrimSpace(p), taken) {
			return nil
		}
	}
	return fmt.Errorf("the server switched to protocol %q, want %q", taken, offered)
}

func (w *forwardState) appendInterim(dst []byte) []byte {
	return w.resp.Append(dst, w.in[w.r:w.w], &http1.Rewrite{Drop: routing.FromServers})
}

// beginResponse handles the response's head and prepares the client's.
func (w *forwardState) beginResponse() {
	x := &w.exchange
	x.status = w.resp.Status
	w.respHeaders = routing.HeaderView{Head: &w.resp.Head, Buf: w.in[w.r:w.w]}
	x.reply.Head(x.status, x.grpc, w.respHeaders.First)
	if w.respHeaders.First(orca.Header) != "" || w.respHeaders.First(orca.HeaderBin) != "" {
		x.forwardReport(w.respHeaders.All)
	}
	w.adds.reset()
	w.rewrite = http1.Rewrite{Drop: x.appendResponseHeaders(&w.adds, &w.respHeaders), Upgrade: w.resp.Tunnel}
	w.rewrite.Add = w.adds.text
}

// takeTrailers builds the client's trailers from the server's, of n bytes.
func (w *forwardState) takeTrailers(n int) {
	told := routing.TrailerView{Trailers: &w.trailers, Buf: w.in[w.r:w.w]}
	if told.All(orca.Header) != nil || told.All(orca.HeaderBin) != nil {
		w.exchange.forwardReport(told.All)
	}
	w.exchange.reply.Trailers(told.First)
	w.out = w.trailers.Append(w.out[:0], w.in[w.r:w.w], routing.NoTrailers)
	w.r += n
}
