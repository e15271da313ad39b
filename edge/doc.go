// Package edge is the front door of the built-in proxy: its configuration (Config), its life (New, Run, Replace, Finish),
// and what an admin address shows of it (Endpoints, metrics). It takes client requests, asks the master for a server, and
// makes the link between the two, through itself or by redirect.
//
//	edge ─▶ proxy ─▶ exchange  ─▶ routing, flight    what to do with a request
//	          │
//	          ├────▶ upstream  ─▶ h2conn             connections to servers
//	          │
//	          └────▶ handshake                       what comes before a first request
//
//	all of them ─▶ eventloop                         bytes
//
// Beside these stand rules that they ask: bodies and limits (what one client may take), paths and tenants (what routing
// believes). The formats are below all: packages http1, h2 and preface.
//
// New prepares the listeners (package routing), what all exchanges share (exchange.Deps), and a proxy.Engine. Run listens,
// has the engine serve each listener, and returns when all has ended. Replace has an edge with another configuration take
// over the listeners' sockets: this one accepts no more, finishes its requests, and its Run returns. Every package is below this one and none knows it:
// what they need of the configuration is handed down.
//
// The edge reads HTTP/1.0 and 1.1 as strictly as package http1, and sends 1.1 to servers. Long bodies move inside the
// kernel where it can do that. An upgrade (WebSocket) is passed through; its lease lasts as long as the tunnel. A
// connection of a TCP listener is one flight, with a lease as long as itself; half-closes and resets pass both ways and
// overtake nothing.
package edge
