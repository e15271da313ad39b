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
	square float64 // of the logarithms' squares, faded alike
	total  float64 // of the service times themselves, faded alike
	last   Instant // when both were last faded
}

const (
	priorWeight = 3   // samples that the pool's mean is worth
	paceEnough  = 100 // samples; from then on one in each paceEvery will do
	paceEvery   = time.Millisecond
	paceMemory  = 5  // time constant in seconds, for short requests
	paceService = 20 // the same in services, for long ones
)

// observe takes a service time in seconds and its logarithm. usual is what such times
// are in the whole pool: by its own, a server that was very slow once would be
// remembered for very long.
func (p *pace) observe(now Instant, took, log, usual float64) {
	p.fade(now, usual)
	p.weight++
	p.sum += log
	p.square += log * log
	p.total += took
}

// spread is how much longer the mean of the service times is than b, which is nearer
// to what half of them stay under.
func (p *pace) spread() float64 {
	if p.weight == 0 {
		return 1
	}
	return max(1, p.total/p.weight*math.Exp(-p.sum/p.weight))
}

// variance returns that of the logarithms.
func (p *pace) variance() float64 {
	mean := p.sum / p.weight
	return max(0, p.square/p.weight-mean*mean)
}

// most returns the time under which 98 in 100 of the service times stay, if their
// logarithms are spread as chance would.
func (p *pace) most() float64 {
	if p.weight == 0 {
		return 0
	}
	return math.Exp(p.sum/p.weight + nearlyAll*math.Sqrt(p.variance()))
}

const nearlyAll = 2 // standard deviations that 98 in 100 stay under

// fade lets the samples grow old.
func (p *pace) fade(now Instant, usual float64) {
	gone := now.Sub(p.last).Seconds() / max(paceMemory, paceService*usual)
	keep := 1 - gone // which is e^-gone, as long as little is gone
	if gone > .01 {
		keep = math.Exp(-gone)
	}
	p.weight *= keep
	p.sum *= keep
	p.square *= keep
	p.total *= keep
	p.last = now
}

// mean returns the mean logarithm, or prior as far as samples are few.
func (p *pace) mean(prior float64) float64 {
	return (p.sum + priorWeight*prior) / (p.weight + priorWeight)
}

// learn takes the duration of a request that met so many at its server, itself included.
func (p *Pool) learn(now Instant, s *Server, crowd float64, took time.Duration) {
	if s.pace.weight > paceEnough && now.Sub(s.pace.last) < paceEvery {
		return
	}
	c, _ := s.Slots()
	alone := took.Seconds() / max(1, crowd/c) // beyond c all are slower alike
	log := math.Log(alone)
	first := p.pace.weight == 0
	p.pace.observe(now, alone*s.Speed(), log+s.logSpeed, p.usual)
	s.pace.observe(now, alone, log, p.usual)
	if s.slots.learnt == 0 && s.spec.Slots == 0 {
		s.knee.observe(crowd, math.Log(took.Seconds()), p.pace.variance())
		s.survey()
	}
	if !first {
		p.assess(s)
		return
	}
	p.derive()
	for _, s := range p.servers { // from now on b is in seconds
		p.assess(s)
		p.rank(now, s)
	}
}

// assess brings a server's b up to date. The prior is what the pool's mean would be
// at its declared speed.
func (p *Pool) assess(s *Server) {
	s.logService = s.pace.mean(p.pace.sum/p.pace.weight - s.logSpeed)
	s.service = math.Exp(s.logService)
}

// mean returns how long a request takes alone at the server on average, in seconds;
// zero while nothing is learnt. Where capacity is counted, it is this that counts; b
// only compares servers.
func (s *Server) mean() float64 {
	if s.pool.pace.weight == 0 {
		return 0
	}
	return s.service * s.pool.spread
}

// fade lets what is known of a server's b grow old, so that a server which gets no
// requests drifts back to the pool's mean and is tried again.
func (p *Pool) fade(now Instant, s *Server) {
	if p.pace.weight == 0 {
		return
	}
	s.pace.fade(now, p.usual)
	p.assess(s)
	p.derive()
}

// derive brings up to date what follows from all servers' samples.
func (p *Pool) derive() {
	p.spread = p.pace.spread()
	p.usual = math.Exp(p.pace.sum / p.pace.weight)
}
