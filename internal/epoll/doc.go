// Package epoll waits for the events of a loop, in the way that its next event is likely
// to make the cheapest: a look without sleep, or a sleep of which Go's scheduler is told
// no more often than it must be.
package epoll
