package edge

import (
	"errors"
	"io"
	"math"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// joint joins two connections, so that what either peer sends reaches the other, and
// so that either end of the one, in good order or not, is the same to the other.
type joint struct {
	pipes  *pipes
	early  []byte          // what the client has sent already
	sides  [2]*side        // the client's and the server's
	moved  [2]atomic.Int64 // bytes that have reached each
	reset  [2]atomic.Bool  // that peer has broken its connection off
	broken atomic.Int32    // which did it first, or takes no more, as its index and one; zero: neither

	// Of the watch.
	seen  int64           // of moved, all in all
	since balance.Instant // when seen changed last
}

const (
	clientSide = 0
	serverSide = 1
	noSide     = -1
)

// run carries bytes both ways until both peers have ended what they send, or one has
// broken off or been cut. It tells who broke off first, or noSide.
func (j *joint) run() (broke int) {
	over := make(chan struct{})
	go func() {
		defer close(over)
		if _, err := j.sides[serverSide].Write(j.early); err != nil {
			j.stop(serverSide, err)
			return
		}
		j.moved[serverSide].Add(int64(len(j.early)))
		j.half(serverSide, clientSide)
	}()
	j.half(clientSide, serverSide)
	<-over
	return int(j.broken.Load()) - 1
}

// half carries one direction to its end, and tells the one side how the other ended.
func (j *joint) half(to, from int) {
	dst, src := j.sides[to], j.sides[from]
	readErr, writeErr := pour(j.pipes, dst, src, &j.moved[to])
	switch {
	case writeErr != nil:
		j.stop(to, writeErr)
	case readErr != io.EOF:
		j.stop(from, readErr)
		dst.cut()
	case j.reset[from].Load():
		dst.cut() // the end is that of the connection, not of what its peer had to say
	default:
		_ = dst.closeWrite() // if it fails, whoever reads there sees why
	}
}

// stop says that a side takes no more, or gives no more. A peer that takes no more may
// have ended what it had to say in good order before (EPIPE): that is still to be read.
func (j *joint) stop(side int, err error) {
	j.broken.CompareAndSwap(0, int32(side)+1)
	if errors.Is(err, syscall.ECONNRESET) {
		j.reset[side].Store(true)
	}
}

// settle is called before both connections are closed: if one was broken off, so is
// the other, but not before its peer's machine has what was sent to it, if there is time
// for that: a reset overtakes everything.
func (j *joint) settle(patient bool) {
	if j.broken.Load() == 0 {
		return
	}
	for i, s := range j.sides {
		if patient && !j.reset[i].Load() {
			drainOut(s)
		}
		breakOff(s.Conn)
	}
}

// idleFor is how long nothing has moved. One goroutine at a time may ask.
func (j *joint) idleFor(now balance.Instant) time.Duration {
	if moved := j.moved[0].Load() + j.moved[1].Load(); moved != j.seen || j.since == 0 {
		j.seen, j.since = moved, now
	}
	return now.Sub(j.since)
}

// outMost is how long a peer may take for what is on its way to it when the other has broken off.
const outMost = 5 * time.Second

// drainOut waits until the peer's machine has taken all that was sent to it.
func drainOut(s *side) {
	pause := time.Millisecond
	for limit := clock.Now().Add(outMost); unsent(s) && clock.Now() < limit; pause = min(2*pause, 50*time.Millisecond) {
		time.Sleep(pause)
	}
}

func unsent(s *side) (some bool) {
	if raw := rawOf(beneath(s.Conn)); raw != nil {
		_ = raw.Control(func(fd uintptr) { some = unacked(fd) }) // a closed one has nothing
	}
	return some
}

// breakOff closes a connection so that nobody takes its end for one in good order.
func breakOff(nc net.Conn) {
	nc = beneath(nc)
	if tcp, ok := nc.(interface{ SetLinger(int) error }); ok {
		_ = tcp.SetLinger(0) // a connection that is gone needs none
	}
	_ = nc.Close() // it has served
}

// beneath is the connection that TLS is spoken on, if it is spoken.
func beneath(nc net.Conn) net.Conn {
	for {
		above, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return nc
		}
		nc = above.NetConn()
	}
}

const pourRoom = 16 << 10

// pour copies from src to dst until src ends, which is io.EOF if in good order, or dst
// takes no more: inside the kernel once there is much.
func pour(ps *pipes, dst, src *side, moved *atomic.Int64) (readErr, writeErr error) {
	buf := make([]byte, pourRoom)
	for full := 0; full < 2 || dst.raw == nil || src.raw == nil; {
		n, err := src.Read(buf)
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				return nil, err
			}
			moved.Add(int64(n))
		}
		switch {
		case err != nil:
			return err, nil
		case n == len(buf):
			full++
		default:
			full = 0
		}
	}
	p := ps.take()
	if p == nil {
		return pourPlainly(dst, src, moved)
	}
	readErr, writeErr = move(p, dst, src, math.MaxInt64, func(n int64) { moved.Add(n) })
	ps.put(p, writeErr == nil)
	return readErr, writeErr
}

// pourPlainly is for systems that have no pipe to give.
func pourPlainly(dst, src *side, moved *atomic.Int64) (readErr, writeErr error) {
	buf := make([]byte, bodyRoom)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				return nil, err
			}
			moved.Add(int64(n))
		}
		if err != nil {
			return err, nil
		}
	}
}
