package balance

import "math"

// This file finds the server at which a request of known work costs least: one that has room, or one that it had better wait for.

// mostWeighed is the size of the largest pool of which each server is looked at. In a larger one it is those that came closest by their score.
const mostWeighed = 64

// weighs reports whether the choice for the request goes by work.
func (p *Pool) weighs(req *Request) bool {
	return p.sizes.pay() && p.plain && !p.personal(req)
}

// weighing is a search for the server at which a request costs least.
type weighing struct {
	work   float64
	prices prices
	any    bool // every server suits the request
	beyond *beyond
	waiter *waiter // the request's place in the queue; nil: it has none
	waits  bool    // it may wait for a server that has no room

	best, later               *Server // of those with room, and of the others; nil: none
	lowest, soonest           float64 // what the request costs there
	stayAtBest, stayWithLater float64
}

// lightest returns the server for the request; nil: none has room, or later is so much faster that it had better wait for that one.
func (p *Pool) lightest(now Instant, req *Request) (best, later *Server) {
	v := weighing{work: p.sizes.workOf(p.kindOf(now, req)), prices: p.prices(), beyond: p.beyond(now, req.Edge), waiter: p.trying, waits: p.mayAwait(now, req),
		lowest: math.Inf(1), soonest: math.Inf(1)}
	v.any = v.beyond == nil && len(req.Exclude) == 0 && len(req.Labels) == 0 && req.side == anySide
	if servers, _ := p.among(now, req); len(servers) <= mostWeighed {
		for _, s := range servers {
			v.look(now, req, s)
		}
	} else if o := p.orderOf(now, req, v.beyond); o != nil {
		var few [maxBest]int32
		for _, i := range o.finalists(few[:0]) {
			v.look(now, req, p.servers[i])
		}
	}
	if v.best != nil && v.later != nil && v.soonest < v.lowest && v.stayWithLater < v.stayAtBest {
		return nil, v.later
	}
	return v.best, nil
}

// look compares one more server.
func (v *weighing) look(now Instant, req *Request, s *Server) {
	switch {
	case s.standing == isOut || !v.any && !s.suits(now, req, v.beyond):
	case s.standing == isOpen:
		if s.leastCost(v.work, &v.prices) > v.lowest {
			return // whatever it has to do
		}
		var e expense
		if s.cost(now, v.work, &v.prices, &e); e.total < v.lowest || e.total == v.lowest && s.turn < v.best.turn {
			v.best, v.lowest, v.stayAtBest = s, e.total, e.stay
		}
	case v.waits && !s.isLimited():
		if e := s.costLater(now, v.work, &v.prices, v.waiter); e.total < v.soonest {
			v.later, v.soonest, v.stayWithLater = s, e.total, e.stay
		}
	}
}

// mayAwait reports whether a request may wait for a server though another has room. It must not lead to a refusal: the queue is to be nearly
// empty, and a request that has waited for half of its time takes any server.
func (p *Pool) mayAwait(now Instant, req *Request) bool {
	switch w := p.trying; {
	case p.loose || 2*p.queue.length >= p.queue.size || p.mayOverflow(req) || len(req.Exclude) > 0:
		return false
	case w != nil:
		return now.Sub(w.joined) < w.giveUp.Sub(w.joined)/2
	}
	return req.Deadline == 0 || p.giveUpAt(now, now, req).Sub(now) > leastWait/2
}

// allAwait reports whether all that wait would rather wait than go where there is room.
func (p *Pool) allAwait() bool { return p.queue.awaiting == p.queue.length }

// await has a request in the queue wait for the server that choose would rather give it later.
func (p *Pool) await(now Instant, w *waiter) {
	s := p.later
	if p.later = nil; s == nil {
		return
	}
	w.again = now.Add(p.typical() / awaitChecks)
	if w.awaits == s {
		return
	}
	p.queue.stopAwaiting(w)
	of := s.workload(now)
	w.awaits, w.work = s, p.sizes.workOf(p.kindOf(now, &w.req))
	w.ahead, w.departed = of.awaited, of.departed
	of.awaited += w.work
	p.queue.awaiting++
}

// awaitChecks is how often while a request takes it is looked for another server for one that waits for a certain one.
const awaitChecks = 4

// stopAwaiting has a request take any server again.
func (q *queue) stopAwaiting(w *waiter) {
	if s := w.awaits; s != nil {
		s.work.awaited = max(0, s.work.awaited-w.work)
		s.work.departed += w.work
		w.awaits = nil
		q.awaiting--
	}
}
