package edge

import "unsafe"

// ownedText keeps copies of strings. An exchange has one, for what it needs of its request until it
// is logged: the buffer in which the request came is used again before that. Strings that keep has
// returned are valid until reset. The zero value is empty and ready.
type ownedText struct{ room []byte }

// textKept is the largest room, in bytes, that is kept for the next request.
const textKept = 8 << 10

// reset forgets all strings, whose memory is used again.
func (o *ownedText) reset() {
	if cap(o.room) > textKept {
		o.room = nil
	}
	o.room = o.room[:0]
}

// keep returns a copy of s. Copies that were made before stay where they are.
func (o *ownedText) keep(s string) string {
	start := len(o.room)
	o.room = append(o.room, s...)
	return view(o.room[start:])
}

// keep returns the head with its strings copied into o. Its fields remain those of the buffer in
// which the request came: they are valid until the request's last link is over.
func (h *head) keep(o *ownedText) head {
	own := *h
	own.method, own.host, own.target = o.keep(h.method), o.keep(h.host), o.keep(h.target)
	own.raw, own.query = own.target[:len(h.raw)], own.target[len(own.target)-len(h.query):]
	if own.path = own.raw; h.path != own.raw {
		own.path = o.keep(h.path)
	}
	return own
}

// view is a string that shares b's memory. It is valid until b is written to: what is needed for
// longer is kept in an ownedText or cloned.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
