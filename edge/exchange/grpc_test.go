package exchange

import (
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/flight"
)

func TestIsGRPC(t *testing.T) {
	for contentType, want := range map[string]bool{
		"application/grpc": true, "application/grpc+proto": true, "Application/GRPC;charset=utf-8": true, "application/grpc ; a=b": true,
		"": false, "application/grp": false, "application/grpc-web": false, "application/grpc-web+proto": false, "application/grpcx": false, "text/plain": false,
	} {
		if got := isGRPC(contentType); got != want {
			t.Errorf("%q: got %t", contentType, got)
		}
		head := "POST / HTTP/1.1\r\ncontent-type: " + contentType + "\r\nx: y\r\n\r\n"
		if got := MayBeGRPC([]byte(head)); got != want {
			t.Errorf("%q in a head: got %t", contentType, got)
		}
	}
}

func TestPercentEncode(t *testing.T) {
	for plain, want := range map[string]string{"": "", "a b~": "a b~", "50 %": "50 %25", "ü\n": "%C3%BC%0A", "\x7f": "%7F", "a%41": "a%2541"} {
		if got := percentEncode(plain); got != want {
			t.Errorf("%q: got %q, want %q", plain, got, want)
		}
	}
}

// Every reason that others are told by HTTP has a gRPC status.
func TestGRPCCodes(t *testing.T) {
	for _, c := range []struct {
		answer flight.Answer
		want   int
	}{
		{flight.Answer{Status: 404, Reason: ReasonNoRoute}, 12},
		{flight.Answer{Status: 501, Reason: reasonUnsupported}, 12},
		{flight.Answer{Status: 429, Reason: balance.Shed.String()}, 8},
		{flight.Answer{Status: 503, Reason: balance.Saturated.String()}, 8},
		{flight.Answer{Status: 429, Reason: ReasonManyOpen}, 8},
		{flight.Answer{Status: 429, Reason: ReasonTooFast}, 8},
		{flight.Answer{Status: 413, Reason: reasonBodyTooBig}, 8},
		{flight.Answer{Status: 431, Reason: reasonHeadTooBig}, 8},
		{flight.Answer{Status: 503, Reason: balance.NoServer.String()}, 14},
		{flight.Answer{Status: 503, Reason: flight.ReasonNoMaster}, 14},
		{flight.Answer{Status: 503, Reason: flight.ReasonNotTaken}, 14},
		{flight.Answer{Status: 502, Reason: flight.ReasonUnreachable}, 14},
		{flight.Answer{Status: 502, Reason: flight.ReasonBroken}, 14},
		{flight.Answer{Status: 504, Reason: flight.ReasonTimeout}, 4},
		{flight.Answer{Status: 408, Reason: reasonBodySlow}, 4},
		{flight.Answer{Status: 400, Reason: reasonTarget}, 3},
	} {
		if got := GRPCCode(c.answer); got != c.want {
			t.Errorf("%+v: got %d, want %d", c.answer, got, c.want)
		}
	}
}
