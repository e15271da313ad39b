package balance

import (
	"math"
	"time"
)

// pace learns b, the time of one request alone at a server, from how long requests
// took there and how crowded it was when they came.
//
// It averages logarithms: service times spread over decades, and the mean of a few
// raw ones says only which server met the longest request. Old samples fade, and
// what fades is replaced by the pool's own mean, so a server that was unlucky once
// is tried again.
type pace struct {
	weight float64 // of the samples so far, faded
	sum    float64 // of their logarithms, faded alike
	last   Instant // when both were last faded
}

const (
	priorWeight   = 3   // samples that the pool's mean is worth
	leastWorth    = .3  // the same where servers differ far more than samples of one do
	worthErrors   = 2.  // standard errors that chance is taken to have made of how servers differ
	priorVariance = .25 // of logarithms, as it is taken to be before there are samples
	paceEnough    = 100 // samples; from then on one in each paceEvery will do
	paceEvery     = 5 * time.Millisecond
	timesEnough   = 1000 // samples of all servers; before, each moves their mean by more than can wait for the next round
	paceMemory    = 5    // time constant in seconds, for short requests
	paceService   = 20   // the same in services, for long ones
	paceAnswers   = 48.  // the same in answers of each server, where these are rare
	paceRare      = 60.  // seconds, at most, for those
	equalErrors   = 6.   // squared standard errors within which servers are equal: chance leads one in seventy beyond
	equalSlack    = 5.   // squared errors, of all servers together, beyond what is usual that chance still explains
)

// observe takes the logarithm of a service time in seconds. rate is that of forgetting.
func (p *pace) observe(now Instant, log, rate float64) {
	p.fade(now, rate)
	p.weight++
	p.sum += log
}

// fade lets the samples grow old, and returns what is kept of them.
func (p *pace) fade(now Instant, rate float64) (keep float64) {
	gone := seconds(now.Sub(p.last)) * rate
	keep = 1 - gone // which is e^-gone, as long as little is gone
	if gone > .01 {
		keep = math.Exp(-gone)
	}
	p.weight *= keep
	p.sum *= keep
	p.last = now
	return keep
}

// off returns how far the mean logarithm is from prior, which is worth so many samples: less as far as samples are few.
func (p *pace) off(prior, worth float64) float64 {
	return (p.sum - p.weight*prior) / (p.weight + worth)
}

// mean returns the mean logarithm of the samples, of which there is one at least.
func (p *pace) mean() float64 { return p.sum / p.weight }

// times is what is learnt of all servers' service times together, as if each server
// had speed 1, and what follows from it.
type times struct {
	pace
	square float64 // of the logarithms' squares, faded as they are
	total  float64 // of the service times themselves, faded alike
	began  Instant // the first sample

	log      float64 // mean logarithm
	usual    float64 // b of all servers in seconds; 1 while nothing is learnt
	perUsual float64 // 1 over it
	spread   float64 // mean over b
	rate     float64 // of forgetting, a second
	equal    float64 // squared errors within which a server's b is the pool's
	worth    float64 // samples of a server that the mean of all is worth
}

func (t *times) observe(now Instant, took, log float64) {
	if t.weight == 0 {
		t.began = now
	}
	keep := t.fade(now, t.rate)
	t.square = t.square*keep + log*log
	t.total = t.total*keep + took
	t.weight++
	t.sum += log
}

// derive brings up to date what follows from the samples. By its own times, a server
// that was very slow once would be remembered for very long; so the rate of forgetting
// is one for all.
func (t *times) derive(servers int) {
	t.log = t.sum / t.weight
	t.usual = math.Exp(t.log)
	t.perUsual = 1 / t.usual
	t.spread = max(1, t.total/t.weight/t.usual)
	rare := 0. // seconds in which each server gives so many answers as are wanted
	if age := seconds(t.last.Sub(t.began)); age > 0 {
		rare = paceAnswers * float64(servers) * -math.Expm1(-t.rate*age) / (t.weight * t.rate)
	}
	t.rate = 1 / max(paceMemory, paceService*t.usual, min(rare, paceRare))
}

// variance returns that of the logarithms.
func (t *times) variance() float64 {
	mean := t.sum / t.weight
	return max(0, t.square/t.weight-mean*mean)
}

// most returns the time under which 98 in 100 of the service times stay, if their
// logarithms are spread as chance would.
func (t *times) most() float64 {
	if t.weight == 0 {
		return 0
	}
	return math.Exp(t.sum/t.weight + nearlyAll*math.Sqrt(t.variance()))
}

const nearlyAll = 2 // standard deviations that 98 in 100 stay under

// samplesToSolve returns from how many new samples the slots of s are worked out anew. They are fewest where it has many requests and no limit: it may be in
// overload, and answers few in a second. They are fewer than usual where requests wait for a limit that may be too low, if as few show that twice as many requests
// take twice as long. Times of which few are very long vary more than the latest of them do: then their mean is far above what is usual.
func (p *Pool) samplesToSolve(s *Server) float64 {
	if s.isUnlimited() && s.leases >= kneeCrowded {
		return kneeSoon
	}
	if p.queue.length == 0 || !s.capacity.firm {
		return kneeEvery
	}
	variance := max(p.times.variance(), 2*math.Log(p.times.spread)) // the latter if logarithms are spread as chance would
	return min(kneeEvery, max(kneeSoon, kneeTells*variance))
}

