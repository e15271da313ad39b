// Package tenants says whose tenant a request is, and how far that is to be believed: by what
// a route's rule is, what the request says, and whether a trusted proxy, a verified certificate or a
// signed token stands behind it. It takes facts and the time and returns values. Which part of a request names the tenant
// is the route's affair, in package routing.
package tenants
