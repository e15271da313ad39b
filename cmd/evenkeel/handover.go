package main

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

var errNoHandover = errors.New("this system cannot hand listeners over from the old settings of an edge to new ones: restart instead")

// lent is a second listener on a socket. The kernel keeps one queue for both, so what
// one does not accept the other does.
type lent struct {
	*net.TCPListener
	parked chan struct{} // closed: whoever accepts has come back for more, and waits
	closed chan struct{}

	parkOnce, closeOnce sync.Once

	mu      sync.Mutex
	stop    func() // how whoever accepts without Accept is told to stop; nil: nobody does
	parking bool
}

// OnPark is told how to stop whoever takes connections from the socket itself, without
// Accept. stop returns when no more will be taken.
func (l *lent) OnPark(stop func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stop = stop; l.parking {
		stop()
		l.parkOnce.Do(func() { close(l.parked) })
	}
}

// lend returns a second listener on the socket of l.
func lend(l net.Listener) (*lent, error) {
	if _, ok := l.(*net.TCPListener); !ok {
		return nil, errNoHandover
	}
	file, err := copyOf(l)
	if err != nil {
		return nil, errors.Join(errNoHandover, err)
	}
	defer func() { _ = file.Close() }() // the listener has a copy
	again, err := net.FileListener(file)
	if err != nil {
		return nil, errors.Join(errNoHandover, err)
	}
	return &lent{TCPListener: again.(*net.TCPListener), parked: make(chan struct{}), closed: make(chan struct{})}, nil
}

// Accept waits for a connection; once parked, for Close.
func (l *lent) Accept() (net.Conn, error) {
	c, err := l.TCPListener.Accept()
	if err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		l.parkOnce.Do(func() { close(l.parked) })
		<-l.closed
		return nil, net.ErrClosed
	}
	return c, err
}

// park stops taking connections and returns when all taken are in the hands of whoever
// accepts. A server told to stop between an accept and its next forgets the connection.
func (l *lent) park() {
	l.mu.Lock()
	stop := l.stop
	l.parking = true
	l.mu.Unlock()
	if stop != nil {
		stop()
		return
	}
	if l.SetDeadline(time.Unix(1, 0)) != nil {
		return // it is closed
	}
	select {
	case <-l.parked:
	case <-l.closed:
	}
}

// Close ends Accept.
func (l *lent) Close() error {
	l.closeOnce.Do(func() { close(l.closed) })
	return l.TCPListener.Close()
}
