//go:build !evenkeel_portable

package client

import (
	"crypto/tls"
	"net"
	"sync"
	"syscall"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// tlsSocket is TLS over a socket. It is read and written in the same ways as the socket: by a goroutine that
// waits in Go's poller or blocks in the system call, and by a Driver that never waits.
//
// crypto/tls allows that. It treats EAGAIN as a temporary error: it keeps the part of a record that has come,
// and the next Read continues with it.
type tlsSocket struct {
	*tls.Conn
	transport *tlsTransport
}

// tlsTransport is the connection that crypto/tls reads and writes.
type tlsTransport struct {
	*socket
	readMode func(*tlsTransport, []byte) (int, error) // of the Read in progress; owned by its caller, which has the turn
	drained  bool                                     // the last read of a Driver did not fill its buffer; owned like readMode

	mu          sync.Mutex // guards the following
	established bool       // the handshake is over: records are gathered in pending
	pending     []byte     // records to be sent
	spare       []byte     // swaps with pending
	sending     bool       // a goroutine sends without holding mu
}

// tlsTransportFor returns the connection that TLS uses.
func tlsTransportFor(conn net.Conn) net.Conn {
	if s, ok := conn.(*socket); ok {
		return &tlsTransport{socket: s, readMode: (*tlsTransport).readPolled}
	}
	return conn
}

// wrapTLS returns the connection for a connLoop. The handshake of secure, over the connection of
// tlsTransportFor, is complete.
func wrapTLS(secure, below net.Conn) net.Conn {
	over, isTLS := secure.(*tls.Conn)
	t, isSocket := below.(*tlsTransport)
	if !isTLS || !isSocket {
		return secure
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.established = true
	return &tlsSocket{over, t}
}

// Read implements net.Conn, for crypto/tls.
func (t *tlsTransport) Read(p []byte) (int, error) { return t.readMode(t, p) }

// The ways to read from the socket.
func (t *tlsTransport) readPolled(p []byte) (int, error)       { return t.socket.Read(p) }
func (t *tlsTransport) readBlockingMode(p []byte) (int, error) { return t.socket.readBlocking(p) }

// readBlocking implements blockingReader.
func (c *tlsSocket) readBlocking(p []byte) (int, error) {
	c.transport.readMode = (*tlsTransport).readBlockingMode
	defer c.transport.usePoller()
	return c.Conn.Read(p)
}

// tryRead implements drivable. It returns one record at most.
func (c *tlsSocket) tryRead(p []byte) (int, error) {
	t := c.transport
	t.readMode = (*tlsTransport).readNonblocking
	defer t.usePoller()
	n, err := c.Conn.Read(p)
	if err == syscall.EAGAIN {
		t.drained = false
	}
	return n, err
}

func (t *tlsTransport) usePoller() { t.readMode = (*tlsTransport).readPolled }

// readNonblocking reads without waiting. After a short read the socket is not read again until the driver is
// notified: that saves a system call for each answer.
func (t *tlsTransport) readNonblocking(p []byte) (int, error) {
	if t.drained {
		return 0, syscall.EAGAIN
	}
	n, err := t.tryRead(p)
	t.drained = n < len(p)
	return n, err
}

// shortReadIsLast implements drivable: another record may follow.
func (*tlsSocket) shortReadIsLast() bool { return false }

func (*socket) shortReadIsLast() bool { return true }

// copyFD implements drivable.
func (c *tlsSocket) copyFD() (fd.FD, error) { return c.transport.copyFD() }

// Write implements net.Conn, for crypto/tls. After the handshake it only gathers the record: a reader may have
// to write one too (the answer to a KeyUpdate) and must not block. Such a record is sent with the next write,
// which is when RFC 8446, 4.6.3 requires it.
func (t *tlsTransport) Write(p []byte) (int, error) {
	t.mu.Lock()
	if t.established {
		defer t.mu.Unlock()
		t.pending = append(t.pending, p...)
		return len(p), nil
	}
	t.mu.Unlock()
	return t.socket.Write(p)
}

// maxEncrypted bounds the bytes that are encrypted before they are sent.
const maxEncrypted = 64 << 10

// Write implements net.Conn. It also sends what tryWrite has left; p may be empty.
func (c *tlsSocket) Write(p []byte) (n int, err error) {
	for {
		piece := p[n:min(len(p), n+maxEncrypted)]
		if len(piece) > 0 {
			if _, err := c.Conn.Write(piece); err != nil {
				return n, err
			}
		}
		if err := c.transport.sendPending((*socket).Write); err != nil {
			return n, err
		}
		if n += len(piece); n == len(p) {
			return n, nil
		}
	}
}

// tryWrite implements drivable. Encrypted records that the socket does not take are left for the next Write.
func (c *tlsSocket) tryWrite(p []byte) (int, error) {
	if err := c.transport.sendPending((*socket).tryWrite); err != nil || c.hasUnsent() {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	if err != nil {
		return n, err
	}
	return n, c.transport.sendPending((*socket).tryWrite)
}

// hasUnsent implements drivable.
func (c *tlsSocket) hasUnsent() bool {
	c.transport.mu.Lock()
	defer c.transport.mu.Unlock()
	return len(c.transport.pending) > 0
}

func (*socket) hasUnsent() bool { return false }

// sendPending sends pending, as far as write takes it. Only one goroutine writes to a connLoop's connection at
// a time.
func (t *tlsTransport) sendPending(write func(*socket, []byte) (int, error)) error {
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
		if cap(records) <= 2*maxEncrypted {
			t.spare = records
		}
	}
	return nil
}

// Close implements net.Conn. Pending records, such as the close_notify alert, are sent if the socket takes
// them at once.
func (t *tlsTransport) Close() error {
	t.mu.Lock()
	if len(t.pending) > 0 && !t.sending {
		_, _ = t.tryWrite(t.pending)
		t.pending = nil
	}
	t.mu.Unlock()
	return t.socket.Close()
}
