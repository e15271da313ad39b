package fd

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// tcpFlags is where a TCP header has its flags, and what two of them are (RFC 9293, 3.1).
const (
	tcpFlags = 13
	flagSYN  = 0x02
	flagACK  = 0x10
)

// noSYN is a filter that drops what would begin a connection, and nothing else.
var noSYN = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: tcpFlags},
	{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: flagACK, Jt: 2},
	{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: flagSYN, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	{Code: unix.BPF_RET | unix.BPF_K, K: ^uint32(0)},
}

// StopConnecting has the kernel begin no more connections to a TCP listener of package net, for as long as its socket exists. Connections
// that have begun are completed, and can be accepted. A client that tries to connect repeats it, and is refused once the socket is closed.
// It applies to all copies of the socket, in other processes too.
func StopConnecting(of any) error {
	open, ok := of.(syscall.Conn)
	if !ok {
		return errors.New("it has no descriptor")
	}
	lent, err := open.SyscallConn()
	if err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(noSYN)), Filter: &noSYN[0]}
	if bad := lent.Control(func(n uintptr) {
		err = unix.SetsockoptSockFprog(int(n), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program)
	}); bad != nil {
		return bad
	}
	return os.NewSyscallError("setsockopt", err)
}
