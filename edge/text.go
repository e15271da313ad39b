package edge

import "unsafe"

// ownedText keeps copies of strings. An exchange has one, for what it needs of its request until it
// is logged: the buffer in which the request came is used again before that. Strings that keep has
// returned are valid until reset. The zero value is empty and ready.
type ownedText struct{ buf []byte }

// maxKeptText is the largest room, in bytes, that is kept for the next request.
const maxKeptText = 8 << 10

// reset forgets all strings, whose memory is used again.
func (o *ownedText) reset() {
	if cap(o.buf) > maxKeptText {
		o.buf = nil
	}
	o.buf = o.buf[:0]
}

// clone returns a copy of s. Copies that were made before stay where they are.
func (o *ownedText) clone(s string) string {
	start := len(o.buf)
	o.buf = append(o.buf, s...)
	return unsafeString(o.buf[start:])
}

// clone returns the head with its strings copied into o. Its fields remain those of the buffer in
// which the request came: they are valid until the request's last link is over.
func (h *requestInfo) clone(o *ownedText) requestInfo {
	own := *h
	own.method, own.host, own.target = o.clone(h.method), o.clone(h.host), o.clone(h.target)
	own.raw, own.query = own.target[:len(h.raw)], own.target[len(own.target)-len(h.query):]
	if own.path = own.raw; h.path != own.raw {
		own.path = o.clone(h.path)
	}
	return own
}

// unsafeString is a string that shares b's memory. It is valid until b is written to: what is needed for
// longer is kept in an ownedText or cloned.
func unsafeString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
