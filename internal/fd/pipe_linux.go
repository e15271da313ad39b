//go:build !evenkeel_portable

package fd

import "golang.org/x/sys/unix"

// Pipe is where bytes are that move from one socket to another without being copied to
// user space. It has one owner, as an FD has.
type Pipe struct{ from, to FD }

// NewPipe returns a pipe that takes about size bytes; nil: the system has none to give.
func NewPipe(size int) *Pipe {
	var n [2]int
	if unix.Pipe2(n[:], unix.O_CLOEXEC|unix.O_NONBLOCK) != nil {
		return nil
	}
	_, _ = unix.FcntlInt(uintptr(n[1]), unix.F_SETPIPE_SZ, size) // a smaller one does too
	return &Pipe{FD{above: n[0] + 1}, FD{above: n[1] + 1}}
}

// Close closes both ends.
func (p *Pipe) Close() {
	p.from.Close()
	p.to.Close()
}

// Write puts bytes into the pipe.
func (p *Pipe) Write(b []byte) (int, error) { return p.to.Write(b) }

// Fill moves up to most bytes from a socket into the pipe. It returns EAGAIN if there are
// none, 0 and no error at the end.
func (p *Pipe) Fill(from *FD, most int64) (int64, error) {
	return splice(from.number(), p.to.number(), most)
}

// Drain moves up to most bytes from the pipe to a socket. It returns EAGAIN if that takes
// none.
func (p *Pipe) Drain(to *FD, most int64) (int64, error) {
	return splice(p.from.number(), to.number(), most)
}

// FillBorrowed is Fill from a socket that Go's runtime owns.
func (p *Pipe) FillBorrowed(from Borrowed, most int64) (int64, error) {
	return splice(int(from), p.to.number(), most)
}

// DrainBorrowed is Drain to one.
func (p *Pipe) DrainBorrowed(to Borrowed, most int64) (int64, error) {
	return splice(p.from.number(), int(to), most)
}

func splice(from, to int, most int64) (int64, error) {
	if from < 0 || to < 0 {
		return 0, ErrClosed
	}
	for {
		n, err := unix.Splice(from, nil, to, nil, int(most), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
		if err != unix.EINTR {
			return n, err
		}
	}
}
