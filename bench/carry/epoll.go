//go:build linux

package main

import (
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// listen opens a listener on loopback; port zero leaves it to the system.
func listen(port int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err == nil {
		err = unix.Bind(fd, loopback(port))
	}
	if err == nil {
		err = unix.Listen(fd, 4096)
	}
	if err != nil {
		unix.Close(fd)
	}
	return fd, err
}

// dial opens a connection whose descriptor does not block.
func dial(port int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return 0, err
	}
	if err := unix.Connect(fd, loopback(port)); err != nil {
		unix.Close(fd)
		return 0, err
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	return fd, unix.SetNonblock(fd, true)
}

func loopback(port int) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Port: port, Addr: [4]byte(net.IPv4(127, 0, 0, 1).To4())}
}

// watch adds a descriptor. Events bring back its number and the mark.
func watch(epfd, fd int, events uint32, number, mark int32) error {
	return unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: number, Pad: mark})
}

// look tells how many events there are, without waiting and without the scheduler's knowledge.
func look(epfd int, events []unix.EpollEvent) int { return rawWait(epfd, events, 0) }

// rawWait waits so many ms, or for good if that is negative. The scheduler does not know
// of it, so it is for threads without which nothing else goes on. It may return early.
func rawWait(epfd int, events []unix.EpollEvent, ms int) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(ms), 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}
