package fd

import "golang.org/x/sys/unix"

// Borrowed is the number of a descriptor that another owns: a syscall.RawConn lends it for
// the length of a callback, and it must not be kept.
type Borrowed uintptr

// Broken reports whether the peer has broken the connection off. That it has closed its
// side is no such thing.
func (b Borrowed) Broken() bool {
	list := [1]unix.PollFd{{Fd: int32(b)}}
	n, err := unix.Poll(list[:], 0)
	return err == nil && n > 0
}

// Unacked reports whether the peer's machine has not yet taken all that was sent.
func (b Borrowed) Unacked() bool {
	n, err := unix.IoctlGetInt(int(b), unix.SIOCOUTQ)
	return err == nil && n > 0
}
