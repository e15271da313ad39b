package h2conn

import (
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/h2"
)

// Sending, and the end of a connection.

// flush implements role.
func (k *ServerConn) flush() {
	clear, took, err := k.sendFrames()
	if err != nil {
		k.Abort()
		return
	}
	if took > 0 && k.flood.spent > 0 {
		k.flood.credit(took)
	}
	if k.sendBuf.PendingBytes() < maxPending/2 {
		k.resumeWriters()
		if (k.Readable || k.pending) && !k.inputOver {
			k.Loop.Defer(&k.Conn) // it was not read meanwhile
		}
	}
	if clear {
		k.continueClose()
	}
	if k.IsOpen() {
		k.schedule()
	}
}

// continueClose continues the end of a connection once all frames are sent.
func (k *ServerConn) continueClose() {
	switch {
	case k.state == serverDraining && len(k.streams) == 0:
		k.beginFlush()
		k.linger()
	case k.state == serverFlushing:
		k.linger()
	}
}

// beginFlush ends the connection's frames.
func (k *ServerConn) beginFlush() {
	k.state = serverFlushing
	k.stopInput()
}

// linger lets the client read the last frames: closing a socket with unread bytes resets it, and destroys what
// was just sent.
func (k *ServerConn) linger() {
	if k.sendBuf.CloseWrite(&k.Conn) != nil {
		k.Abort()
		return
	}
	k.state, k.endAt = serverLingering, k.Loop.Now.Add(lingerTime)
	k.discardInput()
}

// discardInput reads once and discards, then lets other connections have a turn. The client may send what its
// window allowed before the end, and a little more; then the connection is closed. After a protocol error
// nothing is read: the client has until endAt to read the reason, and cannot reconnect at once if it only
// writes.
func (k *ServerConn) discardInput() {
	if !k.Readable || k.broken && !k.PeerClosed {
		return
	}
	n, err := k.Read(k.Loop.ReadBuf)
	if err == syscall.EAGAIN {
		return
	}
	if k.recvWindow -= int64(n); err != nil || n <= 0 || k.recvWindow < -maxDiscarded {
		k.Abort()
		return
	}
	if k.Readable {
		k.Loop.Defer(&k.Conn)
	}
}

// failConn ends the connection because the client broke the protocol.
func (k *ServerConn) failConn(err error) {
	if k.inputOver {
		return
	}
	why, ok := err.(*h2.Error)
	if !ok {
		why = &h2.Error{Code: h2.InternalError}
	}
	k.handler.ProtocolError(err)
	k.appendGoAway(k.lastID, why.Code, why.Reason)
	k.broken = true
	k.beginFlush()
	k.abortStreams()
}

// abortStreams ends all streams; the end of the connection tells the client.
func (k *ServerConn) abortStreams() {
	for i := len(k.streams) - 1; i >= 0; i-- {
		if b := k.streams[i]; !b.ended {
			b.ended = true
			b.user.Kill()
		}
	}
}

// Abort ends the connection and all its streams.
func (k *ServerConn) Abort() {
	if k.state == serverClosed {
		return
	}
	k.state = serverClosed
	l := k.Loop
	k.sendBuf.Discard(l)
	k.stopInput()
	l.Timers.Stop(&k.Timer)
	k.Conn.Close()
	if len(k.streams) == 0 {
		k.handler.ConnClosed()
		return
	}
	k.abortStreams() // the last of them calls ConnClosed
}

// IsFresh reports whether no stream has been opened yet.
func (k *ServerConn) IsFresh() bool { return !k.served && len(k.streams) == 0 }

// DrainAfter asks the client to open no more streams, and allows so long for those on their way (RFC 9113, 6.8).
func (k *ServerConn) DrainAfter(grace time.Duration) {
	if k.state != serverOpen || k.endAt != 0 {
		return
	}
	k.appendGoAway(h2.StreamMost, h2.NoError, "")
	k.endAt = k.Loop.Now.Add(grace)
	k.schedule()
}

// drain refuses new streams.
func (k *ServerConn) drain() {
	if k.state != serverOpen {
		return
	}
	k.state, k.finalID = serverDraining, k.lastID
	k.appendGoAway(k.lastID, h2.NoError, "")
}
