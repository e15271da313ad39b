// Chaos runs a whole system, three elected masters, two edges, servers and agents, all as processes with certificates. For a limited time
// it kills, stops, reloads, cuts off and starves one after another, by a schedule that the seed determines, while clients send requests of
// every kind. Then it lets all of them recover and checks these invariants:
//
//   - An answer belongs to its request: id, length, digest and every byte.
//
//   - A request that may not be repeated has reached one server at most, and only once; any
//     other no more often than a flight may try.
//
//   - If a client got a successful answer, a server has done the work: its own record says so.
//
//   - A client sees an error only while its edge, or a server, is down; with dispatch also while masters are.
//
//   - A server that one edge cannot reach continues to work for the other.
//
//   - At the end no lease is open, and no request is in progress.
//
//   - No process has more goroutines, descriptors or memory than at rest before, and none has
//     ended by itself.
//
//   - Package history finds an order in which all that happened to leases, fences and requests
//     may have happened.
//
//     traffic ──▶ edges ──▶ servers       what they wrote down ──▶ history ──▶ judge ──▶ report
//     │         ▲
//     schedule ──▶ faults ──▶ masters, etcd, agents
//
// Masters and edges live in network namespaces of their own where the system allows that, all
// inside one that nothing else is in, so that they can be cut off and servers can move; without,
// those faults are left out.
package main
