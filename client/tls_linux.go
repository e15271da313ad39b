//go:build !evenkeel_portable

package client

import (
	"crypto/tls"
	"net"
	"sync"
	"syscall"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// tlsSocket is TLS over a socket. It is read and written in the same ways as the socket
// below: by a goroutine that sleeps in Go's poller or in the system, and by a Driver that
// never waits.
//
// crypto/tls allows that. A read that returns EAGAIN is a temporary error to it: the part
// of a record that has come is kept, and the next Read goes on with it.
type tlsSocket struct {
	*tls.Conn
	below *tlsTransport
}

// tlsTransport is the connection that crypto/tls reads and writes.
type tlsTransport struct {
	*socket
	how     func(*tlsTransport, []byte) (int, error) // of the Read under way; owned by its caller, which has the turn
	drained bool                                     // the last read of a Driver got less than it asked for; owned like how

	mu      sync.Mutex // guards the following
	shaken  bool       // the handshake is over: records are kept in pending, and do not go by themselves
	pending []byte     // records to be sent
	spare   []byte     // takes turns with pending
	sending bool       // a goroutine sends without holding mu
}

// beneathTLS returns what TLS is to be spoken over.
func beneathTLS(conn net.Conn) net.Conn {
	if s, ok := conn.(*socket); ok {
		return &tlsTransport{socket: s, how: (*tlsTransport).parked}
	}
	return conn
}

// afterHandshake returns the connection for a line to use. The handshake of secure, over
// what beneathTLS returned, is complete.
func afterHandshake(secure, below net.Conn) net.Conn {
	over, isTLS := secure.(*tls.Conn)
	t, isSocket := below.(*tlsTransport)
	if !isTLS || !isSocket {
		return secure
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shaken = true
	return &tlsSocket{over, t}
}

// Read implements net.Conn, for crypto/tls.
func (t *tlsTransport) Read(p []byte) (int, error) { return t.how(t, p) }

// The ways to read from the socket.
func (t *tlsTransport) parked(p []byte) (int, error) { return t.socket.Read(p) }
func (t *tlsTransport) alone(p []byte) (int, error)  { return t.socket.readAlone(p) }

// readAlone implements sleeper.
func (c *tlsSocket) readAlone(p []byte) (int, error) {
	c.below.how = (*tlsTransport).alone
	defer c.below.park()
	return c.Conn.Read(p)
}

// tryRead implements drivable. It returns one record at most.
func (c *tlsSocket) tryRead(p []byte) (int, error) {
	t := c.below
	t.how = (*tlsTransport).tryOnce
	defer t.park()
	n, err := c.Conn.Read(p)
	if err == syscall.EAGAIN {
		t.drained = false
	}
	return n, err
}

func (t *tlsTransport) park() { t.how = (*tlsTransport).parked }

// tryOnce reads without waiting. After a short read the socket is not asked again until
// the driver is told of more: that saves a call for each answer.
func (t *tlsTransport) tryOnce(p []byte) (int, error) {
	if t.drained {
		return 0, syscall.EAGAIN
	}
	n, err := t.tryRead(p)
	t.drained = n < len(p)
	return n, err
}

// shortReadIsLast implements drivable: behind one record may be another.
func (*tlsSocket) shortReadIsLast() bool { return false }

func (*socket) shortReadIsLast() bool { return true }

// copy implements drivable.
func (c *tlsSocket) copy() (fd.FD, error) { return c.below.copy() }

// Write implements net.Conn, for crypto/tls. After the handshake it only keeps the record,
// for a reader may have to write one too (the answer to a KeyUpdate) and must not wait.
// Such a record leaves with the next write, which is when RFC 8446, 4.6.3 wants it.
func (t *tlsTransport) Write(p []byte) (int, error) {
	t.mu.Lock()
	if t.shaken {
		defer t.mu.Unlock()
		t.pending = append(t.pending, p...)
		return len(p), nil
	}
	t.mu.Unlock()
	return t.socket.Write(p)
}

// mostEncrypted is how many bytes are encrypted before they are sent.
const mostEncrypted = 64 << 10

// Write implements net.Conn. It also sends what trySend has left; p may be empty.
func (c *tlsSocket) Write(p []byte) (n int, err error) {
	for {
		piece := p[n:min(len(p), n+mostEncrypted)]
		if len(piece) > 0 {
			if _, err := c.Conn.Write(piece); err != nil {
				return n, err
			}
		}
		if err := c.below.send((*socket).Write); err != nil {
			return n, err
		}
		if n += len(piece); n == len(p) {
			return n, nil
		}
	}
}

// trySend implements drivable. What it has encrypted and could not send is unsent.
func (c *tlsSocket) trySend(p []byte) (int, error) {
	if err := c.below.send((*socket).trySend); err != nil || c.unsent() {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	if err != nil {
		return n, err
	}
	return n, c.below.send((*socket).trySend)
}

// unsent implements drivable.
func (c *tlsSocket) unsent() bool {
	c.below.mu.Lock()
	defer c.below.mu.Unlock()
	return len(c.below.pending) > 0
}

func (*socket) unsent() bool { return false }

// send sends what is pending, as far as write takes it. Only one goroutine writes to a
// line's connection at a time.
func (t *tlsTransport) send(write func(*socket, []byte) (int, error)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.pending) > 0 {
		records := t.pending
		t.pending, t.spare, t.sending = t.spare[:0], nil, true
		t.mu.Unlock()
		n, err := write(t.socket, records)
		t.mu.Lock()
		t.sending = false
		if n < len(records) {
			t.pending = append(records[n:], t.pending...)
			return err
		}
		if cap(records) <= 2*mostEncrypted {
			t.spare = records
		}
	}
	return nil
}

// Close implements net.Conn. What is pending, such as the alert that ends TLS, is sent if
// it goes at once.
func (t *tlsTransport) Close() error {
	t.mu.Lock()
	if len(t.pending) > 0 && !t.sending {
		_, _ = t.trySend(t.pending)
		t.pending = nil
	}
	t.mu.Unlock()
	return t.socket.Close()
}
