package process

import (
	"errors"
	"net"
	"sync"
)

var errCannotShare = errors.New("this system cannot share listening sockets between old and new settings of an edge: restart instead")

// sharedListener is a second listener on a socket. The kernel keeps one queue for both, so what
// one does not accept the other does.
type sharedListener struct {
	*net.TCPListener
	paused chan struct{} // closed: the edge was told to stop before it had begun, and has
	closed chan struct{}

	pauseOnce, closeOnce sync.Once

	mu      sync.Mutex
	stop    func() // how the edge that accepts is told to stop; nil: none does
	pausing bool
}

// OnPark is told how to have the edge take no more connections. stop returns when it does not.
func (l *sharedListener) OnPark(stop func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stop = stop; l.pausing {
		stop()
		l.pauseOnce.Do(func() { close(l.paused) })
	}
}

// shareListener returns a second listener on the socket of l.
func shareListener(l net.Listener) (*sharedListener, error) {
	if _, ok := l.(*net.TCPListener); !ok {
		return nil, errCannotShare
	}
	file, err := duplicate(l)
	if err != nil {
		return nil, errors.Join(errCannotShare, err)
	}
	defer func() { _ = file.Close() }() // the listener has a copy
	again, err := net.FileListener(file)
	if err != nil {
		return nil, errors.Join(errCannotShare, err)
	}
	return &sharedListener{TCPListener: again.(*net.TCPListener), paused: make(chan struct{}), closed: make(chan struct{})}, nil
}

// pause makes the edge take no more connections, and returns when it has all that were taken.
func (l *sharedListener) pause() {
	l.mu.Lock()
	stop := l.stop
	l.pausing = true
	l.mu.Unlock()
	if stop != nil {
		stop()
		return
	}
	select { // it has not begun
	case <-l.paused:
	case <-l.closed:
	}
}

// Close ends Accept.
func (l *sharedListener) Close() error {
	l.closeOnce.Do(func() { close(l.closed) })
	return l.TCPListener.Close()
}
