package eventloop

import (
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// pipeSize bounds one move in the kernel, in bytes.
const pipeSize = 1 << 20

type pipe = fd.Pipe

// PipePool are the free pipes of a loop, through which bytes move between connections in the kernel.
type PipePool struct {
	free []*pipe
}

const maxFreePipes = 16

// take returns nil if the system has none left.
func (ps *PipePool) take() *pipe {
	if n := len(ps.free); n > 0 {
		p := ps.free[n-1]
		ps.free = ps.free[:n-1]
		return p
	}
	return fd.NewPipe(pipeSize)
}

// put frees a pipe; one that is not empty is closed.
func (ps *PipePool) put(p *pipe, empty bool) {
	if p == nil {
		return
	}
	if empty && len(ps.free) < maxFreePipes {
		ps.free = append(ps.free, p)
		return
	}
	p.Close()
}

func (ps *PipePool) close() {
	for _, p := range ps.free {
		p.Close()
	}
	ps.free = nil
}
