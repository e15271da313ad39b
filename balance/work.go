package balance

import (
	"fmt"
	"math"
)

// This file counts the work that servers have left, where requests tell their sizes, and chooses by it. The unit is the work of a request of
// the usual size: a server does it in b. What a server has left falls as time passes, as if each of its requests got the same
// share of it; but not what those have left whose class alone is known, if times within it are very unequal. Nothing here happens as long as sizes and classes
// say nothing.

// workload is the work of the requests at a server.
type workload struct {
	at     Instant // as of when
	got    float64 // what each request at the server has got by then, since there was none
	rate   float64 // what each gets in a second from then on
	sum    float64 // work of the requests present
	began  float64 // sum of got when those of them came that age
	aging  int32   // leases that age
	stress float64 // sum of lease.stress
	count  int32   // leases of which the work is known
	sized  sized   // what its requests with a size had

	awaited  float64 // work of the requests in the queue that await this server
	departed float64 // work of those that have stopped doing so, ever
}

const (
	leastLeft = .3 // of the mean work, that a request is taken to have left however long it has been there: estimates are rough

	// idlePrice is what a unit of mean work costs at a server of mean speed that has a slot free while nearly all are in use, in cubes of the time
	// that a request of mean work takes there. It keeps fast servers for large requests. It falls with the eighth power of
	// the share of slots in use: where most are idle, no large request comes too late for a fast one. Half of it makes the p99 of B2 a twentieth
	// more, one and a half times as much the means.
	idlePrice = 16.

	// fullPrice is the same at a server that has none free, whatever the others have: who waits for it delays all that will. Without it
	// all requests would wait for the fastest servers, also where others are idle: at a load of .5 means would be a fifth more. Twice as much
	// makes the p99 a tenth more.
	fullPrice = 8.
)

// workload returns the server's, which there is from then on.
func (s *Server) workload(now Instant) *workload {
	if s.work == nil {
		s.work = &workload{at: now}
	}
	return s.work
}

// advance lets time pass.
func (w *workload) advance(now Instant) {
	if w.count == 0 {
		w.got, w.rate, w.sum, w.began, w.aging, w.stress = 0, 0, 0, 0, 0, 0
	}
	w.got = w.gotBy(now)
	w.at = now
}

// gotBy returns what each request that has been there since got was zero will have got.
func (w *workload) gotBy(now Instant) float64 {
	return w.got + seconds(max(0, now.Sub(w.at)))*w.rate
}

// progress returns how much work each of n requests at the server gets in a second.
func (s *Server) progress(n float64) float64 {
	n = max(1, n)
	return min(1, s.capacity.slots/n) / (s.Service() * s.Growth(n))
}

// workLeft returns how much work the requests at the server have left, of which there are n. Those of which nothing is known count
// with the mean.
func (s *Server) workLeft(now Instant, n, mean float64) float64 {
	w := s.work
	if w == nil || w.count == 0 {
		return n * mean
	}
	known := float64(w.count)
	left := w.sum + w.began - float64(w.aging)*w.gotBy(now)
	if least := leastLeft * known * mean; left < least { // the built-in max is slower, and this runs for every server that a search looks at
		left = least
	}
	if known < n {
		left += (n - known) * mean
	}
	return left
}

// prices are what the costs at all servers have in common, as long as nothing more is learnt.
type prices struct {
	mean  float64 // work of a request
	unit  float64 // turns a time in b of a server as fast as the others into one over that which a request of mean work takes at a server of mean speed
	idle  float64 // of work at a server with a slot free: over its ratio
	full  float64 // the same at one that has none
	grows bool    // requests take longer the more are there, even up to the slots
}

// prices returns those of now.
func (p *Pool) prices() prices {
	mean := p.sizes.meanWork()
	per := 1 / (mean * p.perRatio)
	return prices{mean, p.perRatio / mean, p.workPrice * per, fullPrice * per, p.growth.exponent > 0}
}

