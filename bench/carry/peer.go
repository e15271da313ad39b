//go:build linux

package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// peer is the process of generator and backend, each a thread on raw epoll.
func peer(conns int) {
	runtime.GOMAXPROCS(3)
	port := make(chan int)
	go backend(port)
	out := json.NewEncoder(os.Stdout)
	must(out.Encode(<-port))
	runtime.LockOSThread()
	var kept []int
	for in := json.NewDecoder(os.Stdin); ; {
		var o order
		if in.Decode(&o) != nil {
			return
		}
		var r result
		var err error
		if o.Keep != 0 {
			kept, err = keep(o, kept)
		} else if o.Secure {
			r, err = generateSecure(o, cmp.Or(o.Conns, conns))
		} else {
			r, err = generate(o, cmp.Or(o.Conns, conns))
		}
		if err != nil {
			r.Error = err.Error()
		}
		must(out.Encode(r))
	}
}

var endOfHead = []byte("\r\n\r\n")

// backend answers every request by its path, forever.
func backend(port chan<- int) {
	runtime.LockOSThread()
	answers := make(map[string][]byte)
	for _, l := range loads {
		answers[l.path] = fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", l.body, strings.Repeat("x", l.body))
	}
	answers["/"] = answers["/small"]
	lfd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	must(err)
	must(unix.Bind(lfd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(unix.Listen(lfd, 4096))
	name, err := unix.Getsockname(lfd)
	must(err)
	port <- name.(*unix.SockaddrInet4).Port
	epfd, err := unix.EpollCreate1(0)
	must(err)
	must(unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, lfd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(lfd)}))
	left := make(map[int][]byte) // of answers, by connection
	buf, events := make([]byte, 64<<10), make([]unix.EpollEvent, 256)
	for {
		n, err := unix.EpollWait(epfd, events, -1)
		if err == unix.EINTR {
			continue
		}
		must(err)
		for _, ev := range events[:n] {
			fd := int(ev.Fd)
			if fd == lfd {
				acceptAll(epfd, lfd)
				continue
			}
			if rest := left[fd]; len(rest) > 0 {
				left[fd] = push(fd, rest)
			}
			n, err := unix.Read(fd, buf)
			if err == unix.EAGAIN {
				continue
			}
			if n <= 0 {
				delete(left, fd)
				unix.Close(fd)
				continue
			}
			path, _, _ := bytes.Cut(buf[len("GET "):n], []byte(" "))
			left[fd] = push(fd, answers[string(path)])
		}
	}
}

func acceptAll(epfd, lfd int) {
	for {
		fd, _, err := unix.Accept4(lfd, unix.SOCK_NONBLOCK)
		if err != nil {
			return
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		must(unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLET | unix.EPOLLRDHUP, Fd: int32(fd)}))
	}
}

// push writes what it can and returns the rest.
func push(fd int, p []byte) []byte {
	for len(p) > 0 {
		n, err := unix.Write(fd, p)
		if err != nil {
			return p
		}
		p = p[n:]
	}
	return nil
}

// client is one connection of the generator with a request under way.
type client struct {
	fd    int
	since time.Time
	left  int // octets of the response; -1: its head has not come
	part  []byte
}

// silence is how long nothing may come, in ms. A machine that does other things
// besides takes its time.
const silence = 10_000

// generate keeps every connection busy with one request at a time.
func generate(o order, conns int) (r result, err error) {
	request := o.request()
	epfd, err := unix.EpollCreate1(0)
	if err != nil {
		return r, err
	}
	defer unix.Close(epfd)
	clients := make([]*client, conns)
	for i := range clients {
		fd, err := dial(o.Port)
		if err != nil {
			return r, err
		}
		defer unix.Close(fd)
		clients[i] = &client{fd: fd}
		if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}); err != nil {
			return r, err
		}
		if err := clients[i].ask(request, time.Now()); err != nil {
			return r, err
		}
	}
	buf, events, took := make([]byte, 256<<10), make([]unix.EpollEvent, conns), make([]time.Duration, 0, 1<<17)
	begin := time.Now()
	for now := begin; now.Sub(begin) < o.For || len(took) == 0; {
		n, err := unix.EpollWait(epfd, events, silence)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return r, err
		}
		if n == 0 {
			return r, fmt.Errorf("nothing came for %d ms", silence)
		}
		now = time.Now()
		for _, ev := range events[:n] {
			c := clients[ev.Fd]
			whole, err := c.read(buf, o.Body)
			if err != nil {
				return r, err
			}
			if !whole {
				continue
			}
			took = append(took, now.Sub(c.since))
			if err := c.ask(request, now); err != nil {
				return r, err
			}
		}
	}
	r.Took, r.Requests = time.Since(begin), len(took)
	slices.Sort(took)
	r.P50, r.P99 = float64(took[len(took)/2])/1e3, float64(took[len(took)*99/100])/1e3
	return r, nil
}

// keep opens connections, has all of them ask at once a few times, and leaves them
// open; or closes them.
func keep(o order, kept []int) ([]int, error) {
	for _, fd := range kept {
		unix.Close(fd)
	}
	kept = kept[:0]
	var clients []*client
	for range o.Keep {
		fd, err := dial(o.Port)
		if err != nil {
			return kept, err
		}
		kept = append(kept, fd)
		clients = append(clients, &client{fd: fd})
	}
	buf := make([]byte, 64<<10)
	for range 3 {
		for _, c := range clients {
			if err := c.ask(o.request(), time.Now()); err != nil {
				return kept, err
			}
		}
		for _, c := range clients {
			for whole := false; !whole; {
				_, err := unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}, silence)
				if err == nil {
					whole, err = c.read(buf, o.Body)
				}
				if err != nil && err != unix.EINTR {
					return kept, err
				}
			}
		}
	}
	return kept, nil
}

func (o *order) request() []byte {
	request := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: bench.example\r\n", o.Path)
	for i := range o.Headers {
		request = fmt.Appendf(request, "X-Header-Number-%d: a value of some thirty-two octets\r\n", i)
	}
	return append(request, "\r\n"...)
}

func dial(port int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return 0, err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte(net.IPv4(127, 0, 0, 1).To4())}); err != nil {
		unix.Close(fd)
		return 0, err
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	return fd, unix.SetNonblock(fd, true)
}

func (c *client) ask(request []byte, now time.Time) error {
	c.since, c.left, c.part = now, -1, c.part[:0]
	if n, err := unix.Write(c.fd, request); err != nil || n < len(request) {
		return fmt.Errorf("request: %d octets written: %v", n, err)
	}
	return nil
}

// read takes what has come and tells whether the response is whole.
func (c *client) read(buf []byte, body int) (bool, error) {
	n, err := unix.Read(c.fd, buf)
	if err == unix.EAGAIN {
		return false, nil
	}
	if n <= 0 {
		return false, fmt.Errorf("response: %d octets: %v", n, err)
	}
	if c.left < 0 {
		c.part = append(c.part, buf[:n]...)
		end := bytes.Index(c.part, endOfHead)
		if end < 0 {
			return false, nil
		}
		if !bytes.HasPrefix(c.part, []byte("HTTP/1.1 200")) {
			return false, fmt.Errorf("response: %.200q", c.part)
		}
		c.left, n = body, len(c.part)-end-len(endOfHead)
	}
	if c.left -= n; c.left < 0 {
		return false, fmt.Errorf("response: %d octets too many", -c.left)
	}
	return c.left == 0, nil
}
