// Package http1 reads and writes the parts of HTTP/1.x that a proxy must understand: where a head ends and what is in it, where a body
// ends, and what is forwarded to the next hop. Bytes in, facts out. It is pure: it reads no connection and no clock, starts nothing, and in
// the steady state allocates nothing, so that an event loop and a goroutine per connection can both drive it.
//
//	from the client                                              to the server
//	buf ──▶ RequestHead.Parse ──▶ facts ──▶ who serves it?
//	  │        (0, nil): read more           RequestHead.Append ──▶ head
//	  │                                                               │
//	  └──▶ Body.Pass ──▶ so many bytes, as they are ─────────────▶ body
//	         Run, Skip: so many need not even be seen                 │
//	         AtTrailers: Body.ReadTrailers ──▶ Trailers.Append ──▶ trailers
//	         Done: what is left in buf is the next request
//
// and back the same way with ResponseHead, which must be told what was Asked. A body
// that changes its framing on the way (to a client of HTTP/1.0, or from a server that
// ends it by closing) goes through Body.Decode and AppendChunkSize instead of Pass.
//
// # Buffers
//
// Fields, targets and values are Spans of the buffer that was parsed; nothing is
// copied. They stay valid as long as the caller leaves those bytes at the same
// distance from the start of the slice it passes: the buffer may move, grow and be
// compacted. A head must be whole in the buffer when it ends; a body need not be.
// Parsing resumes: a head that comes byte by byte costs a small multiple of one
// that comes at once.
//
// # Strictness
//
// If two readers disagree on where a message ends, an attacker can smuggle a request into another client's connection. So every ambiguous
// message is refused, also where the RFCs would let a recipient repair it: both lengths, a length twice or with a leading zero, lists of
// lengths, codings other than chunked, bare LF and CR, folded lines, white space around names, controls, names that differ from a length's
// only by an underscore, odd hosts and targets. Accepted messages are forwarded in one canonical form: HTTP/1.1, origin-form, one Host,
// "name: value", one Transfer-Encoding.
//
// Four deviations are repaired, because real peers use them and no reader is misled: one empty line before a request, a status line without
// its last space, missing or additional white space around values, and a response that may have no body but announces one (its connection
// is then not used again).
//
// An Error says what is wrong, and has the status for the client. After it the connection must be closed, because the start of the next
// message is unknown.
package http1
