package fd

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Control is a net.Dialer's: it sets UserTimeout, of which package net knows nothing.
func (o *TCPOptions) Control(_, _ string, c syscall.RawConn) error {
	return c.Control(func(n uintptr) { setPositive(int(n), unix.TCP_USER_TIMEOUT, int(o.UserTimeout.Milliseconds())) })
}

func setPositive(n, option, value int) (ok bool) {
	return value <= 0 || unix.SetsockoptInt(n, unix.IPPROTO_TCP, option, value) == nil
}