// learn takes the duration of a request whose lease has ended.
func (p *Pool) learn(now Instant, s *Server, l *lease, o *Outcome) {
	crowd, took := float64(l.crowd), o.Duration
	if s.pace.weight > paceEnough && now.Sub(s.pace.last) < paceEvery {
		return
	}
	latency, alone := seconds(took), s.alone(crowd, took)
	log, first := math.Log(alone), p.times.weight == 0
	off := p.learnKind(now, s, l, log)
	if s.speed == 1 {
		p.times.observe(now, alone, log)
	} else {
		p.times.observe(now, alone*s.speed, log+math.Log(s.speed))
	}
	s.pace.observe(now, log-off, p.times.rate)
	s.sampled = now
	if !first {
		s.strain.observe(now, log-off-math.Log(s.Service()), s.strainMemory())
		s.refute(now)
	}
	if s.load.x <= max(1, float64(s.leases)) { // else the crowd is hearsay
		if s.knee == unheardKnee {
			s.knee = new(knee)
		}
		if solved := s.knee.observe(crowd, math.Log(latency)-off, p.times.variance(), s.capacity.slots, s.toldSlots(), p.samplesToSolve(s)); solved || !s.capacity.told {
			p.survey(s)
			for _, c := range s.counterparts() {
				c.pool.survey(c)
			}
		}
	}
	if p.times.weight < timesEnough {
		p.times.derive(len(p.servers))
	}
	if !first {
		p.assess(s)
		return
	}
	for _, s := range p.servers { // from now on b is in seconds
		p.assess(s)
		p.rank(now, s)
	}
}

// learnKind takes the logarithm of the time that a request would have taken alone, and returns by how much that is more than usual for
// what is known of it. Of a request that met more than the server has slots for that time is rough, and would make size seem to matter less.
func (p *Pool) learnKind(now Instant, s *Server, l *lease, log float64) float64 {
	k := l.kind()
	if k == (kind{}) {
		return 0
	}
	z := &p.sizes
	if float64(l.crowd) > s.capacity.slots+slotsError && z.n+z.class.n >= sizesCrowded {
		return z.off(k)
	}
	if k.size > 0 {
		z.observe(k.size, log-z.class.effect(k.class), &s.work.sized)
	}
	if k.class > 0 && p.times.weight > 0 {
		z.class.observe(k.class, log-math.Log(s.Service())-z.offBySize(k.size))
	}
	p.noteKinds(now)
	return z.off(k)
}

// noteKinds takes the open leases for what is known of them, when for the first time something is.
func (p *Pool) noteKinds(now Instant) {
	if p.sizes.tell() && !p.sizes.told {
		p.sizes.told = true
		p.reweigh(now)
	}
}

// alone returns the seconds that a request would have taken alone, of which so many were at the server with it.
func (s *Server) alone(crowd float64, took time.Duration) float64 {
	alone := seconds(took)
	if crowd > s.capacity.slots { // beyond c all are slower alike
		alone *= s.capacity.slots / crowd
	}
	return alone / s.Growth(crowd)
}

// assess brings a server's b and its limit up to date. Within its error b is the pool's at the declared
// speed, so that equal servers are exactly equal; what is beyond counts the more the farther it is. Where
// others send requests too b is as it was learnt, for what their count misses shows in it.
func (p *Pool) assess(s *Server) {
	s.ratio = 1 / s.speed
	off, variance := p.deviation(s)
	chance := p.times.equal * variance
	if s.isAlike && s.load.x <= loadError {
		s.ratio *= math.Exp(s.group)
		off, chance = s.pace.off(p.prior(s)+s.group, priorWeight), equalErrors*variance
	}
	square := off * off
	if s.load.x > loadError {
		chance = 0
	}
	if square > chance {
		s.ratio *= math.Exp(off * (1 - chance/square))
	}
	p.bound(s)
}

// deviation returns how far the server's mean logarithm is from what the pool's would be at its
// declared speed, and the square of that figure's standard error.
func (p *Pool) deviation(s *Server) (off, variance float64) {
	return s.pace.off(p.prior(s), p.times.worth), p.times.likely() / (s.pace.weight + p.times.worth)
}

// prior returns what the mean logarithm of a server would be if it were as the pool's at its declared speed.
func (p *Pool) prior(s *Server) float64 {
	if s.speed == 1 {
		return p.times.log
	}
	return p.times.log - math.Log(s.speed)
}

// likely returns the variance of one logarithm as far as the samples tell, which few do badly.
func (t *times) likely() float64 {
	return (t.variance()*t.weight + priorWeight*priorVariance) / max(1, t.weight-1)
}

// conclude works out from the totals of all servers' times whether they differ more than chance explains.
// If so, nothing is taken for equal: the less, the more they differ. It also concludes what their mean is worth beside a server's own samples: priorWeight times the variance of one of
// these over that of the servers' means.
func (t *times) conclude(c *poolTotals) {
	t.equal = equalErrors
	if n := float64(c.timed); n > 0 {
		chance := n + equalSlack // of the sum of n squares the mean is n
		t.equal *= min(1, max(0, 3-2*c.odds/chance))
	}
	t.worth = priorWeight
	if n := float64(c.paced); n > 0 {
		if between := (c.squares - (1+worthErrors*math.Sqrt(2/n))*c.noise) / n; between > 0 {
			t.worth = min(priorWeight, max(leastWorth, priorWeight*t.likely()/between))
		}
	}
}

// mean returns how long a request takes alone at the server on average, in seconds;
// zero while nothing is learnt. Where capacity is counted, it is this that counts; b
// only compares servers.
func (s *Server) mean() float64 {
	if s.pool.times.weight == 0 {
		return 0
	}
	return s.Service() * s.pool.times.spread
}

// fade lets what is known of a server's b grow old, so that a server which gets no
// requests drifts back to the pool's mean and is tried again.
func (p *Pool) fade(now Instant, s *Server) {
	if p.times.weight == 0 {
		return
	}
	s.pace.fade(now, p.times.rate)
	p.assess(s)
	p.times.derive(len(p.servers))
}
