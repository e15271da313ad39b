//go:build !unix

package fd

// Borrowed is what Go's runtime owns and lends for the length of a callback. Nothing is known of it here: that a
// peer has gone is found out when something is read or written.
type Borrowed uintptr

// HungUp would report whether the peer has closed its side.
func (Borrowed) HungUp() bool { return false }

// Broken would report whether the peer has broken the connection off.
func (Borrowed) Broken() bool { return false }

// Unacked would report whether the peer's machine has not yet taken all that was sent.
func (Borrowed) Unacked() bool { return false }
