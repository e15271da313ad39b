// Package exchange is what happens to one client request at an edge, whatever carries its bytes: HTTP/1, an HTTP/2
// stream, or a connection of a TCP listener. It has no socket, no descriptor and no goroutine.
//
//	        OpenExchange    Start        LinkFailed, LinkDone      Finish
//	head read ──────▶ route ──────▶ ask ─▶ link ─▶ … retry … ─▶ done ──────▶ counted, logged
//	                                 ▲ ResumePick
//	                                 │
//	                          Asker, Picker
//
// An Exchange is the shell around a flight.Flight, which decides what is next: ask for a server, link, retry
// elsewhere, choose from the last snapshot, answer instead of a server. The exchange does it, as far as no bytes
// are concerned: it asks (Asker), returns leases (Picker.Done), counts (PoolStats, a refused request too; stats_collector.go shows the counts) and logs. A connection owns
// it, takes the steps that it returns, and reports how each link went. Every lease that was granted is returned
// exactly once, by the time Finish returns.
//
// Beside the Exchange:
//
//   - Deps is what all exchanges of an edge share; the edge makes it once. LoopStats is what one event loop counts.
//   - ForwardState is the heads of a request and its response while they are forwarded: what the server and the
//     client are sent, with fields dropped and added.
//   - ResponseBody re-frames a response's body (length, chunked, close). It does no I/O.
//   - Cancellation ends the wait for a master or a server when the client has left.
//   - Problem documents and gRPC statuses are the edge's own answers.
//
// An exchange with a Clock belongs to the goroutine of its loop; nothing here may be called by two goroutines at
// once, except the methods of Deps, Pool, Metrics and Cancellation.
package exchange
