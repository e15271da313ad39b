package edge

import (
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// pipeSize is how much one move inside the kernel takes at most, in bytes.
const pipeSize = 1 << 20

type pipe = fd.Pipe

// pipes are where bytes are that move from one connection to another without being copied
// here. They are kept for the next move of the same loop, and empty meanwhile.
type pipes struct {
	free []*pipe
}

const maxFreePipes = 16

// take returns nil if the system has none to give.
func (ps *pipes) take() *pipe {
	if n := len(ps.free); n > 0 {
		p := ps.free[n-1]
		ps.free = ps.free[:n-1]
		return p
	}
	return fd.NewPipe(pipeSize)
}

// put takes a pipe back; one with something in it is thrown away.
func (ps *pipes) put(p *pipe, empty bool) {
	if p == nil {
		return
	}
	if empty && len(ps.free) < maxFreePipes {
		ps.free = append(ps.free, p)
		return
	}
	p.Close()
}

func (ps *pipes) close() {
	for _, p := range ps.free {
		p.Close()
	}
	ps.free = nil
}
