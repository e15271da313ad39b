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
// There is one event loop for each core: a goroutine that waits for events of all its
// connections and does what can be done without blocking. Package fd does the waiting: by
// epoll on Linux, by goroutines that read and write ahead on other systems. Loops share
// nothing, so a loop takes no locks: connections to servers, buffers, pipes and timers are
// each loop's own. Other goroutines post messages to a loop.
//
// A conn is one descriptor of a loop. A client's connection is a clientConn, a server's a
// serverConn. A request goes through these methods:
//
//	clientConn.onReady ─▶ readHead ─▶ openExchange ─▶ readBody ─▶ askForServer ─▶ connectServer ─┐
//	     ▲                                                                                       │
//	     └── finishRequest ◀─ endResponse ◀─ relayBody ◀─ startResponse ◀─ readResponse ◀─ sendRequest
//
// The loop calls a master in the same process directly, and polls the connections to other
// masters itself; where it would block, a goroutine waits and posts the answer. A connection
// without a request has no buffer. One that waits for its server has the request's head and
// no more. What a peer does not take at once is kept until it does.
//
// If one wait returns several events, connections whose messages are short are read first
// (prefetch), and short writes are sent together at the end of the iteration (write batching).
//
// A tunnel joins two connections of a loop, so that the bytes of either peer are sent to the
// other: after an upgrade, or for a TCP listener, whose connections are tcpConns. TLS is
// crypto/tls over a tlsConn, a transport that never blocks.
//
// A client's HTTP/2 connection is an h2ServerConn, each of its streams an h2ServerStream. To
// the rest of the loop a stream is a clientConn like any other: it reads HTTP/1.1, and what
// it writes is sent as frames, all those of one iteration in one write.
//
//	h2ServerConn.readFrames ─▶ h2.Next ─▶ onFrame ─▶ openStream ─▶ clientConn.parseHead ─▶ as above
//	h2ServerConn.flush ◀─ loop.flushFrames (at the end of the iteration) ◀─ h2ServerStream.write
//
// A server's HTTP/2 connection is an h2ClientConn, which many links share; each of its streams
// is an h2ClientStream, to the rest of the loop a serverConn like any other.
//
//	clientConn.connectServer ─▶ loop.h2ConnFor ─▶ h2ClientStream.sendRequest, write ─▶ h2ClientConn.flush
//	clientConn.readResponse ◀─ h2ClientStream.read ◀─ onHead, onData ◀─ h2ClientConn.onFrame
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
