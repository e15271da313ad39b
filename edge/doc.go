// Package edge is the built-in proxy: it takes client requests, asks the master for a
// server, and makes the link between the two, through itself or by redirect.
//
//	client ─▶ loop ─▶ exchange ─▶ flight      (what to do next)
//	            │         └─────▶ Picker      (ask, done, report)
//	            └────────────────▶ server     (bytes)
//
// A loop moves bytes and nothing else. An exchange (package exchange) is one request without its bytes: header rules,
// leases, problem documents, metrics and the access log. Package routing finds a request's route, and knows what a
// listener was configured with. This package is the front door (Config, New, Run) and joins client and server.
//
// There is one event loop for each core (package eventloop). Loops share nothing, so a loop takes no locks: a worker is
// a loop with the connections to servers, buffers and free requests that its connections share. A client's connection is
// a clientConn, a server's an upstream.Conn. A request goes through these methods:
//
//	clientConn.OnReady ─▶ readHead ─▶ OpenExchange ─▶ readBody ─▶ askForServer ─▶ connectServer ─┐
//	     ▲                                                                                       │
//	     └── finishRequest ◀─ endResponse ◀─ relayBody ◀─ startResponse ◀─ readResponse ◀─ sendRequest
//
// A worker calls a master in the same process directly, and polls the connections to other masters itself; where it would
// block, a goroutine waits and posts the answer. A connection without a request has no buffer. One that waits for its
// server has the request's head and no more.
//
// After an upgrade, and for a TCP listener, whose connections are tcpConns, a tunnel joins the two connections.
//
// A client's HTTP/2 connection is an h2Client, each of its streams a clientStream, which is a clientConn like any other:
// package h2conn translates between frames and HTTP/1.1.
//
//	h2conn.ServerConn ─▶ h2Client.NewStream ─▶ clientConn.parseHead ─▶ as above
//
// Connections to servers, of either protocol, are a worker's upstream.Pool: it dials, keeps and watches them. What a link
// has of it is an upstream.Conn.
//
//	clientConn.connectServer ─▶ upstream.Pool.Get, Dial, OpenStream ─▶ setServer
//	clientConn.LinkDone ─▶ upstream.Pool.Put
//
// A goroutine does what comes before the first request of a connection: PROXY header, TLS
// handshake, HTTP/2 preface (handshakeConn).
//
// The edge reads HTTP/1.0 and 1.1 as strictly as package http1, and sends 1.1 to servers. Long
// bodies move inside the kernel where it can do that. An upgrade (WebSocket) is passed through;
// its lease lasts as long as the tunnel. A connection of a TCP listener is one flight, with a
// lease as long as itself; half-closes and resets pass both ways and overtake nothing.
package edge
