package master

import (
	"cmp"
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// problem is an RFC 9457 problem document. Reason is our extension: a word for
// programs, which Type spells out for people in the served openapi.yaml.
type problem struct {
	Type       string        `json:"type"`
	Title      string        `json:"title"`
	Status     int           `json:"status"`
	Detail     string        `json:"detail,omitempty"`
	Reason     string        `json:"reason"`
	Leader     string        `json:"leader,omitempty"` // of not-leader: where edges and agents reach the one that leads
	retryAfter time.Duration // zero: unknown
}

// Reasons of problems that are no refusals.
const (
	badRequest  = "bad-request"
	noSuchPath  = "no-such-path"
	wrongMethod = "wrong-method"
	noSuchPool  = "unknown-pool"
	noSuchHost  = "unknown-server"
	noSuchLease = "unknown-lease"
	tooLarge    = "too-large"
	crossOrigin = "cross-origin"
	notReady    = "not-ready"
	gaveUp      = "gave-up"
)

var titles = map[string]string{
	badRequest:  "The request makes no sense",
	noSuchPath:  "There is nothing at this path",
	wrongMethod: "This path takes another method",
	noSuchPool:  "There is no such pool",
	noSuchHost:  "There is no such server in the pool",
	noSuchLease: "The lease is not open",
	tooLarge:    "The body is too large",
	crossOrigin: "Another site's page may not call this",
	notReady:    "The master is not running",
	gaveUp:      "The client went away",

	balance.NoServer.String():  "The pool has no server for this request",
	balance.Saturated.String(): "Every server is at its limit",
	balance.Shed.String():      "The request could not be served in time",
	balance.Declined.String():  "Every server refused the request",
	balance.NotLeader.String(): "Another master leads the pool",
	balance.Malformed.String(): "The request is impossible",
}

func newProblem(status int, reason, detail string) *problem {
	return &problem{Type: "/openapi.yaml#" + reason, Title: cmp.Or(titles[reason], http.StatusText(status)), Status: status, Detail: detail, Reason: reason}
}

// refused turns the error of a pick into a problem.
func refused(err error) *problem {
	r := refusal(err)
	if r == nil {
		return newProblem(http.StatusServiceUnavailable, gaveUp, err.Error())
	}
	status := http.StatusServiceUnavailable
	switch r.Reason {
	case balance.UnknownPool:
		status = http.StatusNotFound
	case balance.Malformed:
		status = http.StatusBadRequest
	}
	p := newProblem(status, r.Reason.String(), r.Detail)
	p.retryAfter, p.Leader = r.RetryAfter, r.Leader
	return p
}

func (p *problem) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.retryAfter.Seconds()))))
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client may be gone
}
