package flight

import (
	"strconv"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Reply is what a server's response says about the server: whether it did the work, failed, or has no room. The zero value is a response of
// status 0, which counts as a success, like the end of a tunnel. It keeps no string that it is given.
type Reply struct {
	status   int
	isGRPC   bool
	code     int           // gRPC status, if isGRPC
	wait     time.Duration // until the server has room again, if hasWait; negative: it does not say how long
	hasWait  bool
	pushback bool // grpc-retry-pushback-ms says when to come again
}

// Names, in lower case, of the fields that a Reply reads.
const (
	fieldRetryAfter = "retry-after"            // RFC 9110, 10.2.3
	fieldDate       = "date"                   // what a Retry-After that is a date is held against
	fieldGRPCStatus = "grpc-status"            // in the trailers, or in the head of a response without a body
	fieldPushback   = "grpc-retry-pushback-ms" // gRFC A6
)

// gRPC status codes that say something about the server. The others below 17 say that the request is wrong.
const (
	grpcOK                = 0
	grpcUnknown           = 2
	grpcResourceExhausted = 8
	grpcInternal          = 13
	grpcUnavailable       = 14
	grpcDataLoss          = 15
	grpcUnauthenticated   = 16 // the last that is defined
)

// Statuses of responses that say what Reply has to tell apart (RFC 9110, 15).
const (
	notImplemented      = 501
	versionNotSupported = 505
)

// Head takes the head of a response. value returns a field's first value by its name in
// lower case, or "". isGRPC says that the response is one to a gRPC request.
func (r *Reply) Head(status int, isGRPC bool, value func(lower string) string) {
	*r = Reply{status: status}
	if status == tooManyRequests || status == unavailable {
		r.wait, r.hasWait = retryAfter(value(fieldRetryAfter), value)
	}
	if isGRPC && status == 200 {
		r.isGRPC, r.code = true, grpcUnknown // until a grpc-status comes
		r.Trailers(value)
	}
}

// Trailers takes the trailers of a response to a gRPC request; of others it is not called,
// or changes nothing.
func (r *Reply) Trailers(value func(lower string) string) {
	if !r.isGRPC {
		return
	}
	told := value(fieldGRPCStatus)
	if told == "" {
		return
	}
	code, err := strconv.ParseUint(told, 10, 16)
	if r.code = int(code); err != nil {
		r.code = grpcUnknown
	}
	if told := value(fieldPushback); told != "" && r.code != grpcOK {
		// A negative number, or none, asks not to come again, and says nothing about room.
		ms, err := strconv.ParseUint(told, 10, 64)
		r.pushback = err == nil
		r.wait, r.hasWait = bounded(ms, time.Millisecond), r.pushback
	}
}

// GRPC returns the gRPC status of the response, and false if it is not gRPC's.
func (r *Reply) GRPC() (code int, ok bool) { return r.code, r.isGRPC }

// Outcome returns what the response says, without its Duration.
func (r *Reply) Outcome() balance.Outcome {
	o := balance.Outcome{Result: r.result(), Status: r.status}
	if r.isGRPC {
		o.GRPC = r.code
	}
	if o.Result == balance.Full && r.hasWait && r.wait >= 0 {
		o.RetryAfter = max(r.wait, time.Microsecond) // zero would stand for not told
	}
	return o
}

func (r *Reply) result() balance.Result {
	switch {
	case r.isGRPC:
		return r.grpcResult()
	case r.status == tooManyRequests, r.status == unavailable && r.hasWait:
		return balance.Full
	case r.status == notImplemented, r.status == versionNotSupported, 400 <= r.status && r.status < 500:
		return balance.ClientError
	case r.status >= 500:
		return balance.Fault
	}
	return balance.OK
}

func (r *Reply) grpcResult() balance.Result {
	switch r.code {
	case grpcOK:
		return balance.OK
	case grpcResourceExhausted:
		return balance.Full
	case grpcUnavailable:
		if r.pushback {
			return balance.Full
		}
		return balance.Fault
	case grpcUnknown, grpcInternal, grpcDataLoss:
		return balance.Fault
	}
	if r.code > grpcUnauthenticated {
		return balance.Fault // clients take a code that they do not know for UNKNOWN
	}
	return balance.ClientError
}

// retryAfter reads a Retry-After: seconds, or a date. A date is held against the
// response's own Date, so that no clock but the server's counts; without that, how long
// is not known, and wait is negative.
func retryAfter(told string, value func(lower string) string) (wait time.Duration, ok bool) {
	if seconds, err := strconv.ParseUint(told, 10, 64); err == nil {
		return bounded(seconds, time.Second), true
	}
	if strings.Trim(told, "0123456789") == "" {
		return longestWait, told != "" // more digits than a number has
	}
	until, ok := httpDate(told)
	if !ok {
		return 0, false
	}
	sent, ok := httpDate(value(fieldDate))
	if !ok {
		return -1, true
	}
	return min(max(0, until.Sub(sent)), longestWait), true
}

// longestWait is the longest wait that a Reply tells. It is there so that no absurd value
// overflows; how long a server is believed to be full is the pool's to bound.
const longestWait = time.Hour

func bounded(n uint64, unit time.Duration) time.Duration {
	return time.Duration(min(n, uint64(longestWait/unit))) * unit
}

// httpDate reads a date in one of the three forms of RFC 9110, 5.6.7.
func httpDate(s string) (time.Time, bool) {
	for _, form := range [...]string{"Mon, 02 Jan 2006 15:04:05 GMT", "Monday, 02-Jan-06 15:04:05 GMT", time.ANSIC} {
		if t, err := time.Parse(form, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
