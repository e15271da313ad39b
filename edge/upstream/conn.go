package upstream

import (
	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/h2conn"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// Conn is a connection to a server, or a stream of one. One user at a time has it. In between it is kept and
// watched, so one that the server has closed is never used.
type Conn struct {
	eventloop.Conn
	eventloop.Timer
	to         Target
	idleIn     *idleConns // where it was kept last; nil: nowhere yet
	User       User       // nil: the pool has it
	pool       *Pool
	Stream     *h2conn.ClientStream // it is an HTTP/2 stream; nil: it is not
	reused     bool                 // it has carried a response
	SentBefore int64                // conn.SentBytes when the current request began
	Connecting bool
}

// User is what uses a connection.
type User interface {
	eventloop.Owner
	// TryAnother is called when a stream turns out not to be had on its connection before anything was sent: the user
	// drops it, and gets another.
	TryAnother()
}

// OnReady implements the conn's owner.
func (b *Conn) OnReady() {
	switch {
	case b.User != nil:
		b.User.OnReady()
	case b.Readable && b.TLS != nil && !b.PeerClosed && b.TLS.NothingToRead(): // a session ticket, or a part of a record
	case b.Readable: // unasked bytes, or a hang-up
		b.pool.remove(b)
		b.Drop()
	}
}

// OnTimer implements the timer's owner: it was idle for too long.
func (b *Conn) OnTimer() {
	if b.User == nil && b.IsOpen() {
		b.pool.remove(b)
		b.SendCloseNotify()
		b.Drop()
	}
}

// Drop closes the connection.
func (b *Conn) Drop() {
	if b.IsOpen() {
		b.Loop.Timers.Stop(&b.Timer)
		b.Conn.Close()
	}
}

// hasUnasked reports whether part of something has come from a server that was not asked.
func (b *Conn) hasUnasked() bool {
	return b.HasPrefetched() || b.TLS != nil && b.TLS.InRecord()
}

// Fit reports whether a kept connection can be used for a request that can be repeated, or for any.
func (b *Conn) Fit(repeatable bool) bool {
	if fd.ReadsAhead && b.TLS != nil && !b.TLS.NothingToRead() { // a session ticket is nothing
		return false
	}
	return !b.hasUnasked() && (repeatable && !fd.ReadsAhead || b.NothingToRead())
}

// IsConnected reports whether a begun connection is made; false and no error: not yet.
func (b *Conn) IsConnected() (bool, error) {
	switch {
	case !b.Connecting:
		return true, nil
	case b.Stream != nil:
		ready, err := b.Stream.IsReady()
		b.Connecting = !ready
		return ready, err
	case !b.Writable:
		return false, nil
	}
	if err := b.FD.Connected(); err != nil {
		return false, err
	}
	b.Connecting = false
	return true, nil
}

// WasReused reports whether the connection has carried a response before.
func (b *Conn) WasReused() bool {
	if b.Stream != nil {
		return b.Stream.Reused
	}
	return b.reused
}

// EndedEarly reports whether nothing more of the request is to be sent, because an HTTP/2 stream has ended before a
// response.
func (b *Conn) EndedEarly() bool { return b.Stream != nil && b.Stream.EndedEarly() }

// UploadLimit returns how much of a request body to read from the client: what the server's windows do not
// allow stays at the client.
func (b *Conn) UploadLimit(space int) int {
	if b.Stream == nil {
		return space
	}
	return int(min(int64(space), max(4<<10, b.Stream.SpaceToSend())))
}
