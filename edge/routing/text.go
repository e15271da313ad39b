package routing

import "unsafe"

// OwnedText keeps copies of strings. An exchange has one, for what it needs of its request until it is logged:
// the buffer that the request came in is reused before that. Strings of clone are valid until reset. The zero
// value is empty and ready.
type OwnedText struct{ buf []byte }

// textKept bounds the buffer that is kept for the next request, in bytes.
const maxKeptText = 8 << 10

// Reset drops all strings; their memory is reused.
func (o *OwnedText) Reset() {
	if cap(o.buf) > maxKeptText {
		o.buf = nil
	}
	o.buf = o.buf[:0]
}

// Clone returns a copy of s. Earlier copies stay valid.
func (o *OwnedText) Clone(s string) string {
	start := len(o.buf)
	o.buf = append(o.buf, s...)
	return UnsafeString(o.buf[start:])
}

// UnsafeString is a string that shares b's memory. It is valid until b is written to: what is needed for
// longer is kept in an OwnedText or cloned.
func UnsafeString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
