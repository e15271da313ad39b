// Package uring has the system make several calls at once, by io_uring, on sockets that do
// not block: what entering the system costs is paid once for all of them, and its code is
// still near the processor for the second. Where io_uring is not to be had, as in many
// containers, the calls are made one by one, and all is as right and only slower.
package uring
