package flight

import (
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

type fields map[string]string

func (f fields) value(lower string) string { return f[lower] }

func TestReplyHTTP(t *testing.T) {
	const sent = "Sun, 06 Nov 1994 08:49:37 GMT"
	for _, c := range []struct {
		status int
		head   fields
		want   balance.Result
		wait   time.Duration
	}{
		{200, nil, balance.OK, 0},
		{200, fields{"retry-after": "5"}, balance.OK, 0},
		{200, fields{"grpc-status": "13"}, balance.OK, 0}, // a stray field of a response that is not gRPC's
		{304, nil, balance.OK, 0},
		{400, nil, balance.ClientError, 0},
		{404, fields{"retry-after": "5"}, balance.ClientError, 0},
		{499, nil, balance.ClientError, 0},
		{500, fields{"retry-after": "5"}, balance.Fault, 0},
		{501, nil, balance.ClientError, 0},
		{502, nil, balance.Fault, 0},
		{505, nil, balance.ClientError, 0},
		{599, nil, balance.Fault, 0},

		{429, nil, balance.Full, 0},
		{429, fields{"retry-after": "5"}, balance.Full, 5 * time.Second},
		{429, fields{"retry-after": "soon"}, balance.Full, 0},
		{429, fields{"retry-after": "-5"}, balance.Full, 0},
		{429, fields{"retry-after": "-9223372036854775809"}, balance.Full, 0},
		{429, fields{"retry-after": "+5"}, balance.Full, 0},
		{429, fields{"retry-after": "1e3"}, balance.Full, 0},
		{429, fields{"retry-after": "0x10"}, balance.Full, 0},
		{429, fields{"retry-after": "1.5"}, balance.Full, 0},
		{429, fields{"retry-after": "5 s"}, balance.Full, 0},
		{429, fields{"retry-after": "5, 10"}, balance.Full, 0},
		{429, fields{"retry-after": "NaN"}, balance.Full, 0},
		{429, fields{"retry-after": "Sun, 06 Nov 1994 08:00:00 GMT", "date": sent}, balance.Full, time.Microsecond},
		{429, fields{"retry-after": "Sun, 06 Nov 1994 08:49:47 CET", "date": sent}, balance.Full, 0}, // only GMT is a date of HTTP's
		{429, fields{"retry-after": "Sun, 06 Nov 2004 08:49:37 GMT", "date": sent}, balance.Full, time.Hour},
		{503, nil, balance.Fault, 0},
		{503, fields{"retry-after": "1e3"}, balance.Fault, 0},
		{503, fields{"retry-after": ""}, balance.Fault, 0},
		{503, fields{"retry-after": "soon"}, balance.Fault, 0},
		{503, fields{"retry-after": "-5"}, balance.Fault, 0},
		{503, fields{"retry-after": "1.5"}, balance.Fault, 0},
		{503, fields{"retry-after": "0"}, balance.Full, time.Microsecond},
		{503, fields{"retry-after": "3"}, balance.Full, 3 * time.Second},
		{503, fields{"retry-after": "4000000"}, balance.Full, time.Hour},
		{503, fields{"retry-after": "18446744073709551615"}, balance.Full, time.Hour},
		{503, fields{"retry-after": "99999999999999999999999999"}, balance.Full, time.Hour},
		{503, fields{"retry-after": "Sun, 06 Nov 1994 08:49:47 GMT", "date": sent}, balance.Full, 10 * time.Second},
		{503, fields{"retry-after": "Sunday, 06-Nov-94 08:49:47 GMT", "date": sent}, balance.Full, 10 * time.Second},
		{503, fields{"retry-after": "Sun Nov  6 08:49:47 1994", "date": sent}, balance.Full, 10 * time.Second},
		{503, fields{"retry-after": "Sun, 06 Nov 1994 08:00:00 GMT", "date": sent}, balance.Full, time.Microsecond},
		{503, fields{"retry-after": "Sun, 06 Nov 2094 08:00:00 GMT", "date": sent}, balance.Full, time.Hour},
		{503, fields{"retry-after": sent}, balance.Full, 0}, // without a Date it says not how long
		{503, fields{"retry-after": sent, "date": "today"}, balance.Full, 0},
	} {
		var r Reply
		r.Head(c.status, false, c.head.value)
		r.Trailers(fields{"grpc-status": "14"}.value) // as of any response that is not gRPC's
		o := r.Outcome()
		if want := (balance.Outcome{Result: c.want, RetryAfter: o.RetryAfter, Status: c.status}); o != want || o.RetryAfter/time.Second != c.wait/time.Second || (o.RetryAfter == 0) != (c.wait == 0) {
			t.Errorf("%d %v: %+v, want %v after %v", c.status, c.head, o, c.want, c.wait)
		}
	}
}

func TestReplyGRPC(t *testing.T) {
	for _, c := range []struct {
		status         int
		head, trailers fields
		want           balance.Result
		code           int
		wait           time.Duration
	}{
		{200, nil, fields{"grpc-status": "0"}, balance.OK, 0, 0},
		{200, nil, fields{"grpc-status": "0", "grpc-retry-pushback-ms": "5"}, balance.OK, 0, 0},
		{200, fields{"grpc-status": "5"}, nil, balance.ClientError, 5, 0},
		{200, nil, fields{"grpc-status": "1"}, balance.ClientError, 1, 0},
		{200, nil, fields{"grpc-status": "2"}, balance.Fault, 2, 0},
		{200, nil, fields{"grpc-status": "4"}, balance.ClientError, 4, 0},
		{200, nil, fields{"grpc-status": "7"}, balance.ClientError, 7, 0},
		{200, nil, fields{"grpc-status": "8"}, balance.Full, 8, 0},
		{200, nil, fields{"grpc-status": "8", "grpc-retry-pushback-ms": "1500"}, balance.Full, 8, 1500 * time.Millisecond},
		{200, nil, fields{"grpc-status": "8", "grpc-retry-pushback-ms": "-1"}, balance.Full, 8, 0},
		{200, fields{"grpc-status": "8"}, nil, balance.Full, 8, 0},
		{200, nil, fields{"grpc-status": "12"}, balance.ClientError, 12, 0},
		{200, nil, fields{"grpc-status": "13"}, balance.Fault, 13, 0},
		{200, nil, fields{"grpc-status": "14"}, balance.Fault, 14, 0},
		{200, nil, fields{"grpc-status": "14", "grpc-retry-pushback-ms": "0"}, balance.Full, 14, time.Microsecond},
		{200, nil, fields{"grpc-status": "14", "grpc-retry-pushback-ms": "250"}, balance.Full, 14, 250 * time.Millisecond},
		{200, nil, fields{"grpc-status": "14", "grpc-retry-pushback-ms": "99999999999999"}, balance.Full, 14, time.Hour},
		{200, nil, fields{"grpc-status": "14", "grpc-retry-pushback-ms": "-1"}, balance.Fault, 14, 0},
		{200, nil, fields{"grpc-status": "14", "grpc-retry-pushback-ms": "soon"}, balance.Fault, 14, 0},
		{200, nil, fields{"grpc-status": "15"}, balance.Fault, 15, 0},
		{200, nil, fields{"grpc-status": "16"}, balance.ClientError, 16, 0},
		{200, nil, fields{"grpc-status": "77"}, balance.Fault, 77, 0},
		{200, nil, fields{"grpc-status": "unwell"}, balance.Fault, 2, 0},
		{200, nil, nil, balance.Fault, 2, 0}, // none came
		{200, fields{"grpc-status": "0"}, fields{"grpc-status": "13"}, balance.Fault, 13, 0},
		{404, fields{"grpc-status": "13"}, nil, balance.ClientError, 0, 0}, // a proxy's, not gRPC's
		{429, nil, nil, balance.Full, 0, 0},
	} {
		var r Reply
		r.Head(c.status, true, c.head.value)
		r.Trailers(c.trailers.value)
		o := r.Outcome()
		if want := (balance.Outcome{Result: c.want, RetryAfter: c.wait, Status: c.status, GRPC: c.code}); o != want {
			t.Errorf("%d %v %v: %+v, want %+v", c.status, c.head, c.trailers, o, want)
		}
		if code, ok := r.GRPC(); ok != (c.status == 200) || code != c.code {
			t.Errorf("%d %v %v: gRPC status %d, %v, want %d", c.status, c.head, c.trailers, code, ok, c.code)
		}
	}
}

// A reply that is reused remembers nothing of the one before.
func TestReplyIsTakenAnew(t *testing.T) {
	var r Reply
	r.Head(503, false, fields{"retry-after": "5"}.value)
	r.Head(200, false, fields{}.value)
	if o := r.Outcome(); o != (balance.Outcome{Status: 200}) {
		t.Errorf("got %+v, want only the status", o)
	}
}
