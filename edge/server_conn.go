package edge

import (
	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/h2conn"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// serverConn is a connection to a server, or a stream of one. One user at a time has it. In between it is kept and
// watched, so one that the server has closed is never used.
type serverConn struct {
	eventloop.Conn
	eventloop.Timer
	to         target
	idleIn     *idleConns // where it was kept last; nil: nowhere yet
	user       serverUser // nil: the pool has it
	pool       *serverPool
	stream     *h2conn.ClientStream // it is an HTTP/2 stream; nil: it is not
	reused     bool                 // it has carried a response
	sentBefore int64                // conn.SentBytes when the current request began
	connecting bool
}

// serverUser is what uses a connection.
type serverUser interface {
	eventloop.Owner
	// TryAnother is called when a stream turns out not to be had on its connection before anything was sent: the user
	// drops it, and gets another.
	TryAnother()
}

// OnReady implements the conn's owner.
func (b *serverConn) OnReady() {
	switch {
	case b.user != nil:
		b.user.OnReady()
	case b.Readable && b.TLS != nil && !b.PeerClosed && b.TLS.NothingToRead(): // a session ticket, or a part of a record
	case b.Readable: // unasked bytes, or a hang-up
		b.pool.remove(b)
		b.drop()
	}
}

// OnTimer implements the timer's owner: it was idle for too long.
func (b *serverConn) OnTimer() {
	if b.user == nil && b.IsOpen() {
		b.pool.remove(b)
		b.SendCloseNotify()
		b.drop()
	}
}

// drop closes the connection.
func (b *serverConn) drop() {
	if b.IsOpen() {
		b.Loop.Timers.Stop(&b.Timer)
		b.Conn.Close()
	}
}

// hasUnasked reports whether part of something has come from a server that was not asked.
func (b *serverConn) hasUnasked() bool {
	return b.HasPrefetched() || b.TLS != nil && b.TLS.InRecord()
}

// fit reports whether a kept connection can be used for a request that can be repeated, or for any.
func (b *serverConn) fit(repeatable bool) bool {
	if fd.ReadsAhead && b.TLS != nil && !b.TLS.NothingToRead() { // a session ticket is nothing
		return false
	}
	return !b.hasUnasked() && (repeatable && !fd.ReadsAhead || b.NothingToRead())
}

// isConnected reports whether a begun connection is made; false and no error: not yet.
func (b *serverConn) isConnected() (bool, error) {
	switch {
	case !b.connecting:
		return true, nil
	case b.stream != nil:
		ready, err := b.stream.IsReady()
		b.connecting = !ready
		return ready, err
	case !b.Writable:
		return false, nil
	}
	if err := b.FD.Connected(); err != nil {
		return false, err
	}
	b.connecting = false
	return true, nil
}

// wasReused reports whether the connection has carried a response before.
func (b *serverConn) wasReused() bool {
	if b.stream != nil {
		return b.stream.Reused
	}
	return b.reused
}

// EndedEarly reports whether nothing more of the request is to be sent, because an HTTP/2 stream has ended before a
// response.
func (b *serverConn) endedEarly() bool { return b.stream != nil && b.stream.EndedEarly() }

// uploadLimit returns how much of a request body to read from the client: what the server's windows do not
// allow stays at the client.
func (b *serverConn) uploadLimit(space int) int {
	if b.stream == nil {
		return space
	}
	return int(min(int64(space), max(4<<10, b.stream.SpaceToSend())))
}
