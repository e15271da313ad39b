//go:build !evenkeel_portable

package fd

import (
	"time"

	"golang.org/x/sys/unix"
)

// SetTCPOptions sets no delay, keep-alive, and o. Without them all is as right: only slower,
// and a peer that vanished is noticed later. What a listener accepts inherits them. all
// reports whether the socket has taken each: one of Multipath TCP has no UserTimeout, though the
// connections of plain TCP that it accepts have.
func (f *FD) SetTCPOptions(o *TCPOptions) (all bool) {
	n := f.number()
	if n < 0 {
		return false
	}
	_ = unix.SetsockoptInt(n, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = unix.SetsockoptInt(n, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	f.SetKeepalive(o)
	return setPositive(n, unix.TCP_USER_TIMEOUT, int(o.UserTimeout.Milliseconds()))
}

// SetKeepalive sets o's keep-alive times again, because package net sets its own on a
// socket that it is handed.
func (f *FD) SetKeepalive(o *TCPOptions) {
	n := f.number()
	if n < 0 {
		return
	}
	setPositive(n, unix.TCP_KEEPIDLE, wholeSeconds(o.KeepaliveIdle))
	setPositive(n, unix.TCP_KEEPINTVL, wholeSeconds(o.KeepaliveInterval))
	setPositive(n, unix.TCP_KEEPCNT, o.KeepaliveCount)
}

// wholeSeconds rounds up, as a second is the least the system knows.
func wholeSeconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
