package exchange

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/http1"
)

// Requests that are kept while their clients are away (RFC 7240, respond-async), and what their clients are told. See
// docs/decisions/0101-a-kept-request-is-an-exchange-without-a-client.md.

// Reasons of answers about kept requests.
const (
	ReasonKeptFull   = "kept-full"
	ReasonKeptClient = "too-many-kept"
	ReasonKeptNone   = "kept-unknown"
	ReasonKeptLost   = "kept-lost"
	ReasonKeptOther  = "other-edge"
	ReasonKeptEarly  = "not-ready"
	ReasonKeptMethod = "kept-method"
	ReasonStopping   = "edge-stopping"
	ReasonLongAnswer = "answer-too-large"
	ReasonNoSpace    = "answer-not-kept"
	ReasonCanceled   = "canceled"
)

// WantsAsync reports whether the client is to be answered at once, and the request kept. Methods whose answer has no body,
// or that are about the way to the server, are not.
func (w *ForwardState) WantsAsync() bool {
	x := &w.Exchange
	if !x.Route.RespondAsync || x.Head.Kept || x.Head.Upgrade || x.GRPC || x.Head.Method == http.MethodHead || x.Head.Method == http.MethodOptions {
		return false
	}
	return prefersAsync(w.ReqHeaders.All("prefer"))
}

// keptDrops are written anew in the head of a kept request.
var keptDrops = http1.NewNames("prefer", headerRequestID)

// AppendKeptHead appends the head of the request with which it goes on without its client. The servers do not see
// respond-async, which has been answered.
func (w *ForwardState) AppendKeptHead(dst []byte) []byte {
	w.Req.Continued = true
	var a HeaderLines
	if rest := otherPreferences(w.ReqHeaders.All("prefer")); rest != "" {
		a.add("Prefer", rest)
	}
	x := &w.Exchange
	a.add(headerRequestID, x.ID)
	if x.traced { // the kept request continues the trace of this one, which has no lease
		a.Text = x.appendTraceParent(a.Text)
	}
	return w.Req.Append(dst, w.Buf, &http1.Rewrite{Drop: keptTraceDrops[x.traceDrops()], Add: a.Text})
}

// KeptDocument is what a client is told of its kept request. Times are in seconds.
type KeptDocument struct {
	State         string  `json:"state"`
	Request       string  `json:"request"`
	Position      int     `json:"position,omitempty"`
	ExpectedStart float64 `json:"expected_start_s,omitempty"`
	Waited        float64 `json:"waited_s"`
	Ran           float64 `json:"ran_s,omitempty"`
	Status        int     `json:"status,omitempty"`
	Reason        string  `json:"reason,omitempty"`
	Detail        string  `json:"detail,omitempty"`
	ExpiresIn     float64 `json:"expires_in_s,omitempty"`
	Monitor       string  `json:"monitor"`
	Result        string  `json:"result,omitempty"`
}

// BodyTooLarge is the answer to a request whose body is longer than is taken.
var BodyTooLarge = flight.Answer{Status: http.StatusRequestEntityTooLarge, Reason: reasonBodyTooBig}

// KeptDetail explains why a kept request has no answer.
func KeptDetail(reason string) string { return details[reason] }

// KeptAnswer is a response about a kept request: a document and where to go next.
type KeptAnswer struct {
	Status   int
	Location string // empty: none
	Applied  bool   // the preference was applied
	Document *KeptDocument
	Closing  bool // no other response follows
}

// AppendKept appends the response to a request for kept requests, or to the one that is kept.
func (x *Exchange) AppendKept(dst []byte, a *KeptAnswer) []byte {
	var body []byte
	if a.Document != nil {
		body, _ = json.Marshal(a.Document) // texts and numbers
		body = append(body, '\n')
	}
	dst = append(appendStatus(dst, a.Status), "Cache-Control: no-store\r\n"...)
	if a.Location != "" {
		dst = append(append(append(dst, "Location: "...), a.Location...), "\r\n"...)
	}
	if a.Applied {
		dst = append(dst, "Preference-Applied: "+preferAsync+"\r\n"...)
	}
	if d := a.Document; d != nil {
		dst = append(dst, "Content-Type: application/json\r\n"...)
		if d.Result == "" && d.Reason == "" {
			dst = append(dst, "Retry-After: 1\r\n"...)
		}
	}
	if a.Status != http.StatusNoContent {
		dst = append(strconv.AppendInt(append(dst, "Content-Length: "...), int64(len(body)), 10), "\r\n"...)
	}
	dst = appendEnd(dst, x.ID, a.Closing)
	x.Status, x.Bytes = a.Status, int64(len(body))
	if x.Head.Method == http.MethodHead {
		x.Bytes = 0
		return dst
	}
	return append(dst, body...)
}

// AppendKeptHeadOf appends the head of a kept answer, whose body has so many bytes. resp was parsed from buf.
func (x *Exchange) AppendKeptHeadOf(dst []byte, resp *http1.ResponseHead, buf []byte, bodySize int64, closing bool) []byte {
	a := HeaderLines{}
	a.add("Cache-Control", "no-store")
	if resp.Framing == http1.ByClose {
		a.startLine("Content-Length")
		a.Text = strconv.AppendInt(a.Text, bodySize, 10)
		a.endLine()
	}
	x.Status, x.Bytes = resp.Status, bodySize
	return resp.Append(dst, buf, &http1.Rewrite{Drop: keptAnswerDrops, Add: a.Text, Close: closing})
}

// keptAnswerDrops are written anew in the head of a kept answer.
var keptAnswerDrops = http1.NewNames("cache-control", "expires", "pragma")

// NoteLost records why the answer to a kept request is lost, for the log.
func (x *Exchange) NoteLost(reason string) {
	if x.reason == "" {
		x.reason = reason
	}
}
