package exchange

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
	// MaxReplay is the largest body, in bytes, that is read before the request is sent so that it can be sent
	// again. Only bodies of idempotent requests are, and those of requests for another protocol, which begins
	// behind the body.
	MaxReplay   = 64 << 10
	MaxInterims = 16 // 1xx responses to one request
)

// ResponseLimits are those of the head of a server's response, and of its trailers. HTTP/2 connections hold
// servers to the same.
var ResponseLimits = http1.Limits{Head: 256 << 10, Fields: 1000}

var ErrInterims = errors.New("the server sent too many interim responses")

// Closing reports whether the connection ends with this exchange. HTTP/1.0's framing of bodies is not
// reliable.
func (w *ForwardState) Closing(draining bool) bool {
	if !w.Req.KeepAlive || w.Req.Minor == 0 {
		return true
	}
	return draining && (!w.Complete || w.Head+w.BodyInBuf+w.TrailerLen == len(w.Buf))
}

// ClosingUnread reports whether the connection ends with an answer that was given before the request body was
// looked at. A body that is not needed is not worth reading, and nothing of it must be taken for a request;
// nor must what a client sends into the tunnel that it believes to have.
func (w *ForwardState) ClosingUnread(a flight.Answer, draining bool) bool {
	return w.Req.Framing != http1.NoBody || w.Req.Method == http1.MethodConnect || a.Status == 400 || a.Status == 204 || w.Closing(draining)
}

// MayFrame reports whether enough of a request has come to begin its link: n bytes from its head on.
func (w *ForwardState) MayFrame(come int) bool {
	r := &w.Req
	replayed := r.Framing == http1.ByLength && r.Length <= MaxReplay && !r.Expect && (w.Exchange.Head.Upgrade || flight.Idempotent(w.Exchange.Head.Method))
	return !replayed || int64(come-w.Head) >= r.Length
}

// Frame finds how much of the request body is in buf, which begins with its head.
func (w *ForwardState) Frame(buf []byte, l *routing.BoundListener) (err error) {
	w.Buf = buf
	w.Body, w.BodyInBuf, w.TrailerLen = w.Req.Body(), 0, 0
	w.Body.Limit = l.BodyLimit
	if w.BodyInBuf, err = w.Body.Pass(w.Buf[w.Head:]); err != nil {
		return err
	}
	if w.Body.AtTrailers() {
		w.trailers.Limits = l.HeadLimits
		if w.TrailerLen, err = w.Body.ReadTrailers(&w.trailers, w.Buf[w.Head+w.BodyInBuf:]); err != nil {
			return err
		}
	}
	w.Complete = w.Body.Done()
	return nil
}

// Unreadable returns the answer to a malformed head, of which n bytes have come; false: none, since nothing
// was asked.
func Unreadable(err error, come int) (a flight.Answer, detail string, ok bool) {
	var bad http1.Error
	switch {
	case errors.As(err, &bad):
		a, detail = flight.Answer{Status: bad.Status(), Reason: reasonMalformed}, bad.Error()
		if a.Status == 431 {
			a.Reason, detail = reasonHeadTooBig, ""
		}
		return a, detail, true
	case errors.Is(err, os.ErrDeadlineExceeded) && come > len("\r\n"):
		return flight.Answer{Status: 408, Reason: ReasonHeadSlow}, "", true
	}
	return a, "", false
}

// Unusable returns the answer to a request whose body could not be read; false: none, since the client has
// left.
func Unusable(err error) (a flight.Answer, detail string, ok bool) {
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

// Compose builds the request for the server, with as much of the body as has come.
func (w *ForwardState) Compose() {
	x := &w.Exchange
	w.Rewrite = http1.Rewrite{Drop: x.RequestDrops(), Upgrade: x.Head.Upgrade, Open: true}
	if x.NewPath {
		w.Rewrite.Target = []byte(x.Head.Target)
	}
	a := HeaderLines{w.Req.Append(w.Out[:0], w.Buf, &w.Rewrite)}
	x.AppendRequestHeaders(&a)
	w.Out = append(a.Text, "\r\n"...)
	w.ComposeBody()
}

// ComposeBody appends as much of the body as has come.
func (w *ForwardState) ComposeBody() {
	body := w.Buf[w.Head:]
	w.Out = append(w.Out, body[:w.BodyInBuf]...)
	if w.TrailerLen > 0 {
		w.Out = w.trailers.Append(w.Out, body[w.BodyInBuf:], w.Exchange.Route.Drops.Trailers)
	}
}

// AwaitResponse prepares the parser for another response.
func (w *ForwardState) AwaitResponse() {
	w.Resp.Limits = ResponseLimits
	w.Resp.Reset()
}

// CheckSwitch checks a 101 response. RFC 9110, 7.8: a server cannot switch to a protocol that was not offered.
func (w *ForwardState) CheckSwitch() error {
	if !w.Resp.Tunnel {
		return nil
	}
	offered, taken := routing.UnsafeString(w.Req.Upgrade.Of(w.Buf)), routing.UnsafeString(w.Resp.Upgrade.Of(w.In[w.R:w.W]))
	for p := range strings.SplitSeq(offered, ",") {
		if strings.EqualFold(strings.TrimSpace(p), taken) {
			return nil
		}
	}
	return fmt.Errorf("the server switched to protocol %q, want %q", taken, offered)
}

func (w *ForwardState) AppendInterim(dst []byte) []byte {
	return w.Resp.Append(dst, w.In[w.R:w.W], &http1.Rewrite{Drop: routing.FromServers})
}

// BeginResponse handles the response's head and prepares the client's.
func (w *ForwardState) BeginResponse() {
	x := &w.Exchange
	x.Status = w.Resp.Status
	w.respHeaders = routing.HeaderView{Head: &w.Resp.Head, Buf: w.In[w.R:w.W]}
	x.reply.Head(x.Status, x.GRPC, w.respHeaders.First)
	x.firstByteAt = x.now()
	if w.respHeaders.HasInitial('e') { // as the names of all that servers say of themselves
		x.noteSize(w.respHeaders.First(fieldSize))
		if w.respHeaders.First(orca.Header) != "" || w.respHeaders.First(orca.HeaderBin) != "" {
			x.forwardReport(w.respHeaders.All)
		}
	}
	w.adds.reset()
	w.Rewrite = http1.Rewrite{Drop: x.appendResponseHeaders(&w.adds, &w.respHeaders), Upgrade: w.Resp.Tunnel}
	w.Rewrite.Add = w.adds.Text
}

// takeTrailers builds the client's trailers from the server's, of n bytes.
func (w *ForwardState) takeTrailers(n int) {
	told := routing.TrailerView{Trailers: &w.trailers, Buf: w.In[w.R:w.W]}
	w.Exchange.noteSize(told.First(fieldSize))
	if told.All(orca.Header) != nil || told.All(orca.HeaderBin) != nil {
		w.Exchange.forwardReport(told.All)
	}
	w.Exchange.reply.Trailers(told.First)
	w.Out = w.trailers.Append(w.Out[:0], w.In[w.R:w.W], routing.NoTrailers)
	w.R += n
}
