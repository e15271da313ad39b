// Package edge is the built-in proxy: it takes client requests, asks the master for a
// server, and makes the link between the two, through itself or by redirect.
//
//	client ─▶ loop ─▶ exchange ─▶ flight      (what to do next)
//	            │         └─────▶ Picker      (ask, done, report)
//	            └────────────────▶ server     (bytes)
//
// A loop carries bytes and nothing else. Routing, header rules, leases, problems,
// metrics and the access log are the exchange's and its files'.
//
// There is a loop for each core: one goroutine that waits for all its descriptors at once, and does what can be done
// without waiting. What a descriptor is, and how many are waited for, is package fd's: epoll on Linux; on other
// systems goroutines read and write ahead. A client's connection is an inbound, a server's a back:
//
//	inbound.ready ─▶ readHead ─▶ open ─▶ gather ─▶ start ─▶ link ─▶ send ─┐
//	     ▲                              (body)    (ask)                   │
//	     └─── conclude ◀─ finish ◀─ pass ◀─ respond ◀─ receive ◀──────────┘
//
// Nothing in a loop is shared with another, so nothing is locked: connections to
// servers, buffers, pipes, timers are each loop's own. A loop asks a master in its own
// process by a call; where an answer is still to come, a goroutine waits for it and
// posts a letter. A connection without a request has no buffer; one that waits for its
// server has the request's head and no more; what a peer does not take at once is kept
// for as long as that lasts. In a turn with several events what has come is read before any
// of it is dealt with, and is early until its owner asks for it; what is said waits for the
// turn's end, and then leaves all at once: it is a saying of its end until then.
//
// A junction joins two of a loop's ends, so that whatever either peer says reaches the
// other: an upgraded connection, or a TCP listener's, which is a duct. TLS of clients and servers is
// the library's, over a sealed that never blocks: what it has to say goes the way of plain
// bytes.
//
// A client's connection of HTTP/2 is a trunk, each of its streams a branch. To the rest of
// the loop a branch is an inbound like any other: what comes on the stream it reads as
// HTTP/1.1 has it, and what it writes goes out as frames, all those of a turn at once.
//
//	trunk.listen ─▶ h2.Next ─▶ follow ─▶ branchOff ─▶ inbound.parseHead ─▶ open, as above
//	trunk.flush  ◀─ loop.speak (at the end of the turn) ◀─ branch.write ◀─ pass
//
// A server's connection of HTTP/2 is a stem, shared by many links, and each of its streams
// a shoot: to the rest of the loop a back like any other.
//
//	inbound.link ─▶ loop.grow ─▶ shoot.begin, write ─▶ stem.flush (at the end of the turn)
//	inbound.receive ◀─ shoot.read ◀─ hear, gain ◀─ stem.follow ◀─ h2.Next ◀─ stem.listen
//
// What comes before a client's first request on a connection, such as a handshake, is done by a
// goroutine: it is a greeting until a loop has it. Goroutines also make connections to servers that have a name or speak
// TLS, and wait for a master in a loop's place.
//
// Connections to servers are kept for the next request. One is watched meanwhile, and dropped if its server has closed it or has spoken unasked; after a
// response that was not framed to the byte, or was followed by anything, it is not
// kept at all. So a request that cannot be repeated is never lost on a stale connection
// that could be known to be one.
//
// The edge takes HTTP/1.0 and 1.1 as strictly as http1 reads them, and speaks 1.1 to
// servers. Long bodies move inside the kernel where it can do that. An upgrade
// (WebSocket) passes through, and its lease lasts as long as the tunnel.
//
// A connection of a listener that carries TCP is one flight, with a lease as long as
// itself. Half-closes and resets pass both ways and overtake nothing.
package edge
