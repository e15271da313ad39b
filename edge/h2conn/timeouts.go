package h2conn

import (
	"os"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/h2"
)

// What a connection waits for, and for how long. Each wait is written once: it says when the timer is due, and OnTimer
// asks again which it was.

// timeout is what did not come in time.
type timeout uint8

const (
	connectTimeout timeout = iota // the server's SETTINGS
	beginTimeout                  // the whole of what the client has begun: preface and SETTINGS, a header block
	writeTimeout                  // the peer takes nothing of what it is sent
	idleTimeout                   // a stream
	quietTimeout                  // a byte; then the peer is sent PING
	pingTimeout                   // the answer to PING
	resumeTimeout                 // none: reading goes on
	discardTimeout                // the rest of a body that is discarded
	endTimeout                    // the end of a drain, or of lingering
)

// peerTimeout returns the next timeout of a connection on which nothing is to be sent.
func (k *conn) peerTimeout(streams int, idle time.Duration) (balance.Instant, timeout) {
	switch {
	case streams == 0:
		return k.idleAt.Add(idle), idleTimeout
	case k.pingAt != 0:
		return k.pingAt.Add(pingWait), pingTimeout
	}
	return k.heardAt.Add(pingAfter), quietTimeout
}

// nextTimeout returns the next timeout.
func (k *ClientConn) nextTimeout() (balance.Instant, timeout) {
	switch {
	case k.state < clientOpen:
		return k.startedAt.Add(k.cfg.ConnectTimeout), connectTimeout
	case !k.sendBuf.Empty(&k.Conn):
		return k.progressAt.Add(k.cfg.IdleTimeout), writeTimeout
	}
	return k.peerTimeout(k.active, k.cfg.IdleTimeout)
}

// schedule sets the timer to the next timeout.
func (k *ClientConn) schedule() {
	due, _ := k.nextTimeout()
	k.Loop.Timers.Set(&k.Timer, due)
}

// OnTimer implements the timer's owner.
func (k *ClientConn) OnTimer() {
	if due, what := k.nextTimeout(); k.Loop.Now >= due {
		switch what {
		case connectTimeout, writeTimeout:
			k.CloseWith(os.ErrDeadlineExceeded)
		case pingTimeout:
			k.CloseWith(errSilence)
		case quietTimeout:
			k.sendPing()
		case idleTimeout:
			k.appendGoAway(0, h2.NoError, "")
			k.Drain()
		}
	}
	if k.IsOpen() {
		k.schedule()
	}
}

// nextTimeout returns the next timeout; zero: there is none.
func (k *ServerConn) nextTimeout() (due balance.Instant, what timeout) {
	add := func(at balance.Instant, t timeout) {
		if due == 0 || at < due {
			due, what = at, t
		}
	}
	if k.resumeAt != 0 {
		add(k.resumeAt, resumeTimeout)
	}
	if len(k.discarded.list) > 0 && !k.inputOver {
		add(k.discarded.nextTimeout(), discardTimeout)
	}
	if k.endAt != 0 && (k.state == serverOpen || k.state == serverLingering) {
		add(k.endAt, endTimeout)
	}
	if k.state == serverLingering {
		return due, what
	}
	if !k.sendBuf.Empty(&k.Conn) {
		add(k.progressAt.Add(k.cfg.IdleTimeout), writeTimeout)
	}
	switch {
	case k.state == serverFlushing:
	case !k.gotSettings:
		add(k.idleAt.Add(k.cfg.HeaderTimeout), beginTimeout)
	case k.block.stream != 0:
		add(k.block.startedAt.Add(k.cfg.HeaderTimeout), beginTimeout)
	default:
		add(k.peerTimeout(len(k.streams), k.cfg.IdleTimeout))
	}
	return due, what
}

// schedule sets the timer to the next timeout.
func (k *ServerConn) schedule() {
	due, _ := k.nextTimeout()
	k.Loop.Timers.Set(&k.Timer, due)
}

// OnTimer implements the timer's owner.
func (k *ServerConn) OnTimer() {
	if due, what := k.nextTimeout(); due != 0 && k.Loop.Now >= due {
		k.timedOut(what)
	}
	if k.IsOpen() {
		k.schedule()
	}
}

func (k *ServerConn) timedOut(what timeout) {
	switch what {
	case resumeTimeout:
		k.resumeAt = 0
		k.Loop.Defer(&k.Conn)
	case discardTimeout:
		k.resetDiscarded()
	case beginTimeout:
		k.failConn(&h2.Error{Code: h2.ProtocolError, Reason: "what was begun did not come in time"})
	case endTimeout:
		if k.state == serverLingering {
			k.Abort()
			return
		}
		k.drain()
	case idleTimeout:
		k.drain()
	case quietTimeout:
		k.sendPing()
	case writeTimeout, pingTimeout: // the peer is gone
		k.Abort()
	}
}
