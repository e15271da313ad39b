package edge

import (
	"io"
	"sync"

	"golang.org/x/sys/unix"
)

// pipeSize is how much one move inside the kernel takes at most, in octets.
const pipeSize = 1 << 20

// pipe is where octets are that move from one connection to another without being
// seen here. It is empty while nobody uses it.
type pipe struct{ from, to int }

// pipes are kept for the next move.
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
	var fds [2]int
	if unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
		return nil
	}
	_, _ = unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, pipeSize) // a smaller one does too
	return &pipe{fds[0], fds[1]}
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
	p.close()
}

func (ps *pipes) close() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, p := range ps.free {
		p.close()
	}
	ps.free = nil
}

func (p *pipe) close() {
	_ = unix.Close(p.from)
	_ = unix.Close(p.to)
}

// move moves up to limit octets and returns how many have reached dst. readErr is
// io.EOF when src has no more. moved is told of each piece.
func (p *pipe) move(dst, src *side, limit int64, moved func(int64)) (readErr, writeErr error) {
	for limit > 0 {
		var n int64
		src.awaitRead()
		if readErr = splice(src.raw.Read, func(fd uintptr) (err error) {
			n, err = unix.Splice(int(fd), nil, p.to, nil, int(min(limit, pipeSize)), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
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
			if writeErr = splice(dst.raw.Write, func(fd uintptr) (err error) {
				m, err = unix.Splice(p.from, nil, int(fd), nil, int(n), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
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
func splice(wait func(func(uintptr) bool) error, once func(fd uintptr) error) error {
	var err error
	waited := wait(func(fd uintptr) bool {
		for {
			if err = once(fd); err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	if waited != nil {
		return waited
	}
	return err
}
