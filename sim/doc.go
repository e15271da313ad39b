// Package sim runs the real core in virtual time: the same Pool and policies as the master's, with clients, edges, round trips, servers,
// reports and faults as models around them. It also runs other proxies' policies, and an ideal that no real scheduler can reach, with the
// same requests:
//
//	Trace ──▶ edge ──ask──▶ balance.Pool ──grant──▶ edge ──▶ station ──▶ edge ──done──▶ Pool
//	  │        └─ or a peer's choice at the edge ────▲          │
//	  │                                                          └──report──▶ Pool
//	  └──▶ ideal: one pooled server, or one central queue
//
// A Scenario says what happens; the files in scenarios/ are the canonical ones. A run
// is a pure function of scenario, policy and seed: the same three give the same
// figures, bit for bit, on one machine.
//
// Delays between two places are constant, so whatever travels arrives in the order in
// which it was sent: each way is a queue (lane), and the next event is the smallest of
// a handful of heads. Only servers' completions and timers need an order of their own.
package sim
