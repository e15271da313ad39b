// Package limits holds the rules by which an edge bounds what one client can take of it: memory for request
// bodies, requests that hold a server while their body stalls, connections, open requests and requests a second, and the
// least rate at which a body must come. Floods of HTTP/2 frames are bounded in package h2conn. It is pure: the caller brings
// the time, and locks where a type does not say that it is safe for concurrent use.
package limits
