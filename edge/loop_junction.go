package edge

import (
	"errors"
	"io"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// junction joins two ends of a loop, as a joint joins two connections for goroutines:
// what either peer sends reaches the other, and either end of the one, in good order or
// not, is the same to the other. It has memory only for what one of them does not take.
type junction struct {
	arms   [2]arm // the client's and the server's
	broken int    // which of them broke off first, or takes no more, as its index and one; zero: neither

	// While it settles.
	pause  time.Duration // until it is looked at again
	paused time.Duration // so far
}

// arm is one side of a junction, and what goes there.
type arm struct {
	*end
	out   outflow
	taken int64 // bytes for this side that have been read at the other
	much  int   // reads for it that have shown that there is much; zero: the last did not
	over  bool  // nothing more goes there
	reset bool  // its peer has broken the connection off
}

const (
	muchAfter = 2        // full reads in a row, after which bytes move unseen
	muchLeast = 16 << 10 // bytes of a move that show that it still pays
	muchDoubt = 16       // moves of less, after which it does no more
)

// join makes a junction of a client's end and a server's. What is on its way to them goes first.
func (j *junction) join(client, server *end, down, up outflow) {
	*j = junction{arms: [2]arm{clientSide: {end: client, out: down}, serverSide: {end: server, out: up}}}
}

// carry moves what can be moved now, and reports whether both ways have come to their end.
func (j *junction) carry() (over bool) {
	client, server := &j.arms[clientSide], &j.arms[serverSide]
	for turn := client.loop.turn(); ; turn.Spend(limits.TurnCall) {
		up := j.pass(serverSide, clientSide)
		if down := j.pass(clientSide, serverSide); !up && !down {
			break
		}
		if turn.Over(clock.Now) {
			client.loop.soon(client.end)
			break
		}
	}
	client.out.idle(client.loop)
	server.out.idle(server.loop)
	return client.over && server.over
}

// pass moves what has come from one side to the other, once; false: there was nothing, or
// it is not taken.
func (j *junction) pass(to, from int) bool {
	dst, src := &j.arms[to], &j.arms[from]
	if dst.over {
		return false
	}
	if !src.readable && dst.out.empty() && dst.remains == nil {
		return false
	}
	clear, err := dst.out.flush(dst.end)
	if err != nil {
		dst.over = true
		j.stop(to, err)
		return false
	}
	if !clear || !src.readable {
		return false
	}
	n, readErr, writeErr := dst.take(src)
	switch dst.taken += n; {
	case writeErr != nil:
		dst.over = true
		j.stop(to, writeErr)
	case readErr == nil:
		return true
	case readErr == syscall.EAGAIN:
	case readErr != io.EOF:
		j.stop(from, readErr)
		j.end()
	case src.reset:
		j.end() // the end is that of the connection, not of what its peer had to say
	case !dst.sent():
		src.readable = true // its end is seen again when that has gone
	default:
		dst.over = true
		_ = dst.out.finish(dst.end) // if it fails, whoever reads there sees why
	}
	return false
}

// take moves what has come at src: inside the kernel, if there is much.
func (dst *arm) take(src *arm) (n int64, readErr, writeErr error) {
	if dst.much >= muchAfter && dst.bare() && src.bare() {
		n, readErr = dst.out.pull(src.end, pipeSize)
		if readErr != errNoPipe || dst.out.pipe != nil {
			dst.weigh(n >= muchLeast)
			return n, readErr, nil
		}
	}
	room := src.loop.shared
	m, readErr := src.read(room)
	switch {
	case readErr != nil:
		return 0, readErr, nil
	case m == 0:
		return 0, io.EOF, nil
	case m < len(room):
		dst.much = 0
	default:
		dst.much++
		dst.weigh(true)
	}
	_, writeErr = dst.out.write(dst.end, room[:m])
	return int64(m), nil, writeErr
}

// weigh remembers how much there was.
func (dst *arm) weigh(much bool) {
	switch {
	case dst.much < muchAfter:
	case much:
		dst.much = muchAfter + muchDoubt
	default:
		if dst.much--; dst.much < muchAfter {
			dst.much = 0
		}
	}
}

// stop says that a side takes no more, or gives no more. A peer that takes no more may
// have ended what it had to say in good order before (EPIPE): that is still to be read. Any
// other error is the connection's end: what was on its way (ETIMEDOUT, if the peer vanished) arrives no more.
func (j *junction) stop(side int, err error) {
	if j.broken == 0 {
		j.broken = side + 1
	}
	if !errors.Is(err, syscall.EPIPE) {
		j.arms[side].reset = true
	}
}

// cut ends both ways, amid whatever is being said.
func (j *junction) cut() {
	j.end()
	if j.broken == 0 {
		j.broken = clientSide + 1
	}
}

// end says that nothing more goes either way.
func (j *junction) end() { j.arms[0].over, j.arms[1].over = true, true }

// broke tells who broke off first, or noSide.
func (j *junction) broke() int { return j.broken - 1 }

// say sends a side what had come for it before it was joined.
func (j *junction) say(to int, p []byte) {
	a := &j.arms[to]
	a.taken += int64(len(p))
	if _, err := a.out.write(a.end, p); err != nil {
		a.over = true
		j.stop(to, err)
	}
}

// progress is how many bytes have gone to either side.
func (j *junction) progress() int64 { return j.moved(0) + j.moved(1) }

// moved is how many bytes have gone to a side.
func (j *junction) moved(side int) int64 {
	a := &j.arms[side]
	if a.end == nil {
		return 0
	}
	return max(0, a.taken-a.out.waiting()-a.unsent())
}

// stuck reports whether a side does not take what is there for it.
func (j *junction) stuck(side int) bool { return !j.arms[side].out.empty() }

// settle closes both ends, and reports whether that is done. If one was broken off, so is
// the other, but not before its peer's machine has what was sent to it, if there is time
// for that: a reset overtakes everything. Until it is done, settle wants to be called
// again after the pause.
func (j *junction) settle(patient bool) bool {
	j.pause = min(max(wheelTick, 2*j.pause), 50*time.Millisecond)
	j.paused += j.pause
	done := true
	for i := range j.arms {
		a := &j.arms[i]
		switch {
		case !a.isOpen():
		case j.broken == 0:
			a.out.reset(a.loop)
			a.end.close()
		case patient && j.paused < outMost && !a.reset && a.fd.Unacked():
			done = false
		default:
			a.out.reset(a.loop)
			a.end.breakOff()
		}
	}
	return done
}

// breakOff closes the descriptor so that nobody takes its end for one in good order.
func (e *end) breakOff() {
	if e.isOpen() {
		e.fd.ResetOnClose() // a connection that is gone needs none
		e.close()
	}
}

const (
	clientSide = 0
	serverSide = 1
	noSide     = -1
)

// outMost is how long a peer may take for what is on its way to it when the other has broken off.
const outMost = 5 * time.Second
