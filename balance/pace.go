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
	priorWeight = 3   // samples that the pool's mean is worth
	paceEnough  = 100 // samples; from then on one in each paceEvery will do
	paceEvery   = 5 * time.Millisecond
	paceMemory  = 5  // time constant in seconds, for short requests
	paceService = 20 // the same in services, for long ones
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

// mean returns the mean logarithm, or prior as far as samples are few.
func (p *pace) mean(prior float64) float64 {
	return (p.sum + priorWeight*prior) / (p.weight + priorWeight)
}

// times is what is learnt of all servers' service times together, as if each server
// had speed 1, and what follows from it.
type times struct {
	pace
	square float64 // of the logarithms' squares, faded as they are
	total  float64 // of the service times themselves, faded alike

	log    float64 // mean logarithm
	usual  float64 // b of all servers in seconds
	spread float64 // mean over b
	rate   float64 // of forgetting, a second
}

func (t *times) observe(now Instant, took, log float64) {
	keep := t.fade(now, t.rate)
	t.square = t.square*keep + log*log
	t.total = t.total*keep + took
	t.weight++
	t.sum += log
}

// derive brings up to date what follows from the samples. By its own times, a server
// that was very slow once would be remembered for very long; so the rate of forgetting
// is one for all.
func (t *times) derive() {
	t.log = t.sum / t.weight
	t.usual = math.Exp(t.log)
	t.spread = max(1, t.total/t.weight/t.usual)
	t.rate = 1 / max(paceMemory, paceService*t.usual)
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

// learn takes the duration of a request that met so many at its server, itself included.
func (p *Pool) learn(now Instant, s *Server, crowd float64, took time.Duration) {
	if s.pace.weight > paceEnough && now.Sub(s.pace.last) < paceEvery {
		return
	}
	latency, alone := seconds(took), seconds(took)
	if crowd > s.capacity.slots { // beyond c all are slower alike
		alone *= s.capacity.slots / crowd
	}
	log, first := math.Log(alone), p.times.weight == 0
	if s.speed == 1 {
		p.times.observe(now, alone, log)
	} else {
		p.times.observe(now, alone*s.speed, log+math.Log(s.speed))
	}
	s.pace.observe(now, log, p.times.rate)
	if !s.capacity.told {
		s.knee.observe(crowd, math.Log(latency), p.times.variance())
		p.survey(s)
	}
	if !first {
		p.assess(s)
		return
	}
	p.times.derive()
	for _, s := range p.servers { // from now on b is in seconds
		p.assess(s)
		p.rank(now, s)
	}
}

// assess brings a server's b and its limit up to date. The prior is what the pool's mean would be
// at its declared speed.
func (p *Pool) assess(s *Server) {
	prior := p.times.log
	if s.speed != 1 {
		prior -= math.Log(s.speed)
	}
	s.service = math.Exp(s.pace.mean(prior))
	p.bound(s)
}

// mean returns how long a request takes alone at the server on average, in seconds;
// zero while nothing is learnt. Where capacity is counted, it is this that counts; b
// only compares servers.
func (s *Server) mean() float64 {
	if s.pool.times.weight == 0 {
		return 0
	}
	return s.service * s.pool.times.spread
}

// fade lets what is known of a server's b grow old, so that a server which gets no
// requests drifts back to the pool's mean and is tried again.
func (p *Pool) fade(now Instant, s *Server) {
	if p.times.weight == 0 {
		return
	}
	s.pace.fade(now, p.times.rate)
	p.assess(s)
	p.times.derive()
}
