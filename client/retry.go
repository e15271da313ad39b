package client

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/evenkeel-lb/evenkeel/wire"
)

// retry computes the wait before the next connection. Its zero value is that of a connLoop that has neither
// been refused nor lost a connection.
//
// A wait is drawn at random from half to one and a half of its mean, so that no error causes a burst of
// attempts, and edges and agents that lost one master together do not all come back at once.
type retry struct {
	lossWait  time.Duration // mean wait after the last loss
	takenWait time.Duration // mean wait after the last Taken, Busy or Unknown
}

const (
	firstRetry = 10 * time.Millisecond
	takenRetry = 500 * time.Millisecond
	slowRetry  = 5 * time.Second // after a Fail that a person has to fix
	minUptime  = time.Second     // a connection must last so long to count as accepted, since a registration is refused after the Welcome
)

// next returns the wait after a connection ended with err. up is how long it was connected, zero: never. most
// bounds the mean wait after a loss.
func (r *retry) next(err error, up, most time.Duration) time.Duration {
	if up >= minUptime {
		*r = retry{}
	}
	r.lossWait = min(max(2*r.lossWait, firstRetry), most)
	fail, refused := errors.AsType[*wire.Fail](err)
	switch {
	case !refused || fail.Code == wire.GoingAway:
		return jitter(r.lossWait)
	case fail.Code == wire.Taken, fail.Code == wire.Busy, // perhaps by our own former connection, whose end the master has not noticed yet
		fail.Code == wire.Unknown: // the pool was removed; the master keeps the next connection until it is back
		r.takenWait = min(max(2*r.takenWait, takenRetry), slowRetry)
		return jitter(r.takenWait)
	}
	return jitter(slowRetry)
}

// jitter returns a time from half of d to one and a half of it.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }
