package balance

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"
)

// Decision is one choice and what it was made of. Lease and At are zero for one that
// was only asked about.
type Decision struct {
	Lease      LeaseID
	At         Instant
	Request    Request // of a recorded decision only key, tenant, location and class, cut where they are long, belief, priority, link and size
	ByWork             // zero: the choice was by the policy's score
	Chosen     ServerID
	Candidates []Candidate // best first; of a recorded decision those that came closest
	Servers    int         // in the pool
	Note       string      // what is special about it; empty: nothing
}

// Candidate is one server in a Decision, with the terms of its score.
type Candidate struct {
	Server   ServerID
	Why      string        // "chosen", or why it was not
	Score    float64       // lowest wins; NaN: the policy compares nothing. In a choice by work it is that of the work
	Weighed  Weighed       // in a choice by work, what the score is made of; else zero
	Load     float64       // n
	External float64       // x, the part of n that is not ours
	Shared   int           // the part of n that other pools have placed
	Pools    []string      // the other pools in which the server stands now, in order; nil: none
	Slots    float64       // c
	Service  float64       // b
	Growth   float64       // g: how many times as long as alone the request would take, up to the slots
	Learnt   Learnt        // what b and c rest on now, also of a recorded decision
	Success  float64       // sr
	Affinity float64       // factor for a key that the server knows
	Distance float64       // location's share: the score is multiplied by 1 + Distance
	Outages  []Outage      // why it gets nothing, or less, now; of a recorded decision none
	Doubt    Doubt         // what contradicts itself in what is told of it; now, also of a recorded decision
	Reported time.Duration // age of the newest metric, of a recorded decision of the newest that told load; negative: none
	rank     key           // by which it is compared; zero: by its score
	turn     uint32        // among equals the lowest goes first, if rank is zero
}

// Explain tells what a request would be given now, and why, without giving it.
func (p *Pool) Explain(now Instant, req *Request) Decision {
	d := Decision{Request: req.clone(), Servers: len(p.servers)}
	side := anySide
	if p.hasSides() {
		side = p.chooseSide(now, req)
	}
	var eligible []*Server
	var best, later *Server
	p.onSide(req, side, func() {
		if eligible = p.candidates(now, req); len(eligible) > 0 {
			d.ByWork, best, later = p.byWork(now, req)
		}
	})
	slices.SortFunc(eligible, func(a, b *Server) int { return cmp.Compare(a.index, b.index) })
	trial := p.onTrial(now, req)
	switch {
	case p.tenantOf(req).isFull():
		d.Note = "its tenant has as many requests as its max_in_flight, so it waits"
	case trial != nil:
		later = nil
		d.Note, d.Chosen = p.special(now, req, trial), trial.spec.ID
	case len(eligible) > 0:
		d.Note = p.special(now, req, eligible[0])
	default:
		d.Note = p.explainOverflow(now, &d.Request)
	}
	for _, s := range p.servers {
		c := p.terms(now, req, s)
		if len(eligible) > 0 && eligible[0] == s {
			eligible = eligible[1:]
		} else if s != trial && !side.includes(s) && s.State(now) == Up {
			c.Why = p.sideObstacle(now, s)
		} else if s != trial {
			c.Why = p.obstacle(now, req, s)
		}
		d.Candidates = append(d.Candidates, c)
	}
	if d.Work > 0 {
		p.onSide(req, side, func() { p.explainWork(now, req, &d, best, later) })
	}
	d.settle(p.scorer != nil)
	return d
}

// settle puts the candidates in order, those that could be chosen first, and fills in
// who was chosen and that the others came after.
func (d *Decision) settle(scored bool) {
	slices.SortStableFunc(d.Candidates, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(len(a.Why), 0)-cmp.Compare(len(b.Why), 0), cmp.Compare(a.compared(), b.compared()), cmp.Compare(a.taken(), b.taken()))
	})
	chosen, tried := 0., false // its score, and whether it was chosen in spite of it
	for i := range d.Candidates {
		if c := &d.Candidates[i]; c.Server == d.Chosen && c.Why == "" && i > 0 && c.compared() > d.Candidates[0].compared() {
			chosen, tried = c.compared(), true
		}
	}
	for i := range d.Candidates {
		c := &d.Candidates[i]
		switch {
		case c.Why != "":
		case !scored && d.Lease == 0:
			c.Why = "may be chosen"
		case c.Server == d.Chosen || d.Chosen == "" && i == 0:
			c.Why, d.Chosen = "chosen", c.Server
		case tried && c.compared() <= chosen:
			c.Why = "would be chosen if none had to be tried"
		case c.compared() == d.Candidates[0].compared():
			c.Why = "equal score, its turn comes later"
		default:
			c.Why = "higher score"
		}
	}
}

