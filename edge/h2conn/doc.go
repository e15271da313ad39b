// Package h2conn is both ends of HTTP/2 connections (RFC 9113) on an event loop: a ServerConn is a client's connection, a
// ClientConn one to a server. Either translates: what the package's users read and write is HTTP/1.1, so that they need
// no second code for HTTP/2.
//
//	                 ┌─ ServerConn ─ ServerStream ─┐   HTTP/1.1   ┌─ ClientStream ─ ClientConn ─┐
//	client ═frames═▶ │                             ├─ the user's ─┤                             │ ═frames═▶ server
//	                 └─────────────────────────────┘  eventloop.  └─────────────────────────────┘
//	                                                     Conns
//
// The user of a stream has an eventloop.Conn for it, whose Transport the stream is: a read returns a part of a request's
// or response's body with the framing of HTTP/1.1 (recvBody), a write is sent as HEADERS, DATA and trailers (sendBody). A
// window that is used up looks like a full socket. A stream's memory is its user's, who uses it again.
//
// A client's connection begins with ServerConn.Init and Open. Each request is handed to its Handler (NewStream), with the
// head as HTTP/1.1 has it. The connection ends by DrainAfter, Close, or the client's fault, of which the Handler is told.
//
// A connection to a server is made by its Keeper, who gives it the descriptor (Attach, Connected). ClientConn.NewStream
// queues a stream, ClientStream.IsReady says when it may begin, and Begin sends the request's head.
//
// All frames of an iteration of the loop are sent in one write at its end (Shared.Flush, which the loop's user calls). A
// peer that does not take frames is not read, so that it cannot make us keep answers.
//
// What a client may cost is bounded: streams, windows and the size of header blocks (limits.go), frames that make no
// progress (floodLimit), bodies of requests that were answered before they had come (discardedStreams). What it sends to
// streams that were reset meanwhile is no fault, up to their windows (resetStreams).
package h2conn
