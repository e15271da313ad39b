package master

import (
	"context"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// standingEvery is how often an ask that waits is told where it stands, if that has changed.
const standingEvery = time.Second

// standings are those of the requests in a pool's queue, found together for all that ask within a time.
type standings struct {
	at  balance.Instant // zero: never
	all map[balance.WaitID]balance.Standing
}

// poolWaits are the asks that wait for an answer, and where they stand.
type poolWaits struct {
	waits     map[balance.WaitID]*waitingAsk
	standings standings
}

// standingLocked returns where an ask stands. It returns false if it waits no more.
func (p *pool) standingLocked(now balance.Instant, id balance.WaitID) (balance.Standing, bool) {
	if p.waits[id] == nil {
		return balance.Standing{}, false
	}
	s := &p.standings
	if s.at == 0 || now >= s.at.Add(standingEvery/2) {
		s.at = now
		if s.all == nil {
			s.all = make(map[balance.WaitID]balance.Standing)
		}
		clear(s.all)
		p.core.Standings(func(id balance.WaitID, at balance.Standing) { s.all[id] = at })
	}
	at, known := s.all[id]
	return at, known
}

// awaitTurn waits for the end of a wait in the queue, and tells req.Stands meanwhile where it stands. It returns false if
// ctx has ended first.
func (p *pool) awaitTurn(ctx context.Context, req *balance.Request, w *waitingAsk) (r waitResult, ok bool) {
	var tick <-chan time.Time
	if req.Stands != nil {
		every := time.NewTicker(standingEvery)
		defer every.Stop()
		tick = every.C
		req.Stands(w.standing)
	}
	for told := w.standing; ; {
		select {
		case <-ctx.Done():
			return r, false
		case r = <-w.result:
			return r, true
		case <-tick:
			p.mu.Lock()
			at, known := p.standingLocked(clock.Now(), w.wait)
			p.mu.Unlock()
			if known && at != told {
				told = at
				req.Stands(at)
			}
		}
	}
}
