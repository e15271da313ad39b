// Package h2 is the frames of HTTP/2 (RFC 9113): bytes in, facts out, and back. It knows no connection and no stream; the caller, who does, calls Next for what
// has come and the Append functions for what is to go.
//
// A request's fields become the head that HTTP/1.1 would have of them (Head), and a
// response's too (Reply), so that one parser, with one set of rules, reads what is said in both. What it could not read,
// because HTTP/1.1 has no word for it, is refused here.
package h2
