package eventloop

import (
	"errors"
	"io"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// Tunnel joins two connections of a loop: bytes of either peer are sent to the other, and so are half-closes
// and resets. It keeps only what one of them does not take.
type Tunnel struct {
	sides    [2]tunnelSide // the client's and the server's
	brokenBy int           // the side that broke off first, as its index plus one; zero: neither

	// While it closes.
	Pause  time.Duration // until the next attempt
	paused time.Duration // so far
}

// tunnelSide is one side of a tunnel, and what is sent there.
type tunnelSide struct {
	*Conn
	out         SendBuffer
	received    int64 // bytes for this side that were read at the other
	spliceScore int   // full reads for this side in a row, then credit for splicing; zero: the last read was short
	closed      bool  // nothing more is sent there
	peerReset   bool  // its peer has reset the connection
}

const (
	spliceAfter = 2        // full reads in a row, after which the kernel moves the bytes
	spliceLeast = 16 << 10 // bytes of a splice that pays
	spliceDoubt = 16       // smaller splices, after which reading resumes
)

// Start joins a client's and a server's connection. Their send buffers are sent first.
func (j *Tunnel) Start(client, server *Conn, down, up SendBuffer) {
	*j = Tunnel{sides: [2]tunnelSide{ClientSide: {Conn: client, out: down}, ServerSide: {Conn: server, out: up}}}
}

// Pump moves what can be moved now, and reports whether both directions have ended.
func (j *Tunnel) Pump() (over bool) {
	client, server := &j.sides[ClientSide], &j.sides[ServerSide]
	for turn := client.Loop.NewTurn(); ; turn.Spend(limits.TurnCall) {
		up := j.relay(ServerSide, ClientSide)
		if down := j.relay(ClientSide, ServerSide); !up && !down {
			break
		}
		if turn.Over(clock.Now) {
			client.Loop.Defer(client.Conn)
			break
		}
	}
	client.out.releaseIfEmpty(client.Loop)
	server.out.releaseIfEmpty(server.Loop)
	return client.closed && server.closed
}

// relay moves once from one side to the other. It returns false if there was nothing or it is not taken.
func (j *Tunnel) relay(to, from int) bool {
	dst, src := &j.sides[to], &j.sides[from]
	if dst.closed {
		return false
	}
	if !src.Readable && dst.out.Empty(dst.Conn) {
		return false
	}
	clear, err := dst.out.Flush(dst.Conn)
	if err != nil {
		dst.closed = true
		j.setBroken(to, err)
		return false
	}
	if !clear || !src.Readable {
		return false
	}
	n, readErr, writeErr := dst.receive(src)
	switch dst.received += n; {
	case writeErr != nil:
		dst.closed = true
		j.setBroken(to, writeErr)
	case readErr == nil:
		return true
	case readErr == syscall.EAGAIN:
	case readErr != io.EOF:
		j.setBroken(from, readErr)
		j.closeBoth()
	case src.peerReset:
		j.closeBoth() // the connection has ended, not what the peer had to send
	case !dst.AllSent():
		src.Readable = true // its end is read again when that has gone
	default:
		dst.closed = true
		_ = dst.out.CloseWrite(dst.Conn) // on failure the next read returns the error
	}
	return false
}

// receive moves bytes from src: in the kernel, if there are many.
func (dst *tunnelSide) receive(src *tunnelSide) (n int64, readErr, writeErr error) {
	if dst.spliceScore >= spliceAfter && dst.CanSplice() && src.CanSplice() {
		n, readErr = dst.out.SpliceFrom(src.Conn, pipeSize)
		if readErr != ErrNoPipe || dst.out.pipe != nil {
			dst.updateScore(n >= spliceLeast)
			return n, readErr, nil
		}
	}
	buf := src.Loop.ReadBuf
	m, readErr := src.Read(buf)
	switch {
	case readErr != nil:
		return 0, readErr, nil
	case m == 0:
		return 0, io.EOF, nil
	case m < len(buf):
		dst.spliceScore = 0
	default:
		dst.spliceScore++
		dst.updateScore(true)
	}
	_, writeErr = dst.out.Write(dst.Conn, buf[:m])
	return int64(m), nil, writeErr
}

// updateScore updates the credit for splicing.
func (dst *tunnelSide) updateScore(much bool) {
	switch {
	case dst.spliceScore < spliceAfter:
	case much:
		dst.spliceScore = spliceAfter + spliceDoubt
	default:
		if dst.spliceScore--; dst.spliceScore < spliceAfter {
			dst.spliceScore = 0
		}
	}
}

// setBroken records that a side takes or sends no more. A peer that takes no more may have sent its end before
// (EPIPE): that is still read. Any other error ends the connection, and what was on its way is lost.
func (j *Tunnel) setBroken(side int, err error) {
	if j.brokenBy == 0 {
		j.brokenBy = side + 1
	}
	if !errors.Is(err, syscall.EPIPE) {
		j.sides[side].peerReset = true
	}
}

// Abort ends both directions, in the middle of the data.
func (j *Tunnel) Abort() {
	j.closeBoth()
	if j.brokenBy == 0 {
		j.brokenBy = ClientSide + 1
	}
}

// closeBoth records that nothing more is sent either way.
func (j *Tunnel) closeBoth() { j.sides[0].closed, j.sides[1].closed = true, true }

// BrokeOff returns which side broke off first, or noSide.
func (j *Tunnel) BrokeOff() int { return j.brokenBy - 1 }

// SendEarly sends a side what had come for it before the tunnel began.
func (j *Tunnel) SendEarly(to int, p []byte) {
	a := &j.sides[to]
	a.received += int64(len(p))
	if _, err := a.out.Write(a.Conn, p); err != nil {
		a.closed = true
		j.setBroken(to, err)
	}
}

// Progress returns how many bytes were moved, both ways.
func (j *Tunnel) Progress() int64 { return j.MovedTo(0) + j.MovedTo(1) }

// MovedTo returns how many bytes were sent to a side.
func (j *Tunnel) MovedTo(side int) int64 {
	a := &j.sides[side]
	if a.Conn == nil {
		return 0
	}
	return max(0, a.received-a.out.PendingBytes()-a.UnsentBytes())
}

// IsStuck reports whether a side does not take what is there for it.
func (j *Tunnel) IsStuck(side int) bool { return !j.sides[side].out.Empty(j.sides[side].Conn) }

// CloseGracefully closes both connections and reports whether it is done. If one was reset so is the other,
// but if possible not before its peer's machine has what was sent to it: a reset overtakes all data. Until it
// is done it has to be called again after the pause.
func (j *Tunnel) CloseGracefully(patient bool) bool {
	j.Pause = min(max(wheelTick, 2*j.Pause), 50*time.Millisecond)
	j.paused += j.Pause
	done := true
	for i := range j.sides {
		a := &j.sides[i]
		switch {
		case !a.IsOpen():
		case j.brokenBy == 0:
			a.out.Discard(a.Loop)
			a.Conn.Close()
		case patient && j.paused < maxCloseWait && !a.peerReset && a.FD.Unacked():
			done = false
		default:
			a.out.Discard(a.Loop)
			a.Conn.ResetClose()
		}
	}
	return done
}

// ResetClose closes the descriptor so that the peer sees a reset instead of an end.
func (c *Conn) ResetClose() {
	if c.IsOpen() {
		c.FD.ResetOnClose() // a connection that is gone needs none
		c.Close()
	}
}

const (
	ClientSide = 0
	ServerSide = 1
	noSide     = -1
)

// maxCloseWait is how long a peer may take for what is on its way to it after the other side has broken off.
const maxCloseWait = 5 * time.Second
