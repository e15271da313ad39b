package edge

import "golang.org/x/sys/unix"

// hungUp tells whether the peer has closed its side, even if it has left something to
// be read.
func hungUp(fd uintptr) bool {
	list := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	n, err := unix.Poll(list[:], 0)
	return err == nil && n > 0
}
