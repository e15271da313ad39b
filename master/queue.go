package master

import (
	"context"
	"math"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// waitingAsk is an ask without an answer yet: it waits in its pool's queue or, if result is nil, for the
// verdict of the server that it was granted.
type waitingAsk struct {
	wait     balance.WaitID
	standing balance.Standing
	asked    asked
	result   chan waitResult // has room for one, so that ending the wait never blocks
	grant    balance.Grant
}

// waitResult is the end of a wait.
type waitResult struct {
	balance.Release
	dispatch bool // the pool dispatches: the server has to accept first
}

// queueRecheck is how soon a pool with waiting asks is visited though nothing has happened: a server's
// ejection ends without an event.
const queueRecheck = 100 * time.Millisecond

// pickOrWaitLocked answers a request with a grant, a *balance.Refusal, or what it has to wait for. It keeps
// nothing of the request. A grant is large, so it is written to grant.
func (p *pool) pickOrWaitLocked(now balance.Instant, req *balance.Request, grant *balance.Grant) (*waitingAsk, error) {
	err := p.pickLocked(now, req, grant)
	switch r := refusal(err); {
	case err == nil && p.cfg.Dispatch:
		return &waitingAsk{grant: *grant, asked: newAsked(req)}, nil
	case r != nil && r.Reason == balance.Saturated && p.cfg.QueueSize > 0:
		wait, full := p.enqueueLocked(now, req)
		if full != nil {
			return nil, full
		}
		return wait, nil
	}
	return nil, err
}

// enqueueLocked puts a request into the queue.
func (p *pool) enqueueLocked(now balance.Instant, req *balance.Request) (*waitingAsk, *balance.Refusal) {
	id, position, full := p.core.Join(now, req)
	if full != nil {
		return nil, full
	}
	w := &waitingAsk{wait: id, standing: p.core.StandingAt(position), result: make(chan waitResult, 1), asked: newAsked(req)}
	p.waits[id] = w
	p.expireByLocked(sooner(p.core.Expire(now), now.Add(queueRecheck)))
	return w, nil
}

const allOfThem = math.MaxInt

// unlock serves the queue and unlocks mu: what was done under the lock may have freed a server. Every change
// ends with it. Then it tells agents of the leases that have ended, and keeps the events.
func (p *pool) unlock() {
	if shares := len(p.mu.group.Load().pools) > 1; shares || len(p.waits) > 0 {
		p.serveGroupLocked(clock.Now())
		if shares {
			p.tellGroupLocked()
		}
	}
	if from := p.core.LocalFrom(); from != p.localFrom {
		p.localFrom = from
		p.markChangedLocked()
	}
	ends, news := p.core.TakeEnds(), p.takeNewsLocked()
	p.mu.Unlock()
	if len(ends) > 0 && p.onEnds != nil {
		p.onEnds(ends)
	}
	if len(news) > 0 && p.onEvents != nil {
		p.onEvents(news)
	}
}

// serveQueueLocked ends the waits that are over, and gives servers to so many of the others at most.
func (p *pool) serveQueueLocked(now balance.Instant, most int) {
	if !p.isLeadingLocked(now) {
		p.endAllWaitsLocked(now, p.notLeaderRefusalLocked())
		return
	}
	p.released = p.core.ServeSome(now, p.released[:0], most)
	for i := range p.released {
		p.finishWaitLocked(now, waitResult{Release: p.released[i]})
		p.released[i] = balance.Release{}
	}
}

// finishWaitLocked hands the end of a wait to the goroutine that waits.
func (p *pool) finishWaitLocked(now balance.Instant, r waitResult) {
	w := p.waits[r.ID]
	delete(p.waits, r.ID)
	if r.Refusal != nil {
		p.stats.queueTimes[endOf(r.Refusal.Reason)].Observe(queueScale, r.Waited, 1)
		p.countAnswerLocked(now, w.asked, r.Refusal, r.Waited)
		p.stats.answerTimes.Observe(answerScale, r.Waited, 1)
	} else {
		p.stats.queueTimes[served].Observe(queueScale, r.Waited, 1)
		p.sealLocked(&r.Grant)
		if r.dispatch = p.cfg.Dispatch; !r.dispatch {
			p.countAnswerLocked(now, w.asked, nil, 0)
			p.stats.answerTimes.Observe(answerScale, r.Waited, 1)
		}
	}
	w.result <- r
}

func endOf(r balance.Reason) waitEnd {
	switch r {
	case balance.Shed:
		return shed
	case balance.Saturated:
		return displaced
	case balance.Overflowed:
		return wentOn
	}
	return removed
}

// leaveQueueLocked gives up what an ask waits for, because the ask was withdrawn.
func (p *pool) leaveQueueLocked(now, began balance.Instant, w *waitingAsk) {
	grant := w.grant
	if w.result != nil {
		if p.core.Leave(w.wait) {
			delete(p.waits, w.wait)
			p.stats.queueTimes[withdrew].Observe(queueScale, now.Sub(began), 1)
			return
		}
		grant = (<-w.result).Grant
	}
	if grant.Lease != 0 {
		p.endByMasterLocked(now, grant.Lease, balance.Outcome{Result: balance.Canceled})
	}
}

// endAllWaitsLocked ends all waits: the pool has been removed, or is led by another master.
func (p *pool) endAllWaitsLocked(now balance.Instant, why *balance.Refusal) {
	for id := range p.waits {
		p.core.Leave(id)
		p.finishWaitLocked(now, waitResult{Release: balance.Release{ID: id, Refusal: why}})
	}
}

// awaitGrant waits for the answer to an ask that has none yet: for its turn in the queue, and for a server
// that accepts, if the pool dispatches. It returns a grant, a *balance.Refusal, or ctx's cause, and how long
// the request was in the queue. It blocks; the pool must not be locked, and req must not share a read buffer.
func (m *Master) awaitGrant(ctx context.Context, p *pool, began balance.Instant, req *balance.Request, w *waitingAsk) (grant balance.Grant, waited time.Duration, err error) {
	first := w.asked
	for w != nil {
		grant = w.grant
		if w.result != nil {
			joined := clock.Now()
			r, ok := p.awaitTurn(ctx, req, w)
			if !ok {
				p.mu.Lock()
				p.leaveQueueLocked(clock.Now(), joined, w)
				p.unlock()
				return balance.Grant{}, waited, context.Cause(ctx)
			}
			waited += r.Waited
			switch {
			case r.Refusal != nil:
				return balance.Grant{}, waited, r.Refusal
			case !r.dispatch:
				return r.Grant, waited, nil
			}
			grant = r.Grant
		}
		grant, w, err = m.dispatch(ctx, p, began, first, req, grant)
	}
	return grant, waited, err
}
