// Package eventloop moves bytes between many connections on one goroutine. It knows no protocol except the records of
// TLS: its users read and write.
//
// A Loop waits for events of its connections, calls their owners, and waits again. Nothing in it blocks, and it takes no
// locks: only the loop goroutine may touch a Loop and what belongs to it. Other goroutines post a Message, or a function
// (Loop.Call). Loops share nothing. A program has as many as it gives cores to connections.
//
//	Loop.Run ─▶ wait ─▶ handleEvents ─▶ Conn.onEvent ─▶ Owner.OnReady ─▶ Conn.Read, SendBuffer.Write
//	   ▲                                                                            │
//	   └─ flushWrites ◀─ User.EndTurn ◀─ runMessages ◀─ runDeferred ◀─ TimerWheel ◀─┘
//
// A Conn is a descriptor with the readiness that was last reported. Waiting is edge-triggered: the owner of a Conn is
// called when more can be read or written, and has to go on until a call returns EAGAIN. An owner that has much to do
// asks for another turn after all others have had theirs (Loop.Defer); Loop.NewTurn says how long one may take. A Conn
// may also stand for a stream of another protocol, which a Transport carries.
//
// What a peer does not take at once is kept, in memory or in a pipe of the kernel: a SendBuffer is that for one Conn. A
// Tunnel joins two Conns, so that the bytes of either peer are sent to the other, and half-closes and resets with them.
// Long runs of bytes do not leave the kernel (splice).
//
// If one wait returns several events, system calls are taken together, because each brings the kernel's long code into
// the processor's caches: connections whose messages are short are read before their owners are called (prefetch.go),
// and short writes are sent at the end of the iteration (write_batch.go). With io_uring that is one call.
//
// A TLSConn is the transport of crypto/tls. A goroutine makes the handshake over it, then the Loop owns it.
//
// Times are balance.Instants. Loop.Now is read once for each event, so that a deadline costs a store: Timers stand in a
// wheel of 4 ms (TimerWheel).
//
// Package fd does the waiting, the reading and the writing: by epoll on Linux, by goroutines that read and write ahead on
// other systems.
package eventloop
