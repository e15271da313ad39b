package exchange

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/flight"
)

// Problem is the edge's own answer to a client, in the form of RFC 9457, with a reason for programs and the
// request's id for the logs. It names nothing internal but a server's id.
type Problem struct {
	Type    string           `json:"type"`
	Title   string           `json:"title"`
	Status  int              `json:"status"`
	Detail  string           `json:"detail"`
	Reason  string           `json:"reason"`
	Server  balance.ServerID `json:"server,omitempty"`
	Request string           `json:"request"`
}

// Reasons of the edge's own, beside those of flight and balance.
const (
	ReasonNoRoute     = "no-route"
	reasonHeadTooBig  = "head-too-large"
	reasonBodyTooBig  = "body-too-large"
	reasonBodySlow    = "body-timeout"
	ReasonHeadSlow    = "head-timeout"
	reasonTarget      = "bad-target"
	ReasonLoop        = "loop"
	ReasonPath        = "ambiguous-path"
	reasonMalformed   = "bad-request"
	reasonUnsupported = "method-not-supported"
	ReasonPreface     = "bad-preface"
	ReasonLeft        = "left"
	reasonHTTP2Only   = "http2-only"
	reasonTrace       = "trace"
	reasonDenied      = "denied"
	reasonMisdirected = "misdirected"
	ReasonManyOpen    = "too-many-open-requests"
	ReasonTooFast     = "too-many-requests"
	reasonConnections = "too-many-connections"
)

var details = map[string]string{
	ReasonNoRoute:                "no route matches the request's host and path",
	reasonHeadTooBig:             "the request's head is larger, or has more lines, than is taken here",
	reasonBodyTooBig:             "the request's body is larger than is taken here",
	reasonBodySlow:               "the rest of the request's body did not come in time",
	ReasonHeadSlow:               "the request's head did not come in time",
	reasonTarget:                 "the request's target is not a path, nor a URL of what is spoken here",
	ReasonLoop:                   "the request has come through here too often: it goes in circles",
	ReasonPath:                   "the path is not read alike everywhere, for dot segments, //, \\, ; or escapes of those, and would lead elsewhere",
	reasonUnsupported:            "this is no forward proxy: CONNECT is not served",
	reasonMisdirected:            "the TLS connection is for another server name; open a new connection for this one",
	ReasonManyOpen:               "this client has as many open requests as allowed",
	ReasonTooFast:                "this client sends requests faster than allowed",
	ReasonKeptFull:               "as many requests, or bytes of them, are kept here for later answers as may be",
	ReasonKeptClient:             "as many requests of this client are kept here for later answers as may be",
	ReasonKeptNone:               "no request is kept under this address: it was canceled, its answer has expired, or there was none",
	ReasonKeptLost:               "the request was kept by a process that has ended, and is lost with its answer",
	ReasonKeptOther:              "the request is kept by another edge, and this one does not know where that is",
	ReasonKeptEarly:              "there is no answer yet",
	ReasonKeptMethod:             "want GET, HEAD or DELETE",
	ReasonStopping:               "the edge is stopping, and keeps no requests any more",
	ReasonLongAnswer:             "the server's answer is longer than is kept here",
	ReasonNoSpace:                "there is no room for the server's answer",
	ReasonCanceled:               "the client has canceled the request",
	reasonTrace:                  "TRACE is not answered here",
	reasonHTTP2Only:              "the servers of this route use HTTP/2, so clients must too",
	flight.ReasonUnreachable:     "the server could not be reached",
	flight.ReasonUnresolved:      "the server's name could not be resolved",
	flight.ReasonBroken:          "the server closed the connection early",
	flight.ReasonNotTaken:        "the server did not take the request, and it could not be sent again",
	flight.ReasonTimeout:         "the server did not answer in time",
	flight.ReasonEdge:            "the edge cannot open another connection",
	flight.ReasonNoMaster:        "no master answers, and the edge knows no server",
	balance.NoServer.String():    "no server is ready for the request",
	balance.Saturated.String():   "every server is full, and so is the queue",
	balance.Shed.String():        "no server became free while the request could wait",
	balance.UnknownPool.String(): "the master does not know the servers that this is routed to",
	balance.Declined.String():    "every server was asked and refused the request",
	balance.Malformed.String():   "the master could not read the request",
}

