package edge

import (
	"syscall"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
	"github.com/evenkeel-lb/evenkeel/internal/resolve"
)

// connectElsewhere begins a connection to what is no IP address. A closed descriptor and no error: it takes
// a goroutine.
func (e *loops) connectElsewhere(at string) (fd.FD, error) {
	if why, nowhere := balance.Nowhere(at); nowhere {
		return fd.FD{}, &resolve.Unresolved{Why: why}
	}
	path, ok := balance.UnixPath(at)
	if !ok {
		return fd.FD{}, nil // a name, or addresses of both families
	}
	if err := e.edge.cfg.Inside.RefuseSocket(path); err != nil {
		return fd.FD{}, err
	}
	descriptor, err := fd.ConnectUnix(path)
	if err == syscall.EAGAIN {
		return fd.FD{}, nil // its queue is full, which is to be waited for
	}
	return descriptor.Move(), err
}

// whom is the server that connections of HTTP/2 were made for last.
type whom struct {
	pool   *pool
	server balance.ServerID
}

// retire has the connections take no more streams that lead to where the server was before.
func (l *loop) retire(of whom, now target) {
	for key, list := range l.stems {
		if list.of != of || key == now {
			continue
		}
		for len(list.stems) > 0 {
			list.stems[0].wilt()
		}
	}
}
