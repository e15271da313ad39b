//go:build unix && !linux

package fd

import "syscall"

// Borrowed is the number of a descriptor that another owns: a syscall.RawConn lends it for
// the length of a callback, and it must not be kept.
type Borrowed uintptr

// Broken reports whether the peer has broken the connection off, if it has left nothing
// to be read.
func (b Borrowed) Broken() bool {
	var one [1]byte
	_, _, err := syscall.Recvfrom(int(b), one[:], syscall.MSG_PEEK)
	return err == syscall.ECONNRESET
}

// Unacked would report whether the peer's machine has not yet taken all that was sent.
func (Borrowed) Unacked() bool { return false }
