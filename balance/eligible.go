package balance

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// This file says which servers may take a request. The policy chooses among those.

// candidates returns the servers that may take the request, best kind first: up and
// with room; failing those, up but still warming up; failing those and if nobody may
// wait, up at all; and if every server is ejected, those, as a refusal for certain
// would help nobody.
func (p *Pool) candidates(now Instant, req *Request) []*Server {
	if room := p.filter(now, req, Up, func(s *Server) bool {
		return float64(s.leases) < min(p.ceiling(s), p.warmth(now, s))
	}); len(room) > 0 {
		return room
	}
	if room := p.filter(now, req, Up, func(s *Server) bool { return float64(s.leases) < p.ceiling(s) }); len(room) > 0 || p.mayWait(now, req) {
		return room
	}
	return p.filter(now, req, Ejected, func(*Server) bool { return true })
}

func (p *Pool) filter(now Instant, req *Request, state State, room func(*Server) bool) []*Server {
	p.scratch = p.scratch[:0]
	for _, s := range p.servers {
		if s.State(now) == state && s.suits(req) && room(s) {
			p.scratch = append(p.scratch, s)
		}
	}
	return p.scratch
}

// suits tells whether the request itself leaves the server open.
func (s *Server) suits(req *Request) bool {
	return (len(req.Exclude) == 0 || !slices.Contains(req.Exclude, s.spec.ID)) &&
		(len(req.Labels) == 0 || s.carries(req.Labels))
}

// mayWait tells whether a server is up that could take the request later.
func (p *Pool) mayWait(now Instant, req *Request) bool {
	return slices.ContainsFunc(p.servers, func(s *Server) bool { return s.State(now) == Up && s.suits(req) })
}

func (p *Pool) anyRoom(now Instant) bool {
	if p.scorer != nil && p.order.first() >= 0 {
		return true
	}
	return slices.ContainsFunc(p.servers, func(s *Server) bool { return s.State(now) == Up && float64(s.leases) < p.ceiling(s) })
}

// ceiling is L, the leases a server may have before requests are held back in the
// queue, where they are not bound yet and can still go to whoever comes free first.
// A server with a slot or two is held to exactly that, if the round trip that leaves
// a slot idle is small beside the work: there one long request blocks all behind it.
// Others get enough ahead that no slot idles. A server whose slots are not known, or a
// pool without a queue, has no limit.
func (p *Pool) ceiling(s *Server) float64 {
	if p.queue.size == 0 || s.slots.learnt == 0 && s.spec.Slots == 0 {
		return math.Inf(1) // what latencies tell is too vague to hold requests back for
	}
	c, _ := s.Slots()
	whole := math.Ceil(c - slotsError)
	if p.pace.weight == 0 {
		return whole + s.stretch
	}
	trip, mean := p.cfg.RoundTrip.Seconds(), s.mean()
	if c <= lateSlots && trip < lateTrip*mean {
		return whole + s.stretch
	}
	return whole + math.Ceil(2*trip*c/mean-spareSlot) + s.stretch
}

const (
	slotsError = .3 // learnt slots are off by less
	lateSlots  = 2 + slotsError
	lateTrip   = .04
	spareSlot  = .1
)

// probe moves the limit of a server on which a request has just ended. A limit that
// rests on slots declared too low would prove itself right for ever, as nothing beyond
// it is ever tried. So while requests wait and the server is no slower than alone, it
// gets more; and that is taken back when it slows down. Slots learnt from utilisation
// need no probing: they show however few requests there are.
func (p *Pool) probe(s *Server, took time.Duration) {
	if p.queue.size == 0 || p.pace.weight == 0 || s.slots.learnt > 0 {
		return
	}
	s.delay += probeGain * (math.Log(took.Seconds()) - s.logService - s.delay)
	switch c, _ := s.Slots(); {
	case s.delay > math.Log(probeSlow):
		s.stretch = max(0, s.stretch-1/c)
	case p.queue.length > 0 && s.delay < math.Log(probeFast):
		s.stretch = min(s.stretch+1/(4*c), c)
	}
}