// stay returns how long a request of that work would be at the server, which has n with so much work left, in units: it takes
// part in the slots with those that are there, as long as these last.
func (s *Server) stay(work, n, left, unit float64) float64 {
	return max(work, (work+min(left, n*work))/s.capacity.slots) * s.ratio * s.Growth(n+1) * unit
}

// expense is what a request of known work costs at a server.
type expense struct {
	left  float64 // work that those at the server have left, or that is to be done before the request has a slot; zero if that does not matter
	stay  float64 // how long it would be there, its wait included, over the time of a request of mean work at a server of mean speed
	slows float64 // what is added to the cubes of the stays of those present
	price float64 // of the server's time
	total float64 // the cube of the stay, as it is long ones that make the p99, and the others; more if the server's requests fail
}

// cost works out what a request of that work costs at the server. It runs for every server that a search looks at.
func (s *Server) cost(now Instant, work float64, with *prices, e *expense) {
	n := float64(s.leases)
	if s.load.x > 0 || s.isHeld {
		n = s.Load(now)
	}
	c, pace := s.capacity.slots, s.ratio*with.unit
	e.left, e.stay, e.slows = 0, work*pace, 0
	if over := n + 1 - c; over > 0 && n > 0 { // else it has a slot of its own, whatever the others have left
		e.left = s.workLeft(now, n, with.mean)
		part := e.left / n // of each that is there
		if work < part {
			part = work
		}
		if stay := (work + n*part) / c; stay > work {
			e.stay = stay * pace
		}
		if over > slotsError {
			stress := 3 * n
			if w := s.work; w != nil {
				stress = w.stress
				if stress < 0 {
					stress = 0
				}
				if known := float64(w.count); known < n {
					stress += 3 * (n - known)
				}
			}
			e.slows = stress * part / c * pace
			if over < 1 {
				e.slows *= over
			}
		}
	}
	if with.grows {
		e.stay *= s.Growth(n + 1)
	}
	e.price = with.idle * work / s.ratio
	e.sum(s.Success())
}

// rounding is what two ways to calculate the same may differ by, relatively, on some machine: servers that cost the same are to be compared.
const rounding = 1e-12

// leastCost returns what a request of that work costs at the server at least, idle and without failures.
func (s *Server) leastCost(work float64, with *prices) float64 {
	stay := work * (s.ratio * with.unit)
	return (stay*stay*stay + with.idle*work/s.ratio) * (1 - rounding)
}

// sum adds the terms up for a server of which that share of requests does not fail.
func (e *expense) sum(success float64) {
	e.total = e.stay*e.stay*e.stay + e.slows + e.price
	if success < 1 {
		e.total /= success * success
	}
}

// costLater is cost where the request waits in the queue until the server, which has no room, has a slot for it. w is its place; nil: it has none yet.
func (s *Server) costLater(now Instant, work float64, with *prices, w *waiter) (e expense) {
	n := s.Load(now)
	e.left = s.workLeft(now, n, with.mean)
	switch {
	case s.work == nil:
	case w != nil && w.awaits == s:
		e.left += max(0, w.ahead-(s.work.departed-w.departed))
	default:
		e.left += s.work.awaited
	}
	e.stay = (e.left/s.capacity.slots + work) * s.ratio * s.Growth(n) * with.unit
	e.price = with.full * work / s.ratio
	e.sum(s.Success())
	return e
}

// kindOf returns what is known of a request.
func (p *Pool) kindOf(now Instant, req *Request) kind {
	return kind{req.size(), p.sizes.class.number(now, req.Class)}
}

// kind returns what is known of the lease's request.
func (l *lease) kind() kind { return kind{l.size, l.level} }

// enters enters the work of a request that goes to a server with its lease, before the server counts it.
func (p *Pool) enters(now Instant, req *Request, s *Server, l *lease) {
	k := p.kindOf(now, req)
	l.size, l.level = k.size, k.class
	if k.size == 0 && !p.sizes.tell() {
		return // nearly always
	}
	work := p.sizes.workOf(k)
	if p.sizes.knows(k) {
		p.sizes.counts(work)
	}
	s.enters(now, l, work, s.Load(now))
}

