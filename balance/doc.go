// Package balance is the master's mind: it knows the servers of a pool, how
// loaded each of them is, which leases are open, and who takes the next request.
//
// It is pure. A method takes facts, with the time first, and returns values;
// nothing here reads a clock, opens a socket, starts a goroutine or draws shared
// randomness. The master, which owns the clock and the connections, and the
// simulator, which owns neither, run this same code:
//
//	           Pick ──────────▶ ┌────────┐ ──▶ Grant, or a Refusal that says why
//	           Done ──────────▶ │  Pool  │
//	         Report ──────────▶ │        │ ──▶ Snapshot, for edges and people
//	Expire, Lost, … ──────────▶ └────────┘
//	                                 │ Choose
//	                                 ▼
//	                              Policy      (package policy has the table)
//
// A Pool keeps three kinds of knowledge about a server, in falling order of trust:
//
//   - the ledger: the leases it handed out that have not ended. It is exact.
//   - what the master learnt itself: outcomes and durations of ended leases.
//   - reports: metrics that the server, its agent or an edge sent. They are late,
//     may lie and may stop; so they correct the ledger and never replace it.
//
// A Pool is not safe for concurrent use; its owner holds one lock around it.
package balance