// compared returns the score as it is compared: rounded, unless the request itself tells servers apart.
func (c *Candidate) compared() float64 {
	if c.rank != 0 {
		return c.rank.score()
	}
	return c.Score
}

// taken returns the server's turn among equals.
func (c *Candidate) taken() uint32 {
	if c.rank != 0 {
		return c.rank.turn()
	}
	return c.turn
}

func (p *Pool) terms(now Instant, req *Request, s *Server) Candidate {
	slots, _ := s.Slots()
	c := Candidate{Server: s.spec.ID, Score: math.NaN(), Load: s.Load(now), External: s.load.at(now), Shared: s.Elsewhere(), Pools: s.SharedWith(nil), Slots: slots,
		Service: s.Service(), Growth: s.Growth(s.Load(now) + 1), Success: s.Success(), Affinity: 1, Distance: p.distance(req.Location, s.spec.Location), Learnt: s.learnt(now), Outages: p.outages(now, s), Doubt: s.Doubt(), Reported: -1}
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
		if !p.personal(req) {
			c.rank = newKey(c.Score*p.times.perUsual, p.order.of(s.index).turn(), 0)
		}
	}
	return c
}

// recent keeps the last decisions in a ring of fixed size, made when the first comes.
//
// To keep one costs as much as to make it. So of many thousands a second, of which a
// ring holds a few hundredths of a second anyway, only some are kept: one in keepEvery,
// but for bursts.
type recent struct {
	size int
	ring []record
	next int
	paid Instant // up to when what is kept has used its share of time
	taps []*Tap  // nil: there are none
}

const (
	keepEvery = 50 * time.Microsecond
	keepBurst = 1000 * keepEvery
)

// affords reports whether a decision made now is to be kept.
func (r *recent) affords(now Instant) bool {
	if r.size == 0 || r.paid > now {
		return false
	}
	r.paid = max(r.paid, now.Add(-keepBurst)).Add(keepEvery)
	return true
}

// record is a Decision as it is kept: only what the order has at hand anyway, so that
// keeping it costs next to nothing.
type record struct {
	lease                 LeaseID
	request               uint64
	at                    Instant
	servers               int32
	priority              int32
	link                  Link
	belief                Belief
	n                     int8
	special               string // one of a few constants
	size                  float64
	byWork                ByWork
	key, tenant, location word
	class                 word
	contenders            [width]contender
}

type contender struct {
	server                                                                     *Server
	why                                                                        string // it could not be chosen; empty: it could
	reported                                                                   Instant
	score                                                                      float64
	load, external, shared, slots, service, growth, success, affinity, farther float32
	weighed                                                                    struct{ left, time, stay, slows, price float32 }
}

// word is a copy of a string that is not ours to keep, cut if it is long.
type word struct {
	text [30]byte
	n    uint8
	cut  bool
}

func newWord(s string) (w word) {
	w.n = uint8(copy(w.text[:], s))
	w.cut = int(w.n) < len(s)
	return w
}

func (w *word) String() string {
	if w.cut {
		return strings.ToValidUTF8(string(w.text[:w.n]), "") + "…"
	}
	return string(w.text[:w.n])
}

// note keeps a decision for s that can be afforded, with those that came closest: the
// finalists of the tournament, the winner among them.
func (p *Pool) note(now Instant, id LeaseID, req *Request, s *Server) {
	if p.recent.ring == nil {
		p.recent.ring = make([]record, p.recent.size)
	}
	r := &p.recent.ring[p.recent.next]
	p.recent.next = (p.recent.next + 1) % len(p.recent.ring)
	p.describe(r, now, id, req, s)
}

// describe writes a decision for s into r.
func (p *Pool) describe(r *record, now Instant, id LeaseID, req *Request, s *Server) {
	r.lease, r.request, r.at, r.servers, r.n = id, req.ID, now, int32(len(p.servers)), 0
	r.priority, r.link, r.belief, r.special = int32(req.Priority), req.Link, req.Belief, p.special(now, req, s)
	if id.OwnLease() {
		r.special = byItsEdge
	}
	r.key, r.tenant, r.location = newWord(req.Key), newWord(req.Tenant), newWord(req.Location)
	r.size, r.class, r.byWork = req.Size, newWord(req.Class), ByWork{}
	if p.weighs(req) && r.special != allOut && r.special != byItsEdge {
		r.byWork = ByWork{p.sizes.workOf(p.kindOf(now, req)), p.sizes.meanWork()}
	}
	r.add(now, p, req, s)
	if p.scorer == nil {
		return
	}
	var finalists [width]int32
	side := p.placedOn(req, s)
	for _, i := range p.rivals(now, req, s, r.byWork.Work, finalists[:0]) {
		if other := p.servers[i]; other != s && int(r.n) < width {
			if r.add(now, p, req, other); !side.includes(other) {
				r.contenders[r.n-1].why = p.sideObstacle(now, other)
			}
		}
	}
}

