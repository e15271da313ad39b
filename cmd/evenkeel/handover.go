package main

import (
	"errors"
	"net"
	"sync"
)

var errNoHandover = errors.New("this system cannot hand listeners over from the old settings of an edge to new ones: restart instead")

// lent is a second listener on a socket. The kernel keeps one queue for both, so what
// one does not accept the other does.
type lent struct {
	*net.TCPListener
	parked chan struct{} // closed: the edge was told to stop before it had begun, and has
	closed chan struct{}

	parkOnce, closeOnce sync.Once

	mu      sync.Mutex
	stop    func() // how the edge that accepts is told to stop; nil: none does
	parking bool
}

// OnPark is told how to have the edge take no more connections. stop returns when it does not.
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

// park has the edge take no more connections, and returns when it has all that were taken.
func (l *lent) park() {
	l.mu.Lock()
	stop := l.stop
	l.parking = true
	l.mu.Unlock()
	if stop != nil {
		stop()
		return
	}
	select { // it has not begun
	case <-l.parked:
	case <-l.closed:
	}
}

// Close ends Accept.
func (l *lent) Close() error {
	l.closeOnce.Do(func() { close(l.closed) })
	return l.TCPListener.Close()
}
