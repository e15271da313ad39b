// Package paths says how servers may read a request's path.
//
// A proxy routes by the path and servers serve by it, and they do not all read it alike: one takes /public/..%2fadmin for
// a file of that name and another for /admin; one takes \ for / and another does not; one cuts a segment at ; as Tomcat
// does. A client that may use /public could then reach what is behind /admin. So a path that is read in several ways must
// lead to one route in all of them. Readings returns those ways. Plain reports that there is only one, as there nearly
// always is.
//
// Paths are without their query, and begin with /. Their escapes have been checked.
package paths
