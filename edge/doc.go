// Package edge is the built-in proxy: it takes client requests, asks the master for a
// server, and makes the link between the two, through itself or by redirect.
//
//	client ─▶ loop ─▶ exchange ─▶ flight      (what to do next)
//	            │         └─────▶ Picker      (ask, done, report)
//	            └────────────────▶ server     (bytes)
//
// A loop moves bytes and nothing else. An exchange is one request without its bytes: routing,
// header rules, leases, problem documents, metrics and the access log.
//
// There is one event loop for each core (package eventloop). Loops share nothing, so a loop takes no locks: a worker is
// a loop with the connections to servers, buffers and free requests that its connections share. A client's connection is
// a clientConn, a server's a serverConn. A request goes through these methods:
//
//	clientConn.OnReady ─▶ readHead ─▶ openExchange ─▶ readBody ─▶ askForServer ─▶ connectServer ─┐
//	     ▲                                                                                       │
//	     └── finishRequest ◀─ endResponse ◀─ relayBody ◀─ startResponse ◀─ readResponse ◀─ sendRequest
//
// A worker calls a master in the same process directly, and polls the connections to other masters itself; where it would
// block, a goroutine waits and posts the answer. A connection without a request has no buffer. One that waits for its
// server has the request's head and no more.
//
// After an upgrade, and for a TCP listener, whose connections are tcpConns, a tunnel joins the two connections.
//
// A client's HTTP/2 connection is an h2conn.ServerConn, each of its streams an ServerStream. To
// the rest of the loop a stream is a clientConn like any other: it reads HTTP/1.1, and what
// it writes is sent as frames, all those of one iteration in one write.
//
//	h2conn.ServerConn.readFrames ─▶ h2.Next ─▶ onFrame ─▶ h2Client.NewStream ─▶ clientConn.parseHead ─▶ as above
//	h2conn.ServerConn.flush ◀─ worker.EndTurn (at the end of the iteration) ◀─ ServerStream.WriteStream
//
// A server's HTTP/2 connection is an h2conn.ClientConn, which many links share; each of its streams
// is an h2conn.ClientStream, to the rest of the loop a serverConn like any other.
//
//	clientConn.connectServer ─▶ serverPool.openStream ─▶ h2conn.ClientStream.begin, WriteStream ─▶ h2conn.ClientConn.flush
//	clientConn.readResponse ◀─ h2conn.ClientStream.ReadStream ◀─ onHead, onData ◀─ h2conn.ClientConn.onFrame
//
// A goroutine does what comes before the first request of a connection: PROXY header, TLS
// handshake, HTTP/2 preface (handshakeConn). Goroutines also connect to servers that have a
// name or TLS, and wait for a master where the loop cannot.
//
// Connections to servers are kept for later requests and watched meanwhile. One is dropped if
// its server closes it or sends unasked bytes, and is not kept at all after a response that was
// not exactly framed. So a request that cannot be repeated is never lost on a connection
// that could be known to be stale.
//
// The edge reads HTTP/1.0 and 1.1 as strictly as package http1, and sends 1.1 to servers. Long
// bodies move inside the kernel where it can do that. An upgrade (WebSocket) is passed through;
// its lease lasts as long as the tunnel. A connection of a TCP listener is one flight, with a
// lease as long as itself; half-closes and resets pass both ways and overtake nothing.
package edge
