// Package proxy joins clients and servers: it accepts clients' connections, reads requests, has a server chosen for each,
// and carries the bytes between the two. It is the only room that knows both sides.
//
//	Engine.Serve ─▶ acceptor ─▶ clientConn   (HTTP/1)    ─┐
//	                   │        clientStream (HTTP/2)    ─┼─▶ exchange ─▶ Asker ─▶ worker.startPick
//	                   │        tcpConn      (TCP)       ─┘       │
//	                   ▼                                          ▼ link
//	          package handshake (PROXY header, TLS)         upstream.Conn
//
// An Engine has one event loop for each core (package eventloop). Loops share nothing, so a loop takes no locks: a worker
// is a loop with the connections to servers, the buffers and the free requests that its connections share. A connection
// stays with its loop. A listenerService is one listener with its connections on all loops.
//
// A client's connection is a clientConn. It has a request while there is one, and no buffer otherwise. A request goes
// through these methods:
//
//	OnReady ─▶ readHead ─▶ openExchange ─▶ readBody ─▶ askForServer ─▶ connectServer ─┐
//	  ▲                                                                               │
//	  └── finishRequest ◀─ endResponse ◀─ relayBody ◀─ startResponse ◀─ readResponse ◀─ sendRequest
//
// What a connection does next is its state (clientState). What the request needs next says its exchange.Exchange, which
// has no bytes: ask, link, answer. A request that fails at its server goes back to askForServer, as long as it can be
// sent again.
//
//   - readBody reads the body, up to a bound, before a server is asked for (body_buffer.go).
//   - A server is asked for in one of three ways, as the picker allows (pick.go): answered at once, or on a connection to
//     a master that the loop reads itself, or by a goroutine that waits.
//   - A connection to the server is one that is kept, a new one, or a stream of a shared one (package upstream).
//   - After an upgrade (WebSocket), and on a TCP listener, a tunnel joins the two connections (eventloop.Tunnel).
//
// A client's HTTP/2 connection is an h2Client. Each of its streams is a clientStream, which is a clientConn that reads and
// writes HTTP/1.1: package h2conn translates. A TCP listener's connection is a tcpConn: one flight, with a lease as long
// as itself. What a clientConn and a tcpConn have in common, asking and connecting, is a linkedConn.
//
// When an Engine stops, it accepts no more, lets open requests finish for a time, and cuts the rest (drain.go).
package proxy
