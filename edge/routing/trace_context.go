package routing

import (
	"fmt"

	"github.com/evenkeel-lb/evenkeel/edge/tenants"
)

// Trace is how an edge takes part in distributed tracing (W3C Trace Context). The zero value leaves the fields of clients
// as they are.
type Trace struct {
	From   tenants.From // whose traceparent is continued; others' requests begin a trace. Default: the edge takes no part
	Sample float64      // share of the traces that begin here which are marked as sampled; zero: all; negative: none
}

// Takes reports whether the edge takes part.
func (t *Trace) Takes() bool { return t.From != tenants.Default }

// Validate calls bad once for every field that cannot be worked with.
func (t *Trace) Validate(bad func(field, problem string)) {
	if t.Sample > 1 || t.Sample != t.Sample {
		bad("sample", fmt.Sprintf("%v, want a share from 0 to 1", t.Sample))
	}
}

// TraceParent is what a traceparent field says, in hexadecimal digits.
type TraceParent struct {
	Trace [32]byte
	Span  [16]byte // of the sender; all zero bytes: there is none
	Flags byte
}

// The flags of a trace that we know; others are not passed on.
const (
	TraceSampled = 1 << iota // the sender may have recorded the trace
	TraceRandom              // the trace's id is random
	traceFlags   = TraceSampled | TraceRandom
)

const (
	traceAt, spanAt, flagsAt = 3, 36, 53
	traceParentLength        = 55
)

// ParseTraceParent reads a traceparent field of this version or a later one (W3C Trace Context, 3.2); false: it is
// malformed, and the trace has to begin anew.
func ParseTraceParent(value string) (p TraceParent, ok bool) {
	if len(value) < traceParentLength || value[traceAt-1] != '-' || value[spanAt-1] != '-' || value[flagsAt-1] != '-' {
		return p, false
	}
	version, flags := value[:2], value[flagsAt:traceParentLength]
	if !isHex(version) || version == "ff" || !isHex(flags) || len(value) > traceParentLength && (version == "00" || value[traceParentLength] != '-') {
		return p, false
	}
	trace, span := value[traceAt:spanAt-1], value[spanAt:flagsAt-1]
	if !isHex(trace) || !isHex(span) || isZeros(trace) || isZeros(span) {
		return p, false
	}
	copy(p.Trace[:], trace)
	copy(p.Span[:], span)
	p.Flags = (hexDigit(flags[0])<<4 | hexDigit(flags[1])) & traceFlags
	return p, true
}

// AppendTraceParent appends a traceparent field's value: the trace of p, and span as its sender.
func (p *TraceParent) AppendTraceParent(dst []byte, span *[16]byte) []byte {
	dst = append(append(dst, "00-"...), p.Trace[:]...)
	dst = append(append(append(dst, '-'), span[:]...), '-')
	return append(dst, p.FlagsText()...)
}

// FlagsText returns the flags in two hexadecimal digits.
func (p *TraceParent) FlagsText() string { return flagTexts[p.Flags&traceFlags] }

var flagTexts = [...]string{"00", "01", "02", "03"}

// isHex reports whether s has hexadecimal digits only. Capital ones are none (W3C Trace Context, 3.2.2).
func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; c-'0' > 9 && c-'a' > 5 {
			return false
		}
	}
	return true
}

func isZeros(s string) bool {
	for i := range len(s) {
		if s[i] != '0' {
			return false
		}
	}
	return true
}

// hexDigit returns the value of a digit that isHex accepts.
func hexDigit(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	return c - '0'
}
