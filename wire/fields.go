package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"time"
	"unsafe"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// fields walks over the fields of one message:
//
//	f := fields{what: TAsk, in: payload}
//	for f.next() {
//		switch f.no {
//		case 1:
//			m.Seq = f.uint()
//		…
//
// The first thing that is wrong ends the walk and is kept in err.
type fields struct {
	what Type
	in   []byte
	at   int // where the next field begins
	base int // where in begins, in the whole payload

	no    uint64 // the field's number
	kind  uint8
	value uint64 // of a varint or a fixed
	bytes []byte

	err error
}

func (f *fields) next() bool {
	if f.err != nil || f.at == len(f.in) {
		return false
	}
	tag := uint64(f.in[f.at])
	if tag < 0x80 {
		f.at++
	} else {
		tag = f.varint()
	}
	f.no, f.kind = tag>>3, uint8(tag&7)
	if f.err == nil && f.no == 0 {
		f.fail("a field has the number 0")
	}
	if f.err != nil {
		return false
	}
	switch f.kind {
	case kindVarint:
		f.value = f.varint()
	case kindFixed:
		if len(f.in)-f.at < 8 {
			f.fail("cut off within 8 bytes")
			break
		}
		f.value = binary.LittleEndian.Uint64(f.in[f.at:])
		f.at += 8
	case kindBytes:
		var size uint64
		if f.at < len(f.in) && f.in[f.at] < 0x80 {
			size = uint64(f.in[f.at])
			f.at++
		} else {
			size = f.varint()
		}
		if f.err == nil && size > uint64(len(f.in)-f.at) {
			f.fail(fmt.Sprintf("%d bytes, but only %d follow", size, len(f.in)-f.at))
		}
		if f.err == nil {
			f.bytes = f.in[f.at : f.at+int(size)]
			f.at += int(size)
		}
	default:
		f.fail(fmt.Sprintf("kind %d is none of varint, 0, fixed64, 1, and bytes, 2", f.kind))
	}
	return f.err == nil
}

func (f *fields) varint() uint64 {
	if f.at < len(f.in) && f.in[f.at] < 0x80 {
		f.at++
		return uint64(f.in[f.at-1])
	}
	v, n := binary.Uvarint(f.in[f.at:])
	if n <= 0 {
		f.fail("a varint is cut off or longer than 64 bits")
		return 0
	}
	f.at += n
	return v
}

func (f *fields) fail(what string) {
	if f.err == nil {
		f.err = &FrameError{What: fmt.Sprintf("%s: field %d: %s", f.what, f.no, what), Offset: f.base + f.at}
	}
}

func (f *fields) is(kind uint8) bool {
	if f.kind != kind {
		f.fail(fmt.Sprintf("kind %d, want %d", f.kind, kind))
	}
	return f.err == nil
}

func (f *fields) uint() uint64 {
	if !f.is(kindVarint) {
		return 0
	}
	return f.value
}

// upTo returns a varint that may not exceed most.
func (f *fields) upTo(most uint64) uint64 {
	v := f.uint()
	if v > most {
		f.fail(fmt.Sprintf("%d, at most %d", v, most))
		return 0
	}
	return v
}

func (f *fields) int() int {
	v := f.uint()
	signed := int64(v>>1) ^ -int64(v&1)
	if int64(int(signed)) != signed {
		f.fail(fmt.Sprintf("%d is too large a number for this machine", signed))
	}
	return int(signed)
}

func (f *fields) bool() bool { return f.uint() != 0 }

func (f *fields) float() float64 {
	if !f.is(kindFixed) {
		return 0
	}
	return math.Float64frombits(f.value)
}

// part returns a double from 0 to 1.
func (f *fields) part() float64 {
	v := f.float()
	if !(v >= 0 && v <= 1) {
		f.fail(fmt.Sprintf("%v, want 0 to 1", v))
		return 0
	}
	return v
}

// size returns how much work a request is.
func (f *fields) size() float64 {
	v := f.float()
	if !(v >= 0 && v <= balance.MaxSize) {
		f.fail(fmt.Sprintf("a size of %v, want 0 to %g", v, float64(balance.MaxSize)))
		return 0
	}
	return v
}

func (f *fields) fixed() uint64 {
	if !f.is(kindFixed) {
		return 0
	}
	return f.value
}

// text returns a string that lies in the payload.
func (f *fields) text(limit int) string {
	if !f.is(kindBytes) {
		return ""
	}
	if len(f.bytes) > limit {
		f.fail(fmt.Sprintf("%d bytes, at most %d", len(f.bytes), limit))
		return ""
	}
	return unsafe.String(unsafe.SliceData(f.bytes), len(f.bytes))
}

// plain is text that people read in logs, on pages and on terminals, and that its sender may have from elsewhere,
// such as an error: what cannot be printed is replaced. The rest lies in the payload.
func (f *fields) plain(limit int) string { return balance.PlainText(f.text(limit)) }

// data returns bytes that lie in the payload, nil if there are none.
func (f *fields) data(limit int) []byte {
	if !f.is(kindBytes) {
		return nil
	}
	if len(f.bytes) > limit {
		f.fail(fmt.Sprintf("%d bytes, at most %d", len(f.bytes), limit))
		return nil
	}
	if len(f.bytes) == 0 {
		return nil
	}
	return f.bytes
}

func (f *fields) addr() netip.Addr {
	if !f.is(kindBytes) {
		return netip.Addr{}
	}
	a, ok := netip.AddrFromSlice(f.bytes)
	if !ok {
		f.fail(fmt.Sprintf("an address of %d bytes, want 4 or 16", len(f.bytes)))
	}
	return a
}

func (f *fields) duration() time.Duration {
	return time.Duration(f.upTo(maxMicros)) * time.Microsecond
}

func (f *fields) instant(now balance.Instant) balance.Instant {
	d := f.duration()
	if d == 0 {
		return 0
	}
	return now.Add(d)
}

// within returns the fields of a message within this one.
func (f *fields) within() fields {
	if !f.is(kindBytes) {
		return fields{err: f.err}
	}
	return fields{what: f.what, in: f.bytes, base: f.base + f.at - len(f.bytes)}
}

// took ends the walk if that over a message within it failed.
func (f *fields) took(inner *fields) {
	if f.err == nil {
		f.err = inner.err
	}
}

// room reports whether a list of n may have one more.
func (f *fields) room(n, most int) bool {
	if n >= most {
		f.fail(fmt.Sprintf("more than %d of them", most))
	}
	return f.err == nil
}

// label reads one label into a list.
func (f *fields) label(to []balance.Label) []balance.Label {
	if !f.room(len(to), MaxLabels) {
		return to
	}
	var l balance.Label
	in := f.within()
	for in.next() {
		switch in.no {
		case 1:
			l.Key = in.text(MaxName)
		case 2:
			l.Value = in.text(MaxName)
		}
	}
	f.took(&in)
	return append(to, l)
}

// longer returns s with one element more, which is what stood there before, so that
// slices within it are used again.
func longer[T any](s []T) []T {
	if len(s) < cap(s) {
		return s[:len(s)+1]
	}
	var zero T
	return append(s, zero)
}
