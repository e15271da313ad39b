//go:build unix && !linux

package edge

import "syscall"

// hungUp tells whether the peer has closed its side, if it has left nothing to be read.
func hungUp(fd uintptr) bool {
	var b [1]byte
	n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
	return err == nil && n == 0 || err == syscall.ECONNRESET
}

// broken tells whether the peer has broken the connection off, if it has left nothing
// to be read.
func broken(fd uintptr) bool {
	var b [1]byte
	_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
	return err == syscall.ECONNRESET
}

// unacked would tell whether the peer's machine has not yet taken all that was sent.
func unacked(uintptr) bool { return false }
