package client

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/evenkeel-lb/evenkeel/wire"
)

// retry is how long a line waits before it connects again. Its zero value is that of a
// line that has not been refused, and has lost nothing.
//
// Every wait is at least half of what is meant and drawn at random from there, so that
// no error makes a line connect in a rush, and lines that lost one master together do not
// all come back in the same moment.
type retry struct {
	lost  time.Duration // meant after the last loss
	taken time.Duration // meant after the last Taken, Busy or Unknown
}

const (
	firstRetry = 10 * time.Millisecond
	takenRetry = 500 * time.Millisecond
	slowRetry  = 5 * time.Second // after a Fail that a person must mend
	accepted   = time.Second     // so long a connection must last, for a registration is refused after the welcome
)

// after returns the wait after a connection that was up for a time, or never, ended with
// err. most is meant at most after a loss.
func (r *retry) after(err error, up, most time.Duration) time.Duration {
	if up >= accepted {
		*r = retry{}
	}
	r.lost = min(max(2*r.lost, firstRetry), most)
	fail, refused := errors.AsType[*wire.Fail](err)
	switch {
	case !refused || fail.Code == wire.GoingAway:
		return spread(r.lost)
	case fail.Code == wire.Taken, fail.Code == wire.Busy, // perhaps by our own former connection, whose end the master has not noticed yet
		fail.Code == wire.Unknown: // the pool was removed; the master keeps the next connection until it is back
		r.taken = min(max(2*r.taken, takenRetry), slowRetry)
		return spread(r.taken)
	}
	return spread(slowRetry)
}

// spread returns a time from half of d to one and a half of it.
func spread(d time.Duration) time.Duration { return d/2 + rand.N(d) }
