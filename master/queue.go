package master

import (
	"context"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// pending is an ask that has no answer yet: it waits in its pool's queue or, if over
// is nil, it is granted a server that has to be told.
type pending struct {
	wait     balance.WaitID
	position int
	asked    asked
	over     chan release // has room for one, so that whoever ends the wait never blocks
	grant    balance.Grant
}

// release is the end of a wait.
type release struct {
	balance.Release
	tell bool // the pool dispatches: the server has to be told
}

// lookAgain is how soon a pool in which somebody waits is looked at though nothing has
// happened: a server comes back from an ejection without a word.
const lookAgain = 100 * time.Millisecond

// The methods of pool want mu held.

// ask answers a request with a grant, a *balance.Refusal, or what it has to wait for.
// It keeps nothing of the request. A grant is large: it is put where the caller has room.
func (p *pool) ask(now balance.Instant, req *balance.Request, grant *balance.Grant) (*pending, error) {
	err := p.pick(now, req, grant)
	switch r := refusal(err); {
	case err == nil && p.cfg.Dispatch:
		return &pending{grant: *grant, asked: newAsked(req)}, nil
	case r != nil && r.Reason == balance.Saturated && p.cfg.QueueSize > 0:
		wait, full := p.join(now, req)
		if full != nil {
			return nil, full
		}
		return wait, nil
	}
	return nil, err
}

// join puts a request into the queue.
func (p *pool) join(now balance.Instant, req *balance.Request) (*pending, *balance.Refusal) {
	id, position, full := p.core.Join(now, req)
	if full != nil {
		return nil, full
	}
	w := &pending{wait: id, position: position, over: make(chan release, 1), asked: newAsked(req)}
	p.waits[id] = w
	p.soon(sooner(p.core.Expire(now), now.Add(lookAgain)))
	return w, nil
}

// unlock lets go of mu, and first serves those who wait: whatever was done under the
// lock may have freed a server. All that takes mu to change something gives it back so.
func (p *pool) unlock() {
	if len(p.waits) > 0 {
		p.serve(clock.Now())
	}
	p.mu.Unlock()
}

func (p *pool) serve(now balance.Instant) {
	if !p.leads(now) {
		p.dismiss(now, p.notLeader())
		return
	}
	p.released = p.core.Serve(now, p.released[:0])
	for i := range p.released {
		p.release(now, release{Release: p.released[i]})
		p.released[i] = balance.Release{}
	}
}

// release is the end of a wait, for the goroutine that waits.
func (p *pool) release(now balance.Instant, r release) {
	w := p.waits[r.ID]
	delete(p.waits, r.ID)
	if r.Refusal != nil {
		p.tally.waited[endOf(r.Refusal.Reason)].observe(r.Waited, 1)
		p.count(now, w.asked, r.Refusal, r.Waited)
		p.tally.took.observe(r.Waited, 1)
	} else {
		p.tally.waited[served].observe(r.Waited, 1)
		p.seal(&r.Grant)
		if r.tell = p.cfg.Dispatch; !r.tell {
			p.count(now, w.asked, nil, 0)
			p.tally.took.observe(r.Waited, 1)
		}
	}
	w.over <- r
}

func endOf(r balance.Reason) waitEnd {
	switch r {
	case balance.Shed:
		return shed
	case balance.Saturated:
		return displaced
	}
	return removed
}

// leave gives up what an ask waits for, because nobody wants its answer any more.
func (p *pool) leave(now, began balance.Instant, w *pending) {
	grant := w.grant
	if w.over != nil {
		if p.core.Leave(w.wait) {
			delete(p.waits, w.wait)
			p.tally.waited[withdrew].observe(now.Sub(began), 1)
			return
		}
		grant = (<-w.over).Grant
	}
	if grant.Lease != 0 {
		p.end(now, grant.Lease, balance.Outcome{Result: balance.Canceled})
	}
}

// dismiss ends all waits: the pool has been removed, or is led by another master.
func (p *pool) dismiss(now balance.Instant, why *balance.Refusal) {
	for id := range p.waits {
		p.core.Leave(id)
		p.release(now, release{Release: balance.Release{ID: id, Refusal: why}})
	}
}

// obtain waits for the answer to an ask that has none yet: for its turn in the queue,
// and for a server that accepts, if the pool dispatches. It returns a grant, a
// *balance.Refusal, or ctx's cause, and how long the request was in the queue. It
// blocks, holding no lock; req must not lie in a read buffer.
func (m *Master) obtain(ctx context.Context, p *pool, began balance.Instant, req *balance.Request, w *pending) (grant balance.Grant, waited time.Duration, err error) {
	first := w.asked
	for w != nil {
		grant = w.grant
		if w.over != nil {
			joined := clock.Now()
			select {
			case <-ctx.Done():
				p.mu.Lock()
				p.leave(clock.Now(), joined, w)
				p.unlock()
				return balance.Grant{}, waited, context.Cause(ctx)
			case r := <-w.over:
				waited += r.Waited
				switch {
				case r.Refusal != nil:
					return balance.Grant{}, waited, r.Refusal
				case !r.tell:
					return r.Grant, waited, nil
				}
				grant = r.Grant
			}
		}
		grant, w, err = m.dispatch(ctx, p, began, first, req, grant)
	}
	return grant, waited, err
}
