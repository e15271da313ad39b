package exchange

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/flight"
)

// The edge's own answers to gRPC clients: a response of a head alone, whose HTTP status is 200
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, "Trailers-Only").

const (
	grpcType = "application/grpc"

	fieldGRPCStatus   = "Grpc-Status"
	fieldGRPCMessage  = "Grpc-Message"
	fieldGRPCPushback = "Grpc-Retry-Pushback-Ms" // gRFC A6
)

// isGRPC reports whether a message of this type is gRPC's: application/grpc, perhaps with +proto or
// such behind it. gRPC-Web is none.
func isGRPC(contentType string) bool {
	if len(contentType) < len(grpcType) || !strings.EqualFold(contentType[:len(grpcType)], grpcType) {
		return false
	}
	rest := contentType[len(grpcType):]
	return rest == "" || rest[0] == '+' || rest[0] == ';' || rest[0] == ' '
}

// MayBeGRPC reports whether a head of HTTP/2 is that of a gRPC request, which could not be read whole.
func MayBeGRPC(head []byte) bool {
	const line = "\r\ncontent-type: "
	i := bytes.Index(head, []byte(line))
	if i < 0 {
		return false
	}
	value, _, _ := bytes.Cut(head[i+len(line):], []byte("\r\n"))
	return isGRPC(routing.UnsafeString(value))
}

// Codes of gRPC (https://grpc.io/docs/guides/status-codes).
const (
	grpcUnknown           = 2
	grpcInvalidArgument   = 3
	grpcDeadlineExceeded  = 4
	grpcResourceExhausted = 8
	grpcUnimplemented     = 12
	grpcUnavailable       = 14
	grpcUnauthenticated   = 16 // the last that is defined

	grpcNone = -1 // none was sent
)

// GRPCCode returns the gRPC status that corresponds to an answer.
func GRPCCode(a flight.Answer) int {
	switch a.Reason {
	case balance.Shed.String(), balance.Saturated.String(), reasonBodyTooBig, reasonHeadTooBig, ReasonManyOpen, ReasonTooFast:
		return grpcResourceExhausted
	}
	switch a.Status {
	case http.StatusBadRequest:
		return grpcInvalidArgument
	case http.StatusNotFound, http.StatusNotImplemented:
		return grpcUnimplemented
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return grpcDeadlineExceeded
	}
	return grpcUnavailable
}

// grpcFields calls tell for each field of the answer to a gRPC client, beside the request's id. detail is
// empty if the reason is enough.
func grpcFields(a flight.Answer, detail string, tell func(name, value string)) {
	tell("Content-Type", grpcType)
	tell(fieldGRPCStatus, strconv.Itoa(GRPCCode(a)))
	message := fmt.Sprintf("%s (%s)", cmp.Or(detail, details[a.Reason], a.Reason), a.Reason)
	if a.Server != "" {
		message = fmt.Sprintf("%s (%s, server %s)", cmp.Or(detail, details[a.Reason], a.Reason), a.Reason, a.Server)
	}
	tell(fieldGRPCMessage, percentEncode(message))
	if a.RetryAfter > 0 {
		tell(fieldGRPCPushback, strconv.FormatInt(int64((a.RetryAfter+time.Millisecond-1)/time.Millisecond), 10))
	}
}

// AppendGRPCAnswer appends the answer to a gRPC client, as HTTP/1.1 has it.
func AppendGRPCAnswer(dst []byte, a flight.Answer, detail, request string) []byte {
	add := HeaderLines{appendStatus(dst, http.StatusOK)}
	grpcFields(a, detail, add.add)
	return appendEnd(add.Text, request, false)
}

// percentEncode encodes a grpc-message: what is not printable ASCII, and the percent sign.
func percentEncode(s string) string {
	plain := func(c byte) bool { return ' ' <= c && c <= '~' && c != '%' }
	i := 0
	for i < len(s) && plain(s[i]) {
		i++
	}
	if i == len(s) {
		return s
	}
	out := []byte(s[:i])
	for ; i < len(s); i++ {
		if plain(s[i]) {
			out = append(out, s[i])
		} else {
			out = fmt.Appendf(out, "%%%02X", s[i])
		}
	}
	return string(out)
}
