// Package upstream has an edge's connections to servers. A Pool is those of one event loop: it dials, keeps connections
// between requests, and watches them meanwhile. Loops share a Dialer and nothing else.
//
//	Pool.Get ─▶ a kept connection, or none          (HTTP/1.1)
//	Pool.Dial, DialInBackground, Add ─▶ a new one
//	Pool.OpenStream ─▶ a stream of a shared one     (HTTP/2)
//	Pool.Put ◀─ a connection whose response was read to its end
//
// A Conn belongs to one User at a time, who reads and writes HTTP/1.1, also to a stream of HTTP/2. Requests share a
// connection only if they are for the same Target: address, and how the server proves its identity.
//
// A kept connection is closed if its server closes it or sends unasked bytes, and before servers usually close theirs. So
// a request that cannot be repeated is not lost on a connection that could be known to be stale.
//
// Plain connections to IP addresses and unix sockets are begun on the loop. A goroutine resolves names and makes TLS
// handshakes.
package upstream
