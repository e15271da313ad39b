//go:build !unix

package fd

import "syscall"

// canBorrow is set if a connection's descriptor can be had, and asked.
const canBorrow = false

// Borrowed is what Go's runtime owns and lends for the length of a callback. Nothing is known of it here: that a
// peer has gone is found out when something is read or written.
type Borrowed uintptr

// Read returns EINVAL.
func (Borrowed) Read([]byte) (int, error) { return 0, syscall.EINVAL }

// Broken would report whether the peer has broken the connection off.
func (Borrowed) Broken() bool { return false }

// Unacked would report whether the peer's machine has not yet taken all that was sent.
func (Borrowed) Unacked() bool { return false }
