//go:build !evenkeel_portable

package fd

import "golang.org/x/sys/unix"

// Event is what a Poller tells of a descriptor.
type Event unix.EpollEvent

// What Add registers for and events tell of, as epoll_ctl(2) describes it.
const (
	Readable      = unix.EPOLLIN
	Writable      = unix.EPOLLOUT
	PeerClosed    = unix.EPOLLRDHUP // the peer has closed its side; told if asked for
	HungUp        = unix.EPOLLHUP   // both sides are closed; told always
	Failed        = unix.EPOLLERR   // the connection is broken; told always
	EdgeTriggered = unix.EPOLLET
	Exclusive     = unix.EPOLLEXCLUSIVE // an event of a listener is told to one of its FDs, not to all
)

// What this system's implementation has.
const (
	// OwnThread is set if a Poller and a Batch want a thread that their goroutine is locked to.
	OwnThread = true
	// ReadsAhead is set if what has come to a connection may not have been told yet, though an event that came later has.
	ReadsAhead = false
	// CanSplice is set if bytes can move from one socket to another inside the kernel.
	CanSplice = true
)

// Slot returns the slot that the descriptor was registered with.
func (e *Event) Slot() int32 { return e.Fd }

// Generation returns the generation that the descriptor was registered with.
func (e *Event) Generation() int32 { return e.Pad }
