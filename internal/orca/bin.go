package orca

import (
	"encoding/binary"
	"math"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Wire types of protobuf.
const (
	varint  = 0
	fixed64 = 1
	length  = 2
	fixed32 = 5
)

// field is one field of a serialized message: bits of a number, or bytes.
type field struct {
	number uint64
	kind   uint64
	bits   uint64
	bytes  []byte
}

// next splits the first field off a serialized message. ok is false if there is no whole one.
func next(b []byte) (f field, rest []byte, ok bool) {
	tag, n := binary.Uvarint(b)
	if n <= 0 {
		return f, nil, false
	}
	f.number, f.kind, b = tag>>3, tag&7, b[n:]
	switch f.kind {
	case varint:
		f.bits, n = binary.Uvarint(b)
	case fixed64:
		if n = -1; len(b) >= 8 {
			f.bits, n = binary.LittleEndian.Uint64(b), 8
		}
	case fixed32:
		if n = -1; len(b) >= 4 {
			f.bits, n = uint64(binary.LittleEndian.Uint32(b)), 4
		}
	case length:
		var size uint64
		size, n = binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return f, nil, false
		}
		f.bytes, n = b[n:n+int(size)], n+int(size)
	default: // groups were never used by this message
		n = -1
	}
	if n <= 0 {
		return f, nil, false
	}
	return f, b[n:], true
}

// message reads a serialized xds.data.orca.v3.OrcaLoadReport. Fields it does not know are skipped.
func (r *report) message(b []byte) {
	size := len(b)
	if r.metrics == nil && size > 0 {
		r.metrics = make([]balance.Metric, 0, min(size/9, 16)) // a figure takes nine bytes or more
	}
	for len(b) > 0 {
		f, rest, ok := next(b)
		if !ok {
			r.bad("message breaks off after %d of its %d bytes", size-len(b), size)
			return
		}
		b = rest
		switch f.number {
		case 1:
			r.double(balance.CPUUtilization, f)
		case 2:
			r.double(balance.MemUtilization, f)
		case 4:
			r.entry(requestCost, f)
		case 5:
			r.entry(utilization, f)
		case 6:
			r.double(balance.RPS, f)
		case 7:
			r.double(balance.EPS, f)
		case 8:
			r.entry(namedMetrics, f)
		case 9:
			r.double(balance.ApplicationUtilization, f)
		}
	}
}

func (r *report) double(name string, f field) {
	if f.kind != fixed64 {
		r.bad("field %d has wire type %d, want a double", f.number, f.kind)
		return
	}
	r.add(name, math.Float64frombits(f.bits))
}

// entry reads one entry of a map: key 1, value 2, which is not there when it is zero.
func (r *report) entry(prefix string, f field) {
	if f.kind != length {
		r.bad("field %d has wire type %d, want a map's entry", f.number, f.kind)
		return
	}
	var key []byte
	var v float64
	for b := f.bytes; len(b) > 0; {
		part, rest, ok := next(b)
		if !ok {
			r.bad("an entry of field %d breaks off", f.number)
			return
		}
		b = rest
		switch {
		case part.number == 1 && part.kind == length:
			key = part.bytes
		case part.number == 2 && part.kind == fixed64:
			v = math.Float64frombits(part.bits)
		}
	}
	if len(key) > balance.MaxMetricName {
		r.bad("a key of %d bytes in field %d, at most %d", len(key), f.number, balance.MaxMetricName-len(prefix))
		return
	}
	r.add(interned(prefix, key), v)
}

// interned returns prefix and key as one string, without an allocation for the names
// that servers are known to send with each response.
func interned(prefix string, key []byte) string {
	if prefix == namedMetrics {
		switch string(key) {
		case "in_flight":
			return balance.InFlight
		case "queue":
			return balance.QueueDepth
		case "kv_cache_usage_perc":
			return namedMetrics + "kv_cache_usage_perc"
		case "num_requests_waiting":
			return namedMetrics + "num_requests_waiting"
		case "num_requests_running":
			return namedMetrics + "num_requests_running"
		}
	}
	return prefix + string(key)
}
