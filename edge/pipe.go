package edge

import (
	"io"
	"sync"
	"syscall"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// pipeSize is how much one move inside the kernel takes at most, in bytes.
const pipeSize = 1 << 20

// pipe is what other systems have not.
type pipe = fd.Pipe

// pipes are where bytes are that move from one connection to another without being copied
// here. They are kept for the next move, and empty meanwhile.
type pipes struct {
	mu   sync.Mutex
	free []*pipe
}

const mostFreePipes = 16

// take returns nil if the system has none to give.
func (ps *pipes) take() *pipe {
	ps.mu.Lock()
	defer ps.mu.Unlock()
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
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if empty && len(ps.free) < mostFreePipes {
		ps.free = append(ps.free, p)
		return
	}
	p.Close()
}

func (ps *pipes) close() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, p := range ps.free {
		p.Close()
	}
	ps.free = nil
}

// move moves up to limit bytes and returns how many have reached dst. readErr is
// io.EOF when src has no more. moved is told of each piece.
func move(p *pipe, dst, src *side, limit int64, moved func(int64)) (readErr, writeErr error) {
	for limit > 0 {
		var n int64
		src.awaitRead()
		if readErr = splice(src.raw.Read, func(lent fd.Borrowed) (err error) {
			n, err = p.FillBorrowed(lent, min(limit, pipeSize))
			return err
		}); readErr != nil {
			return readErr, nil
		}
		if n == 0 {
			return io.EOF, nil
		}
		limit -= n
		for n > 0 {
			var m int64
			dst.awaitWrite()
			if writeErr = splice(dst.raw.Write, func(lent fd.Borrowed) (err error) {
				m, err = p.DrainBorrowed(lent, n)
				return err
			}); writeErr != nil {
				return nil, writeErr
			}
			n -= m
			moved(m)
		}
	}
	return nil, nil
}

// splice calls once whenever wait finds that it may do something, until it does.
func splice(wait func(func(uintptr) bool) error, once func(fd.Borrowed) error) error {
	var err error
	waited := wait(func(lent uintptr) bool {
		err = once(fd.Borrowed(lent))
		return err != syscall.EAGAIN
	})
	if waited != nil {
		return waited
	}
	return err
}
