// Package resolve resolves the names of servers: it looks them up repeatedly, keeps the last addresses while a look-up fails, and connects
// to the addresses.
//
// Name is the state of one name; it does no I/O. Lookup asks the machine's resolvers,
// or others. A Follower does so for many names. A Dialer connects.
//
// A master follows the names of its pools' servers and sends the addresses to edges, so that its health checks and the traffic go to the
// same address. An edge follows only the names that it has to look up itself.
package resolve
