package master

import (
	"cmp"
	"net/http"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/problem"
)

// document is a problem document of the API. openapi.yaml explains its Type.
type document = problem.Document

// Reasons of problems other than refusals.
const (
	badRequest    = "bad-request"
	noSuchPool    = "no-such-pool"
	noSuchHost    = "unknown-server"
	noSuchLease   = "unknown-lease"
	foreignLease  = "foreign-lease"
	noSuchRequest = "unknown-request"
	tooLarge      = "too-large"
	notReady      = "not-ready"
	gaveUp        = "gave-up"
	noElection    = "no-election"
	noStore       = "no-store"
	noEnrolment   = "no-enrolment"
	noTokenStore  = "no-token-store"
	noSuchToken   = "unknown-token"
	notDrained    = "not-drained"
	notSet        = "not-set"
	commandFailed = "command-failed"

	tooManyViewers = "too-many-viewers"
)

var titles = map[string]string{
	badRequest:    "The request is malformed",
	noSuchPool:    "There is no such pool",
	noSuchHost:    "There is no such server in the pool",
	noSuchLease:   "The lease is not open",
	foreignLease:  "The lease belongs to another holder",
	noSuchRequest: "Nothing is known of the request",
	tooLarge:      "The body is too large",
	notReady:      "The master is not running",
	gaveUp:        "The client disconnected",
	noElection:    "There is no election",
	noStore:       "The election's store does not answer",
	noEnrolment:   "This master signs no certificates for such agents",
	noTokenStore:  "Tokens are kept in memory",
	noSuchToken:   "There is no such token",
	notDrained:    "The drain did not take effect",
	notSet:        "An operator has not set that",
	commandFailed: "The command did not take effect",

	tooManyViewers: "Too many viewers see the stream",

	balance.NoServer.String():  "The pool has no server for this request",
	balance.Saturated.String(): "Every server is at its limit",
	balance.Shed.String():      "The request could not be served in time",
	balance.Declined.String():  "Every server refused the request",
	balance.NotLeader.String(): "Another master leads the pool",
	balance.Malformed.String(): "The request is invalid",

	balance.Overflowed.String(): "The request goes on to another pool",
}

func newProblem(status int, reason, detail string) *document {
	return &document{Type: "/openapi.yaml#" + reason, Title: cmp.Or(titles[reason], http.StatusText(status)), Status: status, Detail: detail, Reason: reason}
}

// refused turns the error of a pick into a problem.
func refused(err error) *document {
	r := refusal(err)
	if r == nil {
		return newProblem(http.StatusServiceUnavailable, gaveUp, err.Error())
	}
	p := newProblem(r.Reason.HTTPStatus(), r.Reason.String(), r.Detail)
	p.RetryAfter, p.Leader = r.RetryAfter, r.Leader
	return p
}
