//go:build !linux

package fd

import "syscall"

// Control is a net.Dialer's. This system knows no UserTimeout.
func (o *TCPOptions) Control(_, _ string, _ syscall.RawConn) error { return nil }
