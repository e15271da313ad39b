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
// Who reads a connection is a goroutine or, on Linux and without TLS, a loop that reads
// thousands; what is done with what was read is the same. A goroutine greets every peer,
// and gives it to a loop when nothing that it may say has to wait any more.
//
// Each pool has one mutex, held over memory work only; no two are ever held at
// once. The set of pools stands behind one atomic pointer. Whatever waits, for a
// socket, for its turn in a queue or for a server's verdict on a dispatch, waits
// without a lock. A pool's lock is given back by unlock, which first hands out what
// has come free to those in the queue.
package master
