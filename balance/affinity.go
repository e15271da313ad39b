package balance

import (
	"hash/maphash"
	"math"
)

// This file has the terms of a choice that depend on the request: which servers know
// its key, and how far they are from its client.

// Affinity makes requests of equal key prefer a server that has served the key lately
// and so has its data, model or prompt at hand.
type Affinity struct {
	Hit  float64 // the share of the work that is left on a hit, 0 to 1; zero: no affinity
	Keys int     // how many keys a server is thought to remember; zero: 1000
}

const defaultKeys = 1000

// memory is the keys that one server has served last, as far as it is thought to
// remember them: a hash table into a ring of uses, newest last.
type memory struct {
	place map[uint64]int // key to the number of its last use
	uses  []uint64       // ring of keys by the number of the use
	first int            // number of the oldest use in the ring
	next  int            // number of the next
}

func (m *memory) knows(key uint64) bool {
	_, ok := m.place[key]
	return ok
}

// use notes that the server serves the key, and forgets the least recently used of
// more than limit keys.
func (m *memory) use(key uint64, limit int) {
	if m.place == nil {
		m.place, m.uses = make(map[uint64]int, limit), make([]uint64, 4*limit)
	}
	if m.next-m.first == len(m.uses) {
		m.dropOldest()
	}
	m.uses[m.next%len(m.uses)] = key
	m.place[key] = m.next
	m.next++
	for len(m.place) > limit {
		m.dropOldest()
	}
}

func (m *memory) dropOldest() {
	key := m.uses[m.first%len(m.uses)]
	if m.place[key] == m.first {
		delete(m.place, key)
	}
	m.first++
}

// hashSeed is one for all pools: it is only for spreading keys in memory, and no
// decision depends on a hash's value.
var hashSeed = maphash.MakeSeed()

func (p *Pool) hash(key string) uint64 {
	if key == "" || p.cfg.Affinity.Hit == 0 {
		return 0
	}
	return maphash.String(hashSeed, key) | 1
}

// personal reports whether the request itself makes one server better than another.
func (p *Pool) personal(req *Request) bool {
	return p.cfg.Affinity.Hit > 0 && req.Key != "" || req.Location != "" && len(p.cfg.Distances) > 0
}

// closest returns the best server for a request that has a key or a location, or nil.
// With a key it compares the linear score (n+½)/μ: the flat part of the usual score
// would send every request of a key away as soon as another server is idle.
func (p *Pool) closest(now Instant, req *Request) (best *Server) {
	key, lowest := p.hash(req.Key), math.Inf(1)
	for _, s := range p.candidates(now, req) {
		if score := p.personalScore(now, req, key, s); best == nil || score < lowest || score == lowest && s.turn < best.turn {
			best, lowest = s, score
		}
	}
	return best
}

func (p *Pool) personalScore(now Instant, req *Request, key uint64, s *Server) float64 {
	score := p.scorer.Score(now, s)
	if key != 0 {
		sr := s.Success()
		score = (s.Load(now) + .5) / s.Weight() / (sr * sr)
		if s.memory.knows(key) {
			score *= p.cfg.Affinity.Hit
		}
	}
	return score * (1 + p.distance(req.Location, s.spec.Location))
}

// distance returns how much more a server at one place costs a client at another: 0
// at the same place or where the table says nothing.
func (p *Pool) distance(client, server string) float64 {
	if client == "" || client == server {
		return 0
	}
	return p.cfg.Distances[client][server]
}