func (r *record) add(now Instant, p *Pool, req *Request, s *Server) {
	slots, _ := s.Slots()
	c := &r.contenders[r.n]
	*c = contender{server: s, reported: s.load.reported, score: math.NaN(), load: float32(s.Load(now)), external: float32(s.load.at(now)), shared: float32(s.Elsewhere()),
		slots: float32(slots), service: float32(s.Service()), growth: float32(s.Growth(s.Load(now) + 1)), success: float32(s.Success()), affinity: 1}
	r.n++
	if p.scorer == nil {
		return
	}
	rank := p.order.of(s.index)
	if r.n > 1 && (rank == never || !s.suits(now, req, p.beyond(now, req.Edge))) {
		c.why = p.obstacle(now, req, s)
	}
	switch {
	case p.personal(req):
		key := p.hash(req.Key)
		c.score, c.farther = p.personalScore(now, req, key, s), float32(p.distance(req.Location, s.spec.Location))
		if key != 0 && s.memory.knows(key) {
			c.affinity = float32(p.cfg.Affinity.Hit)
		}
	case rank == never:
		c.score = p.scorer.Score(now, s)
	default:
		c.score = rank.score() * p.times.usual
	}
	if r.byWork.Work > 0 {
		e := p.expenseOf(now, s, r.byWork.Work)
		w := p.weighed(&e)
		c.score = e.total
		c.weighed.left, c.weighed.time, c.weighed.stay, c.weighed.slows, c.weighed.price = float32(w.Left), float32(w.Time), float32(w.Stay), float32(w.Slows), float32(w.Price)
	}
}

// Decision returns a decision that is still in the ring.
func (p *Pool) Decision(now Instant, id LeaseID) (Decision, bool) {
	for i := range p.recent.ring {
		if r := &p.recent.ring[i]; r.lease == id && id != 0 {
			return p.told(now, r), true
		}
	}
	return Decision{}, false
}

// DecisionsFor returns the decisions for one request that are still in the ring, newest
// first: it has several if it was tried at several servers. id is the request's HashID.
func (p *Pool) DecisionsFor(now Instant, id uint64) (list []Decision) {
	for back := 1; back <= len(p.recent.ring) && id != 0; back++ {
		r := &p.recent.ring[(p.recent.next-back+len(p.recent.ring))%len(p.recent.ring)]
		if r.lease == 0 {
			break
		}
		if r.request == id {
			list = append(list, p.told(now, r))
		}
	}
	return list
}

// Decisions returns up to n recent decisions, newest first.
func (p *Pool) Decisions(now Instant, n int) []Decision {
	var list []Decision
	for back := 1; back <= min(n, len(p.recent.ring)); back++ {
		r := &p.recent.ring[(p.recent.next-back+len(p.recent.ring))%len(p.recent.ring)]
		if r.lease == 0 {
			break
		}
		list = append(list, p.told(now, r))
	}
	return list
}

func (p *Pool) told(now Instant, r *record) Decision {
	d := Decision{Lease: r.lease, At: r.at, ByWork: r.byWork, Note: r.special, Servers: int(r.servers), Chosen: r.contenders[0].server.spec.ID,
		Request: Request{Key: r.key.String(), Tenant: r.tenant.String(), Belief: r.belief, Location: r.location.String(), Priority: int(r.priority), Link: r.link, Size: r.size, Class: r.class.String()}}
	for _, c := range r.contenders[:r.n] {
		reported := time.Duration(-1)
		if c.reported != 0 {
			reported = max(0, r.at.Sub(c.reported))
		}
		w := &c.weighed
		d.Candidates = append(d.Candidates, Candidate{Server: c.server.spec.ID, Why: c.why, Score: c.score, Weighed: Weighed{float64(w.left), float64(w.time), float64(w.stay), float64(w.slows), float64(w.price)}, Load: float64(c.load), External: float64(c.external), Shared: int(c.shared), Pools: c.server.SharedWith(nil),
			Slots: float64(c.slots), Service: float64(c.service), Growth: float64(c.growth), Success: float64(c.success), Affinity: float64(c.affinity), Distance: float64(c.farther), Learnt: c.server.learnt(now), Doubt: c.server.Doubt(), Reported: reported})
	}
	d.settle(p.scorer != nil)
	return d
}
