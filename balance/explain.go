package balance

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Decision is one choice and what it was made of. Lease and At are zero for one that
// was only asked about.
type Decision struct {
	Lease      LeaseID
	At         Instant
	Request    Request // of a recorded decision only key, tenant, priority, location and link
	Chosen     ServerID
	Candidates []Candidate // best first; of a recorded decision those that came closest
	Servers    int         // in the pool
}

// Candidate is one server in a Decision, with the terms of its score.
type Candidate struct {
	Server   ServerID
	Why      string        // "chosen", or why it was not
	Score    float64       // lowest wins; NaN: the policy compares nothing
	Load     float64       // n
	External float64       // x, the part of n that is not ours
	Slots    float64       // c
	Service  float64       // b
	Success  float64       // sr
	Affinity float64       // factor for a key that the server knows
	Distance float64       // location's share: the score is multiplied by 1 + Distance
	Reported time.Duration // age of the newest metric; negative: none
}

// Explain tells what a request would be given now, and why, without giving it.
func (p *Pool) Explain(now Instant, req *Request) Decision {
	d := Decision{Request: req.clone(), Servers: len(p.servers)}
	eligible := slices.Clone(p.candidates(now, req))
	for _, s := range p.servers {
		c := p.terms(now, req, s)
		if !slices.Contains(eligible, s) {
			c.Why = p.obstacle(now, req, s)
		}
		d.Candidates = append(d.Candidates, c)
	}
	slices.SortStableFunc(d.Candidates, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(len(a.Why), 0)-cmp.Compare(len(b.Why), 0), cmp.Compare(a.Score, b.Score), cmp.Compare(a.Server, b.Server))
	})
	d.settle(p.scorer != nil)
	return d
}

// settle fills in who was chosen and that the others came after.
func (d *Decision) settle(scored bool) {
	for i := range d.Candidates {
		c := &d.Candidates[i]
		switch {
		case c.Why != "":
		case !scored:
			c.Why = "may be chosen"
		case c.Server == d.Chosen || d.Chosen == "" && i == 0:
			c.Why, d.Chosen = "chosen", c.Server
		case c.Score == d.Candidates[0].Score:
			c.Why = "equal score, not drawn"
		default:
			c.Why = "higher score"
		}
	}
}

func (p *Pool) terms(now Instant, req *Request, s *Server) Candidate {
	slots, _ := s.Slots()
	c := Candidate{Server: s.spec.ID, Score: math.NaN(), Load: s.Load(now), External: s.load.at(now), Slots: slots,
		Service: s.Service(), Success: s.Success(), Affinity: 1, Distance: p.distance(req.Location, s.spec.Location), Reported: -1}
	for _, m := range s.metrics {
		if age := now.Sub(m.at); c.Reported < 0 || age < c.Reported {
			c.Reported = age
		}
	}
	key := p.hash(req.Key)
	if key != 0 && s.memory.knows(key) {
		c.Affinity = p.cfg.Affinity.Hit
	}
	if p.scorer != nil {
		c.Score = p.personalScore(now, req, key, s)
	}
	return c
}

// obstacle says why a server is not a candidate.
func (p *Pool) obstacle(now Instant, req *Request, s *Server) string {
	switch state := s.State(now); {
	case state != Up:
		return state.String()
	case slices.Contains(req.Exclude, s.spec.ID):
		return "excluded: it has already failed this request"
	case !s.carries(req.Labels):
		return "lacks the labels asked for"
	case float64(s.leases) >= p.ceiling(s):
		return "at its limit"
	}
	return "warming up"
}

// recent keeps the last decisions in a ring of fixed size.
type recent struct {
	ring []record
	next int
}

// record is a Decision as it is kept: only what the order has at hand anyway, so that
// keeping it costs next to nothing.
type record struct {
	lease      LeaseID
	at         Instant
	servers    int32
	contenders [width]contender
	n          int8
}

type contender struct {
	server                                  *Server
	score                                   float64
	load, external, slots, service, success float32
}

// note keeps a decision for s, with those that came closest: the finalists of the
// tournament, the winner among them.
func (p *Pool) note(now Instant, id LeaseID, s *Server) {
	if len(p.recent.ring) == 0 {
		return
	}
	r := &p.recent.ring[p.recent.next]
	p.recent.next = (p.recent.next + 1) % len(p.recent.ring)
	r.lease, r.at, r.servers, r.n = id, now, int32(len(p.servers)), 0
	r.add(now, p, s)
	if p.scorer == nil {
		return
	}
	var finalists [width]int32
	for _, i := range p.order.finalists(finalists[:0]) {
		if other := p.servers[i]; other != s && int(r.n) < width {
			r.add(now, p, other)
		}
	}
}

func (r *record) add(now Instant, p *Pool, s *Server) {
	c, _ := s.Slots()
	r.contenders[r.n] = contender{s, p.order.keys[s.index].score(), float32(s.Load(now)), float32(s.load.at(now)), float32(c), float32(s.Service()), float32(s.Success())}
	r.n++
}

// Decision returns a decision that is still in the ring.
func (p *Pool) Decision(id LeaseID) (Decision, bool) {
	for i := range p.recent.ring {
		r := &p.recent.ring[i]
		if r.lease != id || id == 0 {
			continue
		}
		d := Decision{Lease: id, At: r.at, Servers: int(r.servers), Chosen: r.contenders[0].server.spec.ID}
		for _, c := range r.contenders[:r.n] {
			d.Candidates = append(d.Candidates, Candidate{Server: c.server.spec.ID, Score: c.score, Load: float64(c.load), External: float64(c.external),
				Slots: float64(c.slots), Service: float64(c.service), Success: float64(c.success), Affinity: 1, Reported: -1})
		}
		slices.SortStableFunc(d.Candidates, func(a, b Candidate) int { return cmp.Compare(a.Score, b.Score) })
		d.settle(p.scorer != nil)
		return d, true
	}
	return Decision{}, false
}
