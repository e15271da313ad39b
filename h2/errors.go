package h2

import "fmt"

// Code says why a stream or a connection ends (RFC 9113, 7).
type Code uint32

const (
	NoError          Code = 0x0
	ProtocolError    Code = 0x1
	InternalError    Code = 0x2
	FlowControlError Code = 0x3
	StreamClosed     Code = 0x5
	FrameSizeError   Code = 0x6
	RefusedStream    Code = 0x7
	Cancel           Code = 0x8
	CompressionError Code = 0x9
	EnhanceYourCalm  Code = 0xb
)

// Error is a protocol error of the peer. The caller decides whether it ends the stream or the connection; an error from Next ends the
// connection.
type Error struct {
	Code   Code
	Reason string
}

func (e *Error) Error() string { return fmt.Sprintf("http2: %s (code %d)", e.Reason, e.Code) }

func bad(c Code, reason string) *Error { return &Error{c, reason} }
