package edge

import "unsafe"

// ownedText keeps copies of strings. An exchange has one, for what it needs of its request until it is logged:
// the buffer that the request came in is reused before that. Strings of clone are valid until reset. The zero
// value is empty and ready.
type ownedText struct{ buf []byte }

// textKept bounds the buffer that is kept for the next request, in bytes.
const maxKeptText = 8 << 10

// reset drops all strings; their memory is reused.
func (o *ownedText) reset() {
	if cap(o.buf) > maxKeptText {
		o.buf = nil
	}
	o.buf = o.buf[:0]
}

// clone returns a copy of s. Earlier copies stay valid.
func (o *ownedText) clone(s string) string {
	start := len(o.buf)
	o.buf = append(o.buf, s...)
	return unsafeString(o.buf[start:])
}

// unsafeString is a string that shares b's memory. It is valid until b is written to: what is needed for
// longer is kept in an ownedText or cloned.
func unsafeString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
