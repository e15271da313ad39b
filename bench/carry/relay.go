//go:build linux

package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	raw "github.com/evenkeel-lb/evenkeel/internal/fd"
)

// relay passes bytes between each client and a connection of its own to the backend and
// looks at none of them: two reads, two writes and a part of a wait, which is the least
// that a proxy can do that makes these calls. It keeps nothing back, so it is for
// messages that a socket's buffer takes whole, and says so if one does not fit.
type relay struct {
	epfd, listener int
	backend        int   // port
	other          []int // by descriptor: where what comes goes to; zero: it is no longer open
	buf            []byte
}

// relayed runs a relay, whose arguments are its own port and the backend's.
func relayed(ports []string) error {
	var of [2]int
	if n, err := fmt.Sscan(strings.Join(ports, " "), &of[0], &of[1]); err != nil {
		return fmt.Errorf("bare relay: %d of two ports: %w", n, err)
	}
	r, err := newRelay(of[0], of[1])
	if err != nil {
		return fmt.Errorf("bare relay: %w", err)
	}
	return r.run()
}

func newRelay(port, backend int) (*relay, error) {
	r := &relay{backend: backend, buf: make([]byte, 64<<10)}
	var err error
	if r.epfd, err = unix.EpollCreate1(0); err != nil {
		return nil, err
	}
	if r.listener, err = listen(port); err != nil {
		return nil, err
	}
	return r, watch(r.epfd, r.listener, unix.EPOLLIN, int32(r.listener), 0)
}

func (r *relay) run() error {
	runtime.LockOSThread()
	events := make([]unix.EpollEvent, 256)
	for {
		for _, ev := range events[:rawWait(r.epfd, events, -1)] {
			if err := r.ready(int(ev.Fd)); err != nil {
				return err
			}
		}
	}
}

func (r *relay) ready(fd int) error {
	if fd == r.listener {
		return r.accept()
	}
	to := r.other[fd]
	if to == 0 {
		return nil // closed by an event of the same wait
	}
	n, err := raw.Borrowed(fd).Receive(r.buf)
	switch {
	case err == unix.EAGAIN:
		return nil
	case n <= 0:
		r.other[fd], r.other[to] = 0, 0
		unix.Close(fd)
		unix.Close(to)
		return nil
	}
	if sent, err := raw.Borrowed(to).Send(r.buf[:n]); err == nil && sent < n || err == unix.EAGAIN {
		return fmt.Errorf("bare relay: %d of %d bytes sent: it is for messages that a socket's buffer takes whole", sent, n)
	}
	return nil // what else is wrong with a connection, the next read tells
}

// accept pairs a client with a connection to the backend.
func (r *relay) accept() error {
	client, _, err := unix.Accept4(r.listener, unix.SOCK_NONBLOCK)
	if err != nil {
		return nil // it has gone again
	}
	_ = unix.SetsockoptInt(client, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	server, err := dial(r.backend)
	if err != nil {
		return fmt.Errorf("bare relay: backend: %w", err)
	}
	if more := max(client, server) + 1 - len(r.other); more > 0 {
		r.other = append(r.other, slices.Repeat([]int{0}, more)...)
	}
	r.other[client], r.other[server] = server, client
	for _, fd := range []int{client, server} {
		// A message ends before the buffer does, so one read empties the socket.
		if err := watch(r.epfd, fd, unix.EPOLLIN|unix.EPOLLET, int32(fd), 0); err != nil {
			return fmt.Errorf("bare relay: %w", err)
		}
	}
	return nil
}
