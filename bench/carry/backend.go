//go:build linux

package main

import (
	"bytes"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/evenkeel-lb/evenkeel/internal/raw"
)

// backend answers every request by its path.
type backend struct {
	listener int
	port     int
	answers  map[string][]byte
	left     map[int][]byte // of answers that have not been written whole, by connection
}

func newBackend() backend {
	b := backend{answers: make(map[string][]byte), left: make(map[int][]byte)}
	for _, l := range loads {
		b.answers[l.path] = fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", l.body, strings.Repeat("x", l.body))
	}
	b.answers["/"] = b.answers["/small"]
	return b
}

func (b *backend) open() (err error) {
	if b.listener, err = listen(0); err != nil {
		return err
	}
	name, err := unix.Getsockname(b.listener)
	if err == nil {
		b.port = name.(*unix.SockaddrInet4).Port
	}
	return err
}

func (b *backend) accept(epfd int) {
	for {
		fd, _, err := unix.Accept4(b.listener, unix.SOCK_NONBLOCK)
		if err == unix.EAGAIN {
			return
		}
		must(err)
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		must(watch(epfd, fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLET|unix.EPOLLRDHUP, int32(fd), ofServing))
	}
}

// answer goes on with a response, or begins the next.
func (b *backend) answer(fd int, buf []byte) {
	if rest, ok := b.left[fd]; ok && b.push(fd, rest) {
		delete(b.left, fd)
	}
	n, err := raw.Receive(fd, buf)
	if err == unix.EAGAIN {
		return
	}
	if n <= 0 {
		delete(b.left, fd)
		unix.Close(fd)
		return
	}
	path, _, _ := bytes.Cut(bytes.TrimPrefix(buf[:n], []byte("GET ")), []byte(" "))
	b.push(fd, b.answers[string(path)])
}

// push writes what it can, keeps the rest, and tells whether there is none.
func (b *backend) push(fd int, p []byte) (whole bool) {
	for len(p) > 0 {
		n, err := raw.Send(fd, p)
		if err != nil {
			b.left[fd] = p
			return false
		}
		p = p[n:]
	}
	return true
}
