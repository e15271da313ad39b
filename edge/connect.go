package edge

import (
	"syscall"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
	"github.com/evenkeel-lb/evenkeel/internal/resolve"
)

// connectByName begins a connection to an address that is not an IP address. A closed descriptor and no error:
// it takes a goroutine.
func (e *loopEngine) connectByName(at string) (fd.FD, error) {
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
		return fd.FD{}, nil // the server's queue is full, so a goroutine waits
	}
	return descriptor.Move(), err
}

// serverRef names a server, for HTTP/2 connections.
type serverRef struct {
	pool   *pool
	server balance.ServerID
}

// drainStale drains connections to a server's earlier address.
func (l *loop) drainStale(of serverRef, now target) {
	for key, list := range l.h2Conns {
		if list.server != of || key == now {
			continue
		}
		for len(list.conns) > 0 {
			list.conns[0].drain()
		}
	}
}
