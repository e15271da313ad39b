// Chaos runs a whole system, three elected masters, two edges, servers and agents, all as
// processes, and for a bounded time kills, stops, reloads and cuts off one after another,
// by a schedule that follows from a seed, while clients send requests. Then it lets all of
// them come back and holds what is left against what always has to hold:
//
//   - A request that may not be repeated has reached one server at most, and only once; any
//     other no more often than a flight may try.
//   - What a client was told to be done, a server has done: its own record says so.
//   - A client sees an error only while its edge, or a server, is away.
//   - No lease is open at rest, and no request under way.
//   - No process has more goroutines, descriptors or memory than at rest before.
//
// Masters live in network namespaces of their own where the system allows that, so that they
// can be cut off and their packets lost; without, those faults are left out.
package main
