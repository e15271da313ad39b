// Package handshake does what comes before the first request of a client's connection, if that takes more than reading
// it: a PROXY header, the client's limits, the TLS handshake, and finding out whether the client begins with HTTP/2's
// preface.
//
// Conns are the connections of one listener. Each is served by a goroutine, which may block, within the times that the
// listener allows:
//
//	Conns.Add ─▶ Conns.Serve ─▶ goroutine: PROXY header ─▶ LimitConn ─▶ TLS, or preface ─▶ done(good)
//
// done takes the Conn: its address, its TLS, what was read of it already. When the edge stops, LimitTime ends the waits.
package handshake
