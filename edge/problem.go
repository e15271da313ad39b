package edge

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/flight"
)

// problem is the edge's own answer to a client, as RFC 9457 has it, with a reason for
// programs and the request's id for whoever reads the logs. It names nothing of the
// inside but a server's id.
type problem struct {
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
	reasonNoRoute     = "no-route"
	reasonHeadTooBig  = "head-too-large"
	reasonBodyTooBig  = "body-too-large"
	reasonBodySlow    = "body-timeout"
	reasonTarget      = "bad-target"
	reasonUpgrade     = "bad-upgrade"
	reasonUnsupported = "method-not-supported"
)

var details = map[string]string{
	reasonNoRoute:                "no route matches the request's host and path",
	reasonHeadTooBig:             "the request line and headers are larger or more than is taken here",
	reasonBodyTooBig:             "the request's body is larger than is taken here",
	reasonBodySlow:               "the rest of the request's body did not come in time",
	reasonTarget:                 "the request's target is not a path or a URL",
	reasonUpgrade:                "the name of the protocol to upgrade to is not printable",
	reasonUnsupported:            "this is no forward proxy: CONNECT is not served",
	flight.ReasonUnreachable:     "the server could not be reached",
	flight.ReasonBroken:          "the server broke the connection off",
	flight.ReasonTimeout:         "the server did not answer in time",
	flight.ReasonEdge:            "the edge cannot open another connection just now",
	flight.ReasonNoMaster:        "nobody can tell just now which server to take",
	balance.NoServer.String():    "no server is ready for the request",
	balance.Saturated.String():   "every server has all the work it can take",
	balance.Shed.String():        "the request waited for a server for too long and was given up",
	balance.UnknownPool.String(): "the master does not know the servers that this is routed to",
	balance.Declined.String():    "every server declined the request",
	balance.Malformed.String():   "the master could make no sense of the request",
}

// page is a problem as it goes to the client.
type page struct {
	status     int
	retryAfter string // empty: not told
	body       []byte
}

func newPage(a flight.Answer, request string) page {
	body, _ := json.Marshal(problem{Type: "about:blank", Title: cmp.Or(http.StatusText(a.Status), "Error"), Status: a.Status,
		Detail: cmp.Or(details[a.Reason], a.Reason), Reason: a.Reason, Server: a.Server, Request: request})
	p := page{status: a.Status, body: append(body, '\n')}
	if a.RetryAfter > 0 {
		p.retryAfter = strconv.FormatInt(int64((a.RetryAfter+time.Second-1)/time.Second), 10)
	}
	return p
}

func (p page) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", strconv.Itoa(len(p.body)))
	h.Set("Cache-Control", "no-store")
	if p.retryAfter != "" {
		h.Set("Retry-After", p.retryAfter)
	}
	w.WriteHeader(p.status)
	_, _ = w.Write(p.body) // a client that has left needs no answer
}