// enters enters the work of a lease at the server, which has n other requests. Of a lease that is older, a part is done: at least leastLeft of it is taken to be left.
func (s *Server) enters(now Instant, l *lease, work, n float64) {
	w, with := s.workload(now), s.pool.prices()
	stay := s.stay(work, n, s.workLeft(now, n, with.mean), with.unit)
	w.advance(now)
	done := min(seconds(now.Sub(l.started))*s.progress(n+1), (1-leastLeft)*work)
	l.work, l.stress, l.began, l.ages = work, 3*stay*stay, w.got-done, s.pool.sizes.ages(l.kind())
	w.sum += l.work
	if l.ages {
		w.began += l.began
		w.aging++
	}
	w.stress += l.stress
	w.count++
	w.rate = s.progress(n + 1)
}

// leaves takes the work of a lease that has ended away, while the server still counts it.
func (s *Server) leaves(now Instant, l *lease) {
	if l.work == 0 {
		return
	}
	w := s.work
	w.advance(now)
	w.sum -= l.work
	if l.ages {
		w.began -= l.began
		w.aging--
	}
	w.stress -= l.stress
	if w.count--; w.count == 0 {
		w.advance(now)
	}
	w.rate = s.progress(s.Load(now) - 1)
}

// reweigh takes the work of all open leases for what their sizes tell, now that sizes say something: the pool has had them since it began, or from
// the master before.
func (p *Pool) reweigh(now Instant) {
	for i := range p.ledger.leases {
		if l := &p.ledger.leases[i]; l.id != 0 && l.kind() != (kind{}) {
			l.server.leaves(now, l)
			l.server.enters(now, l, p.sizes.workOf(l.kind()), l.server.Load(now)-1)
		}
	}
}

// concludeWork works out from the totals of a round what the choice by work rests on.
func (p *Pool) concludeWork(now Instant, t *poolTotals) {
	p.sizes.conclude()
	p.noteKinds(now)
	if !p.sizes.tell() || t.rate == 0 {
		return
	}
	p.perRatio = t.rate * p.times.usual / t.local.slots
	busy := p.local.busy * p.local.busy
	busy *= busy
	p.workPrice = idlePrice * busy * busy
}

// checkWork reports what of the work that is counted is not as leases and the queue have it.
func (p *Pool) checkWork() error {
	type total struct {
		work, awaited float64
		count         int32
	}
	want, awaiting := make(map[*Server]total), 0
	for i := range p.ledger.leases {
		if l := &p.ledger.leases[i]; l.id != 0 && l.work > 0 {
			t := want[l.server]
			want[l.server] = total{t.work + l.work, t.awaited, t.count + 1}
		}
	}
	for w := range p.queue.each {
		if w.awaits != nil {
			t := want[w.awaits]
			want[w.awaits] = total{t.work, t.awaited + w.work, t.count}
			awaiting++
		}
	}
	if awaiting != p.queue.awaiting {
		return fmt.Errorf("pool %s: %d requests that wait await a server, %d are counted", p.cfg.Name, awaiting, p.queue.awaiting)
	}
	for _, s := range p.servers {
		t, w := want[s], s.work
		if w == nil {
			w = new(workload)
		}
		near := func(a, b float64) bool { return math.Abs(a-b) <= 1e-6*(1+math.Abs(a)+math.Abs(b)) }
		if w.count != t.count || !near(w.sum, t.work) || !near(w.awaited, t.awaited) {
			return fmt.Errorf("server %s: leases of which the work is known, their work and what is awaited are counted as %d, %v and %v, want %d, %v and %v",
				s.spec.ID, w.count, w.sum, w.awaited, t.count, t.work, t.awaited)
		}
	}
	return nil
}
