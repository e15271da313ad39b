package edge

import "golang.org/x/sys/unix"

// hungUp tells whether the peer has closed its side, even if it has left something to
// be read.
func hungUp(fd uintptr) bool {
	list := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(list[:], 0)
	return err == nil && n > 0
}

// broken tells whether the peer has broken the connection off. That it has closed its
// side is no such thing.
func broken(fd uintptr) bool {
	list := [1]unix.PollFd{{Fd: int32(fd)}}
	n, err := unix.Poll(list[:], 0)
	return err == nil && n > 0
}

// unacked tells whether the peer's machine has not yet taken all that was sent.
func unacked(fd uintptr) bool {
	n, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
	return err == nil && n > 0
}
