// Package edge is the built-in proxy: it takes client requests, asks the master for a
// server, and makes the link between the two, through itself or by redirect.
//
//	client ─▶ engine ─▶ exchange ─▶ flight      (what to do next)
//	            │           └─────▶ Picker      (ask, done, report)
//	            └──────────────────▶ server     (bytes)
//
// An engine carries bytes and nothing else. Routing, header rules, leases, problems,
// metrics and the access log are the exchange's and its files', so that another
// engine shares them. Today's engine stands on net/http, which its hooks do not let us
// make as strict as we want:
//
//   - it takes a request with both Content-Length and Transfer-Encoding (as chunked;
//     it is framed anew toward the server, so nothing can be smuggled in it), bare LF
//     for CRLF, and folded header lines;
//   - it forgets what a server's "Connection: close, X" says of X;
//   - its own answers to heads that it cannot read are plain text, not problems.
//
// The edge takes HTTP/1.0 and 1.1 and speaks 1.1 to servers. An upgrade (WebSocket)
// passes through, and its lease lasts as long as the tunnel.
package edge
