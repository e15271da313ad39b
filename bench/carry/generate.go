//go:build linux

package main

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	raw "github.com/evenkeel-lb/evenkeel/internal/fd"
)

// drive is one order for the generator, owned by the hub from when it was sent until done
// is closed.
type drive struct {
	order
	request []byte
	clients []*client
	begin   time.Time
	heard   time.Time // when something came last
	end     time.Time
	took    []time.Duration
	err     error
	done    chan struct{}
}

// generate keeps every connection busy with one request at a time.
func (h *hub) generate(o order, conns int) (r result, err error) {
	d := &drive{order: o, request: o.request(), took: make([]time.Duration, 0, 1<<17), done: make(chan struct{})}
	if err := d.open(conns); err != nil {
		d.close()
		return r, err
	}
	h.orders <- d
	if _, err := unix.Write(h.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		return r, err
	}
	<-d.done
	if d.err != nil {
		return r, d.err
	}
	r.Took, r.Requests = d.end.Sub(d.begin), len(d.took)
	slices.Sort(d.took)
	r.P50, r.P99 = float64(d.took[len(d.took)/2])/1e3, float64(d.took[len(d.took)*99/100])/1e3
	return r, nil
}

func (d *drive) open(conns int) error {
	for range conns {
		fd, err := dial(d.Port)
		if err != nil {
			return err
		}
		d.clients = append(d.clients, &client{fd: fd})
	}
	return nil
}

func (d *drive) close() {
	for _, c := range d.clients {
		unix.Close(c.fd)
	}
}

func (d *drive) ready(c *client, buf []byte, now time.Time) error {
	if err := c.send(); err != nil {
		return err
	}
	whole, err := c.read(buf, d.Body)
	if err != nil || !whole {
		return err
	}
	d.took = append(d.took, now.Sub(c.since))
	return c.ask(d.request, now)
}

var endOfHead = []byte("\r\n\r\n")

// client is one connection of the generator with a request under way.
type client struct {
	fd    int
	since time.Time
	left  int // bytes of the response; -1: its head has not come
	part  []byte

	unsent []byte // of the request
}

func (o *order) request() []byte {
	method := "GET"
	if o.Post > 0 {
		method = "POST"
	}
	request := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: bench.example\r\n", method, o.Path)
	for i := range o.Headers {
		request = fmt.Appendf(request, "X-Header-Number-%d: a value of some thirty-two bytes\r\n", i)
	}
	if o.Post > 0 {
		request = fmt.Appendf(request, "Content-Length: %d\r\n", o.Post)
	}
	return append(append(request, "\r\n"...), bytes.Repeat([]byte("x"), o.Post)...)
}

func (c *client) ask(request []byte, now time.Time) error {
	c.since, c.left, c.part, c.unsent = now, -1, c.part[:0], request
	return c.send()
}

// send sends what the socket takes of the request.
func (c *client) send() error {
	for len(c.unsent) > 0 {
		n, err := raw.Borrowed(c.fd).Send(c.unsent)
		if err == unix.EAGAIN {
			return nil
		}
		if err != nil {
			return fmt.Errorf("request: %d bytes not written: %v", len(c.unsent), err)
		}
		c.unsent = c.unsent[n:]
	}
	return nil
}

// read takes what has come and reports whether the response is whole.
func (c *client) read(buf []byte, body int) (bool, error) {
	n, err := raw.Borrowed(c.fd).Receive(buf)
	if err == unix.EAGAIN {
		return false, nil
	}
	if n <= 0 {
		return false, fmt.Errorf("response: %d bytes: %v", n, err)
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
		return false, fmt.Errorf("response: %d bytes too many", -c.left)
	}
	return c.left == 0, nil
}

// events is what a connection is watched for. What a socket does not take of a request at once goes on
// when it has room, which is told at its edge: most requests fit, and need no telling.
func (d *drive) events() uint32 {
	if d.Post > 0 {
		return unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLET
	}
	return unix.EPOLLIN
}
