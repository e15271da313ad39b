package flight

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Local decides for one pool whether an edge chooses servers by itself, because its asks take longer than they
// win. From what trip on that is so, the master says (balance.Pool.LocalFrom). The zero value asks. Now and then
// one request asks all the same, which shows when asking pays again.
type Local struct {
	on    bool
	run   int             // asks in a row that speak for the other way
	began balance.Instant // when the first of them was answered
	tried balance.Instant // the last ask
	since int             // requests since then
	trip  time.Duration   // that it took
}

const (
	slowAsks   = 16                     // in a row, and
	slowFor    = 200 * time.Millisecond // for so long: a busy machine is slow for moments
	fastAsks   = 3                      // in a row
	fastShare  = .7                     // of the trip from which the edge chooses: an ask that takes less is fast
	trialEvery = 250 * time.Millisecond // an ask at most so often, and
	trialShare = 2000                   // no more than one request of so many, so that it does not show in the slowest thousandth; or
	rareEvery  = 5 * time.Second        // where that takes long, an ask so often, and
	rareShare  = 200                    // no more than one request of so many
)

// Chooses reports whether the edge chooses the server of its next request. from is as the master says now; zero:
// the edge asks.
func (l *Local) Chooses(now balance.Instant, from time.Duration) bool {
	if from == 0 {
		l.Stop()
	}
	if !l.on {
		return false
	}
	l.since++
	ago := now.Sub(l.tried)
	if l.run > 0 || l.since > trialShare && ago >= trialEvery || l.since > rareShare && ago >= rareEvery {
		l.since, l.tried = 0, now
		return false
	}
	return true
}

// Asked takes how long an ask took that did not wait for a server to come free.
func (l *Local) Asked(now balance.Instant, took, from time.Duration) {
	l.tried, l.since, l.trip = now, 0, took
	other := from > 0 && took >= from
	if l.on {
		other = float64(took) < fastShare*float64(from)
	}
	if !other {
		l.run = 0
		return
	}
	if l.run++; l.run == 1 {
		l.began = now
	}
	if l.on && l.run < fastAsks || !l.on && (l.run < slowAsks || now.Sub(l.began) < slowFor) {
		return
	}
	l.on, l.run = !l.on, 0
}

// On reports whether the edge chooses at present.
func (l *Local) On() bool { return l.on }

// Stop has the edge ask until asks have been slow again for a while.
func (l *Local) Stop() { l.on, l.run = false, 0 }

// Trip returns how long the last ask took.
func (l *Local) Trip() time.Duration { return l.trip }
