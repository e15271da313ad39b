// Package wire turns the messages between edges, agents and masters into bytes and back.
//
//	| length, 4 bytes, little endian | type, 1 byte | fields … |
//	                                  ◀──────── length ───────▶
//
// Every message has Append, which writes a whole frame behind dst, and Decode, which
// reads the payload of a frame that Next found. Messages with points in time in them,
// Ask and Granted, take the present instant too: times travel as microseconds from
// now, rounded up, so that no clock is ever shared.
//
// Append and Decode keep nothing and, once their slices have grown, allocate nothing:
// Decode reuses the slices of its target, and the strings it leaves there lie in the
// payload. They are valid until the buffer behind the payload is written to again;
// strings.Clone what must live longer.
//
// A field is a tag, number<<3 | kind, and a value. A field whose value is zero is left
// out; one whose number is unknown is skipped; of one that comes twice the last counts.
// docs/wire.md has all of it, for writing a peer in another language.
package wire
