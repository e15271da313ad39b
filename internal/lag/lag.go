// Package lag has a TCP proxy that makes a link slow. Tests and benchmarks use it.
package lag

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy carries connections to an address. What it carries, either way, arrives later by some time, and in order.
type Proxy struct {
	listener net.Listener
	to       string
	by       atomic.Int64 // a time.Duration, each way
	running  sync.WaitGroup

	mu     sync.Mutex
	open   map[net.Conn]struct{}
	closed bool
}

// dialTime is how long a connection to the address may take.
const dialTime = 2 * time.Second

// Listen begins a proxy at one address to another, without any delay.
func Listen(at, to string) (*Proxy, error) {
	l, err := net.Listen("tcp", at)
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, to: to, open: make(map[net.Conn]struct{})}
	p.running.Go(p.accept)
	return p, nil
}

// Addr returns the address at which the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Set sets the delay of what comes from now on. What came before is not overtaken.
func (p *Proxy) Set(by time.Duration) { p.by.Store(int64(by)) }

// Close closes the proxy and all its connections.
func (p *Proxy) Close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for c := range p.open {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.running.Wait()
}

func (p *Proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.join(near) })
	}
}

// join carries both ways until one end has closed.
func (p *Proxy) join(near net.Conn) {
	defer p.keep(near)()
	far, err := net.DialTimeout("tcp", p.to, dialTime)
	if err != nil {
		return // the client sees its connection closed, as by a peer that is not there
	}
	defer p.keep(far)()
	var back sync.WaitGroup
	back.Go(func() { p.carry(near, far) })
	p.carry(far, near)
	back.Wait()
}

// keep has a connection closed with the proxy, if that is not closed already. done closes it at once.
func (p *Proxy) keep(c net.Conn) (done func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = c.Close()
	}
	p.open[c] = struct{}{}
	return func() {
		_ = c.Close()
		p.mu.Lock()
		delete(p.open, c)
		p.mu.Unlock()
	}
}

// part is bytes and when they are to arrive.
type part struct {
	bytes []byte
	due   time.Time
}

// carry copies from one end to the other until either has closed. Then it closes both, when all that came has arrived.
func (p *Proxy) carry(dst, src net.Conn) {
	parts := make(chan part, 1024)
	var writing sync.WaitGroup
	writing.Go(func() {
		defer src.Close()
		defer dst.Close()
		for c := range parts {
			time.Sleep(time.Until(c.due))
			if _, err := dst.Write(c.bytes); err != nil {
				_ = src.Close() // which ends the reading
			}
		}
	})
	for {
		buf := make([]byte, 32<<10)
		n, err := src.Read(buf)
		if n > 0 {
			parts <- part{buf[:n], time.Now().Add(time.Duration(p.by.Load()))}
		}
		if err != nil {
			break
		}
	}
	close(parts)
	writing.Wait()
}
