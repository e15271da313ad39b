// Package h2 reads and writes the frames of HTTP/2 (RFC 9113): bytes in, facts out, and back. It keeps no state of connections or streams;
// the caller does. The caller passes received bytes to Next, and writes frames with the Append functions.
//
// A request's fields become the head that HTTP/1.1 would have of them (Head), and a response's too (Reply), so that one parser, with one
// set of rules, reads both protocols. What HTTP/1.1 cannot express is refused here.
package h2
