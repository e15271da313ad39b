package balance

import (
	"cmp"
	"slices"
)

// This file finds those servers of a pool that are equal within the error of what is known of them, so that
// these are exactly equal, also in a pool whose servers differ, and are taken in turn.

// mostGrouped is the size of the largest pool in which servers are put together. In a larger one turns matter less
// than to find at once which server has become slow.
const mostGrouped = 32

// groupAlike puts each server together with those whose times are next to its own, as far as
// chance explains the distance. Where it explains the distances of all of them, all are alike.
func (p *Pool) groupAlike(now Instant) {
	small, differ := len(p.servers) <= mostGrouped, p.times.equal < equalErrors
	if !small && !p.grouped {
		return // nearly always
	}
	p.grouped = small
	p.scratch = p.scratch[:0]
	for _, s := range p.servers {
		s.isAlike = false
		if small && (!differ || s.pace.weight >= 1) {
			p.scratch = append(p.scratch, s)
		} else {
			p.shareSlots(now, s, bend{}, 0)
		}
	}
	if !differ {
		p.guessTogether(now, p.scratch)
		return
	}
	for _, s := range p.scratch {
		s.group = s.pace.mean() - p.prior(s)
	}
	slices.SortFunc(p.scratch, func(a, b *Server) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.index, b.index))
	})
	for rest := p.scratch; len(rest) > 0; {
		n, mean := p.alike(rest)
		for _, s := range rest[:n] {
			s.group, s.isAlike = mean, n > 1
		}
		p.guessTogether(now, rest[:n])
		rest = rest[n:]
	}
}

// alike returns how many of the servers, which are in order, are equal to the first, and their mean.
func (p *Pool) alike(servers []*Server) (n int, mean float64) {
	variance, weight := p.times.likely(), 0.
	for _, s := range servers {
		if off := s.group - mean; n > 0 && off*off > equalErrors*variance*(1/weight+1/s.pace.weight) {
			break
		}
		weight += s.pace.weight
		mean += (s.group - mean) * s.pace.weight / weight
		n++
	}
	return n, mean
}

// guessTogether has servers that are alike take the slots that the latencies of all of them tell. Each
// alone would guess another number from other requests, and where few are present the one with most slots
// would get most. Servers whose own latencies are against that number guess by themselves, and all do
// where chance does not explain how far each is from it.
func (p *Pool) guessTogether(now Instant, servers []*Server) {
	var (
		fits     [mostGrouped]misfits
		variance = max(p.times.variance(), leastVariance)
		sum      misfits
		all      bend
		together = 0
		weight   float32
	)
	for i, s := range servers {
		if s.guessesSlots() {
			fits[i] = s.knee.misfits()
			sum.add(&fits[i])
		}
	}
	at := sum.first(variance)
	isAgainst := func(i int) bool {
		return !servers[i].guessesSlots() || fits[i][at] > fits[i].least()+equalErrors*variance
	}
	sum = misfits{}
	least := 0.
	for i, s := range servers {
		if !isAgainst(i) {
			sum.add(&fits[i])
			least += fits[i].least()
			weight += s.knee.above(0)
			together++
		}
	}
	if together > 1 && weight >= kneeEvery && sum.least()-least <= (float64(together)+equalSlack)*variance {
		all = sum.bend(variance)
	}
	for i, s := range servers {
		if all.c > 0 && !isAgainst(i) {
			all.beyond += s.knee.above(all.c)
		}
	}
	for i, s := range servers {
		if isAgainst(i) {
			p.shareSlots(now, s, bend{}, 0)
		} else {
			p.shareSlots(now, s, all, together)
		}
	}
}

// leastVariance of logarithms of latencies is taken for chance however even they are.
const leastVariance = .01

// shareSlots notes what a server's latencies tell together with those of servers that are alike.
func (p *Pool) shareSlots(now Instant, s *Server, told bend, sharers int) {
	if s.knee == unheardKnee {
		return
	}
	changed := s.knee.shared != told
	s.knee.shared, s.knee.sharers = told, sharers
	if changed && s.guessesSlots() {
		p.survey(s)
		p.rank(now, s)
	}
}

// guessesSlots reports whether the server's slots are neither declared nor reported, so that they are guessed from its latencies.
func (s *Server) guessesSlots() bool { return s.knee != unheardKnee && !s.capacity.told }
