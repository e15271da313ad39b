// Package resolve knows where the names of servers lead: it looks them up again and again, keeps
// what they led to last while they cannot be looked up, and connects to what they lead to.
//
// Name is what is known of one name, and does nothing by itself. Lookup asks the machine's
// resolvers, or others. A Follower does so for many names. A Dialer connects.
//
// A master follows the names of its pools' servers and tells edges where they lead, so that its
// health checks and the traffic go to one address; an edge follows those that it is to look up itself.
package resolve
