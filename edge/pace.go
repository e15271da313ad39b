package edge

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// HTTP/2 has frames that cost their sender next to nothing and bring no request
// further: PING, SETTINGS, PRIORITY, RST_STREAM, CONTINUATION, unknown ones, and DATA
// without any. Clients in good order send few of them, in proportion to what they are
// given; an attack is made of them. So a connection may send so many at once and so
// many a second, more with what it brings and gets, and beyond that it is read
// no faster. It is not ended: measurements of bandwidth send a PING in every round trip.
const (
	idleFramesAtOnce = 2000
	idleFramesRate   = 1000. // a second
	octetsAFrame     = 512   // of payload that allow one more
	heldBackMost     = 100 * time.Millisecond
)

// allowance is a connection's leave to send frames that bring nothing. The zero value
// is full.
type allowance struct {
	spent float64 // frames
	at    balance.Instant
}

// earn gives frames back for bytes.
func (a *allowance) earn(octets int64) { a.spent = max(0, a.spent-float64(octets)/octetsAFrame) }

// take spends n frames and returns how long to read nothing, if whoever reads cannot stop
// for longer than heldBackMost.
func (a *allowance) take(now balance.Instant, n int) time.Duration {
	a.spent = max(0, a.spent-now.Sub(a.at).Seconds()*idleFramesRate) + float64(n)
	a.at = now
	return min(heldBackMost, a.debt())
}

// debt returns how long it takes until what was spent too much is earned again.
func (a *allowance) debt() time.Duration {
	return time.Duration(max(0, a.spent-idleFramesAtOnce) / idleFramesRate * float64(time.Second))
}

// paced is a connection that is read by the frame. One goroutine reads, one writes.
type paced struct {
	net.Conn
	in       *bufio.Reader
	frames   frames
	leave    allowance
	written  atomic.Int64 // bytes that have earned nothing yet
	heldBack prometheus.Counter
}

// pacedConn returns a connection for a server of HTTP/2; first is what was read of it already.
func pacedConn(nc net.Conn, first []byte, heldBack prometheus.Counter) net.Conn {
	p := &paced{Conn: nc, in: bufio.NewReaderSize(io.MultiReader(bytes.NewReader(first), nc), roomFirst), frames: frames{skip: int64(len(clientPreface))}, heldBack: heldBack}
	if secure, ok := nc.(*tls.Conn); ok {
		return &securelyPaced{p, secure}
	}
	return p
}

// securelyPaced shows the TLS below it, whose version HTTP/2 asks for.
type securelyPaced struct {
	*paced
	secure *tls.Conn
}

// ConnectionState is that of the TLS below.
func (p *securelyPaced) ConnectionState() tls.ConnectionState { return p.secure.ConnectionState() }

// Read holds back what comes after too many frames that bring nothing.
func (p *paced) Read(b []byte) (int, error) {
	n, err := p.in.Read(b)
	idle, octets := p.frames.follow(b[:n])
	if p.leave.spent > 0 {
		p.leave.earn(octets + p.written.Swap(0))
	}
	if idle == 0 {
		return n, err
	}
	if pause := p.leave.take(clock.Now(), idle); pause > 0 {
		p.heldBack.Inc()
		time.Sleep(pause)
	}
	return n, err
}

// Write counts what the client gets.
func (p *paced) Write(b []byte) (int, error) {
	n, err := p.Conn.Write(b)
	p.written.Add(int64(n))
	return n, err
}

// frames follows frames through what is read of them, however it is cut.
type frames struct {
	skip int64 // bytes until the next head
	head [9]byte
	have int // bytes of head
}

// Types of frames (RFC 9113, 6).
const (
	frameData         = 0
	frameHeaders      = 1
	frameWindowUpdate = 8
	flagEndStream     = 1
)

// follow returns how many frames that bring nothing begin in b, and the payload of the others.
func (f *frames) follow(b []byte) (idle int, octets int64) {
	for len(b) > 0 {
		if n := min(f.skip, int64(len(b))); n > 0 {
			f.skip -= n
			b = b[n:]
			continue
		}
		n := copy(f.head[f.have:], b)
		f.have += n
		b = b[n:]
		if f.have < len(f.head) {
			break
		}
		f.have = 0
		f.skip = int64(f.head[0])<<16 | int64(f.head[1])<<8 | int64(f.head[2])
		switch kind := f.head[3]; {
		case kind == frameHeaders, kind == frameData && (f.skip > 0 || f.head[4]&flagEndStream != 0):
			octets += f.skip
		case kind != frameWindowUpdate:
			idle++
		}
	}
	return idle, octets
}