const (
	probeGain = .02
	probeFast = 1.15
	probeSlow = 1.3
)

// rank brings a server's place in the order up to date.
func (p *Pool) rank(now Instant, s *Server) {
	if p.scorer == nil {
		return
	}
	k := never
	if s.State(now) == Up && float64(s.leases) < min(p.ceiling(s), p.warmth(now, s)) {
		k = newKey(p.scorer.Score(now, s), p.rng.Uint64())
	}
	p.order.set(s.index, k)
}

// tend looks after what changes by itself, one server at a time and all of them in
// about a tendCycle: b drifts back to the pool's mean, external load fades, warming up
// goes on. Servers whose ejection is over are looked after at once.
func (p *Pool) tend(now Instant) {
	if now >= p.returns {
		p.returns = forever
		for _, s := range p.servers {
			if s.State(now) == Ejected {
				p.returns = min(p.returns, s.health.ejectedUntil)
			}
			p.rank(now, s)
		}
	}
	if len(p.servers) == 0 || now.Sub(p.tendedAt)*time.Duration(len(p.servers)) < tendCycle {
		return
	}
	p.tendedAt = now
	p.tended++
	if p.tended >= len(p.servers) {
		p.tended = 0
	}
	s := p.servers[p.tended]
	p.fade(now, s)
	p.rank(now, s)
}

const (
	tendCycle = 100 * time.Millisecond
	forever   = Instant(math.MaxInt64)
)

// A server that is new or comes back is given work by and by: its caches are cold, and
// if it is broken, little is lost.
const (
	warmTime  = 10 * time.Second
	warmStart = .1
)

// warm starts a server's warming up at an instant.
func (p *Pool) warm(s *Server, from Instant) {
	s.warmFrom = from
	p.warmUntil = max(p.warmUntil, from.Add(warmTime))
	p.returns = min(p.returns, from)
}

// warmth is how many leases a server may have: no more than the mean of those that
// are warm, and of that a part that grows. Without any that are warm, all are equal.
func (p *Pool) warmth(now Instant, s *Server) float64 {
	age := now.Sub(s.warmFrom)
	if now >= p.warmUntil || age >= warmTime {
		return math.Inf(1)
	}
	if now.Sub(p.meanAt) > meanEvery || p.meanAt == 0 {
		p.mean, p.meanAt = p.meanOfWarm(now), now
	}
	return max(1, p.mean*(warmStart+(1-warmStart)*max(0, age.Seconds())/warmTime.Seconds()))
}

const meanEvery = 10 * time.Millisecond

func (p *Pool) meanOfWarm(now Instant) float64 {
	leases, warm := 0, 0
	for _, s := range p.servers {
		if s.State(now) == Up && now.Sub(s.warmFrom) >= warmTime {
			leases += s.leases
			warm++
		}
	}
	if warm == 0 {
		return math.Inf(1)
	}
	return float64(leases) / float64(warm)
}

// refuse says why no server can take the request now.
func (p *Pool) refuse(now Instant, req *Request) *Refusal {
	if p.mayWait(now, req) {
		return &Refusal{Reason: Saturated, RetryAfter: p.retryAfter(), Detail: fmt.Sprintf("pool %s: every server is at its limit", p.cfg.Name)}
	}
	var draining, excluded, unlabelled int
	for _, s := range p.servers {
		switch {
		case s.draining || s.gone:
			draining++
		case slices.Contains(req.Exclude, s.spec.ID):
			excluded++
		default:
			unlabelled++
		}
	}
	detail := fmt.Sprintf("pool %s: %d servers", p.cfg.Name, len(p.servers))
	for _, why := range []struct {
		n    int
		what string
	}{{draining, "draining"}, {excluded, "have already failed this request"}, {unlabelled, "without the labels asked for"}} {
		if why.n > 0 {
			detail += fmt.Sprintf(", %d %s", why.n, why.what)
		}
	}
	return &Refusal{Reason: NoServer, RetryAfter: time.Second, Detail: detail}
}
