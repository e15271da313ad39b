package exchange

import (
	"log/slog"
	"math/rand/v2"

	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/edge/tenants"
	"github.com/evenkeel-lb/evenkeel/http1"
)

// Distributed tracing by W3C Trace Context. See docs/decisions/0110-the-span-id-is-the-lease.md.

const (
	fieldTraceParent = "traceparent"
	fieldTraceState  = "tracestate"
)

// tracing is the request's place in a distributed trace. The zero value: the edge takes no part.
type tracing struct {
	traced bool
	begun  bool                // the trace begins here: what the client said of one does not count
	parent routing.TraceParent // of the trace; without a span if it begins here
	span   [16]byte            // that the next hop is told as its parent, in hexadecimal digits; zero: none yet
}

// readTrace continues the request's trace, or begins one.
func (x *Exchange) readTrace() {
	how, h := &x.deps.Trace, &x.Head
	if !how.Takes() {
		return
	}
	x.traced, x.begun = true, true
	if h.Kept || how.From == tenants.Any || x.listener.Trusts(h.Peer) { // the edge itself has written the field of a kept one
		if all := h.All(fieldTraceParent); len(all) == 1 { // which of several counts is not defined
			var ok bool
			if x.parent, ok = routing.ParseTraceParent(all[0]); ok {
				x.begun = false
				return
			}
		}
	}
	x.parent.Flags = routing.TraceRandom
	if how.Sample == 0 || how.Sample >= 1 || rand.Float64() < how.Sample {
		x.parent.Flags |= routing.TraceSampled
	}
	if x.madeID { // one id is enough: evenkeel explain takes it
		copy(x.parent.Trace[:], x.ID)
		return
	}
	appendHex(appendHex(x.parent.Trace[:0], rand.Uint64()), rand.Uint64())
}

// traceDrops returns which fields of the client's trace servers are not sent as they are.
func (x *Exchange) traceDrops() routing.TraceDrops {
	switch {
	case !x.traced:
		return routing.DropNoTrace
	case x.begun:
		return routing.DropTrace
	}
	return routing.DropTraceParent
}

// appendTraceParent appends the field for the next hop. Its span has the id of the grant's lease, by which evenkeel explain
// finds the decision.
func (x *Exchange) appendTraceParent(dst []byte) []byte {
	id := uint64(x.Grant.Lease)
	if id == 0 { // no master has granted it
		id = rand.Uint64() | 1 // zero is no id
	}
	appendHex(x.span[:0], id)
	dst = append(dst, fieldTraceParent+": "...)
	return append(x.parent.AppendTraceParent(dst, &x.span), "\r\n"...)
}

// keptTraceDrops are keptDrops and what of the client's trace is not kept.
var keptTraceDrops = [...]*http1.Names{
	routing.DropNoTrace:     keptDrops,
	routing.DropTraceParent: http1.NewNames("prefer", headerRequestID, fieldTraceParent),
	routing.DropTrace:       http1.NewNames("prefer", headerRequestID, fieldTraceParent, fieldTraceState),
}

// traceAttrs appends the request's place in its trace for the log, by the names that OpenTelemetry has for them.
func (x *Exchange) traceAttrs(attrs []slog.Attr) []slog.Attr {
	if !x.traced {
		return attrs
	}
	attrs = append(attrs, slog.String("trace_id", string(x.parent.Trace[:])))
	if x.span != [16]byte{} {
		attrs = append(attrs, slog.String("span_id", string(x.span[:])))
	}
	if !x.begun {
		attrs = append(attrs, slog.String("parent_span_id", string(x.parent.Span[:])))
	}
	return append(attrs, slog.String("trace_flags", x.parent.FlagsText()))
}