// NoteAnswer records that the edge answers instead of a server, and returns the explanation for the client;
// empty: the reason is enough. The log gets the master's own text, which names the pool.
func (x *Exchange) NoteAnswer(a flight.Answer, detail string) string {
	x.reason, x.detail = a.Reason, detail
	r := x.refusal
	if r == nil || r.Reason.String() != a.Reason {
		return detail
	}
	x.detail = r.Detail
	if r.Needs > 0 {
		return fmt.Sprintf("refused at once: every server is at its limit, requests take up to %v here, and this one has %v", inWords(r.Needs), inWords(x.Request.Deadline.Sub(x.AskedAt)))
	}
	return detail
}

// inWords rounds a duration for people.
func inWords(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}

// AppendProblem appends the answer in HTTP/1.1 format. detail is empty if the reason is enough; closing: no
// other response follows.
func AppendProblem(dst []byte, a flight.Answer, detail, request string, headOnly, closing bool) (out []byte, bodySize int) {
	return appendProblem(dst, a, nil, detail, request, headOnly, closing)
}

// AppendProblem is the function AppendProblem for the exchange's request.
func (x *Exchange) AppendProblem(dst []byte, a flight.Answer, detail string, headOnly, closing bool) (out []byte, bodySize int) {
	return appendProblem(dst, a, x.refusalTiming(), detail, x.ID, headOnly, closing)
}

// appendProblem has more lines, each with its end.
func appendProblem(dst []byte, a flight.Answer, more []byte, detail, request string, headOnly, closing bool) (out []byte, bodySize int) {
	dst = append(appendStatus(dst, a.Status), more...)
	if a.Status == http.StatusNoContent {
		return appendEnd(dst, request, closing), 0
	}
	body := problemBody(a, detail, request)
	if a.Reason == ReasonKeptMethod { // RFC 9110, 15.5.6
		dst = append(dst, "Allow: GET, HEAD, DELETE\r\n"...)
	}
	dst = append(dst, "Content-Type: "+ProblemType+"\r\nCache-Control: no-store\r\nContent-Length: "...)
	dst = append(strconv.AppendInt(dst, int64(len(body)), 10), "\r\n"...)
	if a.RetryAfter > 0 {
		dst = append(dst, "Retry-After: "...)
		dst = append(strconv.AppendInt(dst, retryAfter(a), 10), "\r\n"...)
	}
	dst = appendEnd(dst, request, closing)
	if headOnly {
		return dst, 0
	}
	return append(dst, body...), len(body)
}

const ProblemType = "application/problem+json"

func problemBody(a flight.Answer, detail, request string) []byte {
	body, _ := json.Marshal(Problem{Type: "about:blank", Title: cmp.Or(http.StatusText(a.Status), "Error"), Status: a.Status,
		Detail: cmp.Or(detail, details[a.Reason], a.Reason), Reason: a.Reason, Server: a.Server, Request: request})
	return append(body, '\n')
}

// retryAfter is in whole seconds, never sooner than meant.
func retryAfter(a flight.Answer) int64 {
	return int64((a.RetryAfter + time.Second - 1) / time.Second)
}

// appendRedirect appends the answer that sends the client to the server. 307 keeps
// method and body.
func appendRedirect(dst []byte, location, lease, request string, closing bool) []byte {
	dst = appendStatus(dst, http.StatusTemporaryRedirect)
	dst = append(append(append(dst, "Location: "...), location...), "\r\nCache-Control: no-store\r\nContent-Length: 0\r\n"...)
	if lease != "" {
		dst = append(append(append(dst, routing.HeaderLease+": "...), lease...), "\r\n"...)
	}
	return appendEnd(dst, request, closing)
}

func appendStatus(dst []byte, status int) []byte {
	dst = strconv.AppendInt(append(dst, "HTTP/1.1 "...), int64(status), 10)
	return append(append(append(dst, ' '), http.StatusText(status)...), "\r\n"...)
}

func appendEnd(dst []byte, request string, closing bool) []byte {
	dst = append(append(append(dst, headerRequestID+": "...), request...), "\r\n"...)
	if closing {
		dst = append(dst, "Connection: close\r\n"...)
	}
	return append(dst, "\r\n"...)
}

// Refusal returns the reason for a refused connection.
func Refusal(err error) string {
	switch {
	case errors.Is(err, routing.ErrDenied):
		return reasonDenied
	case errors.Is(err, routing.ErrConnections):
		return reasonConnections
	}
	return ReasonPreface
}
