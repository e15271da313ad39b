package balance

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Result is how a lease ended, as far as it says something about the server.
type Result uint8

const (
	OK          Result = iota // the server did what was asked
	Fault                     // the server answered with an error of its own: HTTP 5xx, gRPC UNKNOWN, INTERNAL, UNAVAILABLE, DATA_LOSS
	Unreachable               // the edge could make no connection to the server
	Refused                   // the server refused the dispatch
	Canceled                  // the client went away; says nothing about the server
	Expired                   // no done came in time; says nothing about the server
	Broken                    // the server reset the connection, answered nothing in time, or nothing that can be read
	ClientError               // the server says that the request is wrong: HTTP 4xx, and the gRPC codes of that kind
	Full                      // the server has no room until Outcome.RetryAfter is over: HTTP 429, 503 with Retry-After, gRPC RESOURCE_EXHAUSTED, UNAVAILABLE with a pushback
)

// Results is how many kinds of Result there are: every valid one is smaller.
const Results = Full + 1

var resultNames = [Results]string{OK: "ok", Fault: "fault", Unreachable: "unreachable", Refused: "refused", Canceled: "canceled", Expired: "expired",
	Broken: "broken", ClientError: "client-error", Full: "full"}

// String returns the word by which the result goes through the API, metrics and logs.
func (r Result) String() string {
	if r < Results {
		return resultNames[r]
	}
	return fmt.Sprintf("result-%d", uint8(r))
}

// ParseResult reads what Result.String wrote.
func ParseResult(s string) (Result, error) {
	if i := slices.Index(resultNames[:], s); i >= 0 {
		return Result(i), nil
	}
	return 0, fmt.Errorf("result %q: want one of %s", s, strings.Join(resultNames[:], ", "))
}

// Outcome is what an edge says of a lease that is over. Only Result and Duration decide,
// and of Full also RetryAfter; the rest is for people.
type Outcome struct {
	Result     Result
	Duration   time.Duration // from the request's first byte to the server until the response's last; zero: not measured
	RetryAfter time.Duration // of Full: how long the server says that it has no room; zero: it does not say
	Status     int           // HTTP status of the response; zero: none came
	GRPC       int           // gRPC status of the response; zero: OK, or the response was not gRPC's
	Error      string        // of Unreachable and Broken: what happened; may lie in the caller's buffer
	FirstByte  time.Duration // from the request's first byte to the server until the response's first; zero: not measured
	Bytes      int64         // of the response's body
	Size       float64       // the request's size as it turned out, in the unit of Request.Size; zero: not told
}

// OutcomeBody is an Outcome in JSON, as the master's and the agent's API take it.
type OutcomeBody struct {
	Result       string  `json:"result"` // empty: ok
	DurationMS   float64 `json:"duration_ms"`
	RetryAfterMS float64 `json:"retry_after_ms"`
	Status       int     `json:"status"`
	GRPC         int     `json:"grpc_status"`
	Error        string  `json:"error"`
	FirstByteMS  float64 `json:"first_byte_ms"`
	Bytes        int64   `json:"bytes"`
	Size         float64 `json:"size"`
}

// MaxStatus is the largest HTTP or gRPC status of an Outcome.
const MaxStatus = 1<<16 - 1

// Outcome returns what the body says, or what is wrong with it.
func (b *OutcomeBody) Outcome() (o Outcome, err error) {
	if b.Result != "" {
		if o.Result, err = ParseResult(b.Result); err != nil {
			return o, err
		}
	}
	const most = 30 * 24 * time.Hour
	for _, f := range []struct {
		name string
		ms   float64
		to   *time.Duration
	}{{"duration_ms", b.DurationMS, &o.Duration}, {"retry_after_ms", b.RetryAfterMS, &o.RetryAfter}, {"first_byte_ms", b.FirstByteMS, &o.FirstByte}} {
		if !(f.ms >= 0 && f.ms <= float64(most.Milliseconds())) {
			return o, fmt.Errorf("%s: %v, want 0 to %d", f.name, f.ms, most.Milliseconds())
		}
		*f.to = time.Duration(f.ms * float64(time.Millisecond))
	}
	for _, f := range []struct {
		name  string
		value int
	}{{"status", b.Status}, {"grpc_status", b.GRPC}} {
		if f.value < 0 || f.value > MaxStatus {
			return o, fmt.Errorf("%s: %d, want 0 (none) to %d", f.name, f.value, MaxStatus)
		}
	}
	if b.Bytes < 0 {
		return o, fmt.Errorf("bytes: %d is negative", b.Bytes)
	}
	if !(b.Size >= 0 && b.Size <= MaxSize) {
		return o, fmt.Errorf("size: %v, want 0 (not told) to %g", b.Size, float64(MaxSize))
	}
	o.Status, o.GRPC, o.Error, o.Bytes, o.Size = b.Status, b.GRPC, b.Error, b.Bytes, b.Size
	return o, nil
}

// Cause returns in a few words why the outcome is not OK.
func (o *Outcome) Cause() string {
	switch {
	case o.Error != "":
		return o.Error
	case o.GRPC != 0:
		return fmt.Sprintf("gRPC status %d", o.GRPC)
	case o.Status != 0:
		return fmt.Sprintf("HTTP status %d", o.Status)
	}
	return o.Result.String()
}
