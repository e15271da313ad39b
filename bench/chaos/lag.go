//go:build linux

package main

import (
	"net"
	"sync/atomic"
	"time"
)

// lag is a proxy that can be slow: what it carries comes so much later, in order.
type lag struct {
	listener net.Listener
	to       string
	by       atomic.Int64 // nanoseconds, each way
}

func newLag(at, to string) (*lag, error) {
	l, err := net.Listen("tcp", at)
	if err != nil {
		return nil, err
	}
	g := &lag{listener: l, to: to}
	go g.accept()
	return g, nil
}

func (g *lag) set(by time.Duration) { g.by.Store(int64(by)) }

// accept ends with the program.
func (g *lag) accept() {
	for {
		conn, err := g.listener.Accept()
		if err != nil {
			return
		}
		go g.join(conn)
	}
}

func (g *lag) join(near net.Conn) {
	far, err := net.DialTimeout("tcp", g.to, 2*time.Second)
	if err != nil {
		_ = near.Close() // as who cannot be reached
		return
	}
	go g.carry(near, far)
	g.carry(far, near)
}

// chunk is bytes and when they are to arrive.
type chunk struct {
	bytes []byte
	due   time.Time
}

// carry copies until one end has closed, and then closes both.
func (g *lag) carry(dst, src net.Conn) {
	under := make(chan chunk, 256)
	go func() {
		defer src.Close()
		defer dst.Close()
		for c := range under {
			time.Sleep(time.Until(c.due))
			if _, err := dst.Write(c.bytes); err != nil {
				_ = src.Close() // which ends the reading
			}
		}
	}()
	defer close(under)
	for {
		buffer := make([]byte, 16<<10)
		n, err := src.Read(buffer)
		if n > 0 {
			under <- chunk{buffer[:n], time.Now().Add(time.Duration(g.by.Load()))}
		}
		if err != nil {
			return
		}
	}
}
