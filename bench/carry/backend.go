//go:build linux

package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	raw "github.com/evenkeel-lb/evenkeel/internal/fd"
)

// backend answers every request by its path.
type backend struct {
	listener int
	port     int
	answers  map[string][]byte
	left     map[int][]byte // of answers that have not been written whole, by connection
	bodies   map[int]*posted
}

// posted is a request whose body has not come whole.
type posted struct {
	answer []byte
	left   int // bytes of the body
}

func newBackend() backend {
	b := backend{answers: make(map[string][]byte), left: make(map[int][]byte), bodies: make(map[int]*posted)}
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
	n, err := raw.Borrowed(fd).Receive(buf)
	for b.takes(fd, buf[:max(0, n)]) {
		n, err = raw.Borrowed(fd).Receive(buf)
	}
	if err == unix.EAGAIN {
		return
	}
	if n <= 0 {
		delete(b.left, fd)
		delete(b.bodies, fd)
		unix.Close(fd)
		return
	}
	path, _, _ := bytes.Cut(bytes.TrimPrefix(buf[:n], []byte("GET ")), []byte(" "))
	b.push(fd, b.answers[string(path)])
}

// takes takes what belongs to a request with a body, and reports whether it was that.
func (b *backend) takes(fd int, p []byte) bool {
	at := b.bodies[fd]
	switch {
	case len(p) == 0 || at == nil && !bytes.HasPrefix(p, []byte("POST ")):
		return false
	case at == nil:
		end := bytes.Index(p, endOfHead)
		path, _, _ := bytes.Cut(p[len("POST "):], []byte(" "))
		_, length, _ := bytes.Cut(bytes.ToLower(p[:max(0, end)]), []byte("\r\ncontent-length: "))
		length, _, _ = bytes.Cut(length, []byte("\r\n"))
		size, err := strconv.Atoi(string(length))
		must(err) // every proxy sends a head at once, with its length
		at = &posted{b.answers[string(path)], size}
		b.bodies[fd] = at
		p = p[end+len(endOfHead):]
	}
	if at.left -= len(p); at.left <= 0 {
		delete(b.bodies, fd)
		b.push(fd, at.answer)
	}
	return true
}

// push writes what it can, keeps the rest, and reports whether there is none.
func (b *backend) push(fd int, p []byte) (whole bool) {
	for len(p) > 0 {
		n, err := raw.Borrowed(fd).Send(p)
		if err != nil {
			b.left[fd] = p
			return false
		}
		p = p[n:]
	}
	return true
}
