// Package master is the shell around package balance: it owns the pools, their
// locks and timers, and the connections to edges and agents, and carries out what
// the core decides.
//
//	edges  ──frames──▶ ┌─────────────────────────────┐ ◀──frames── agents
//	                   │ conn: one read, all its      │
//	Local ────────────▶│ records, one lock, one write │
//	                   │        │                     │
//	HTTP API ─────────▶│       pool ── balance.Pool   │
//	                   └─────────────────────────────┘
//
// A goroutine reads a connection or, on Linux and without TLS, an event loop that reads
// thousands of them; both handle frames in the same way. A goroutine reads every peer's Hello,
// and moves the connection to a loop once no frame has to wait for anything but a lock.
//
// Each pool has one mutex, held over memory work only; no two are ever held at once. The
// set of pools is behind one atomic pointer. Every wait, for a socket, in a queue or for a
// server's verdict on a dispatch, holds no lock. A pool is unlocked by its method unlock, which
// first gives servers that have come free to asks in the queue.
package master
