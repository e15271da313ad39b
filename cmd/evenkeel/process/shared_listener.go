package process

import (
	"errors"
	"net"
	"sync"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

var errCannotShare = errors.New("this system cannot share listening sockets between old and new settings of an edge: restart instead")

// sharedListener is a second listener on a socket. The kernel keeps one queue for both, so what
// one does not accept the other does.
type sharedListener struct {
	*net.TCPListener
	of      net.Listener  // the first listener on the socket
	managed bool          // a service manager has the socket too
	paused  chan struct{} // closed once the edge, which had not begun to accept, has stopped
	closed  chan struct{}

	pauseOnce, closeOnce sync.Once

	mu      sync.Mutex
	stop    func() // makes the edge stop accepting; nil: it has not begun
	pausing bool
}

// OnPark takes the function that makes the edge stop accepting. It returns when the edge has stopped.
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

// stopConnecting has the kernel make no more connections, so that none is lost when the last listener of the socket is closed. A socket
// that a service manager has too keeps its connections.
func (l *sharedListener) stopConnecting() {
	if !l.managed {
		_ = fd.StopConnecting(l.TCPListener) // without it, connections of the last moment are reset
	}
}

// Close ends Accept.
func (l *sharedListener) Close() error {
	l.closeOnce.Do(func() { close(l.closed) })
	return l.TCPListener.Close()
}
