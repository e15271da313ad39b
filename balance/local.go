package balance

import (
	"fmt"
	"math"
	"time"
)

// This file lets edges choose for themselves. Where an ask takes longer than it wins, an edge takes a server
// from its snapshot, by its own counts, and tells the pool afterwards. The pool says from what trip on, if at
// all: it promises things that no edge can keep by itself.

// OwnLease reports whether an edge made the id for a lease of its own choice. No ledger has an epoch of 0.
func (id LeaseID) OwnLease() bool { return id != 0 && uint64(id)>>(genBits+slotBits) == 0 }

// MaxOwnLease is the largest id that an edge gives a lease of its own choice; the smallest is 1.
const MaxOwnLease LeaseID = 1<<(genBits+slotBits) - 1

// Chosen opens a lease that an edge has given itself: it has sent the request to that server already. Its
// error says why the pool does not count it; ErrForeign: another edge has a lease with this id.
func (p *Pool) Chosen(now Instant, req *Request, id LeaseID, server ServerID) error {
	p.maintain(now)
	s := p.byID[server]
	switch {
	case !id.OwnLease():
		return fmt.Errorf("pool %s: lease %s is none that an edge may choose: %w", p.cfg.Name, id, ErrForeign)
	case s == nil:
		return fmt.Errorf("pool %s: lease %s: there is no server %s", p.cfg.Name, id, clip(string(server)))
	case p.ledger.find(id) != nil:
		return fmt.Errorf("pool %s: lease %s is open already: %w", p.cfg.Name, id, ErrForeign)
	}
	if err := p.bearable(s); err != nil {
		return fmt.Errorf("pool %s: lease %s on server %s: %w", p.cfg.Name, id, s.spec.ID, err)
	}
	if !p.ledger.adopt(id, 0, s, p.edge(req.Edge), now, 0) {
		return fmt.Errorf("pool %s: lease %s: the ledger is full", p.cfg.Name, id)
	}
	l := p.ledger.find(id)
	l.chosen = true
	p.place(now, req, s, p.tenantOf(req), l)
	p.local.chosen++
	return nil
}

// local is when edges of the pool may choose for themselves.
type local struct {
	plain  bool          // the pool promises nothing that takes the master
	busy   float64       // share of the slots that are used
	from   time.Duration // the trip from which they do; zero: they ask
	chosen uint64        // requests ever whose edge has chosen
}

// LocalFrom returns the trip to the master from which an edge chooses servers of the pool by itself; zero: it
// always asks.
func (p *Pool) LocalFrom() time.Duration { return p.local.from }

// LeastLocal is the shortest trip from which edges choose for themselves, whatever the work.
const LeastLocal = 300 * time.Microsecond

// localTotals adds up, server by server as they are looked after, what says whether edges may choose.
type localTotals struct {
	servers int                 // that are up
	present float64             // requests at those
	busy    float64             // slots of those that are used
	slots   float64             // of those
	limits  float64             // of those; infinite where one has none
	paces   [localPaces]float64 // slots by how b is to the pool's, in steps
	special bool                // one of them is not to be treated as its slots and its service time say, which is all that edges know
}

func (t *localTotals) count(now Instant, p *Pool, s *Server) {
	t.servers++
	n := s.Load(now)
	t.present += n
	t.busy += min(n, s.capacity.slots)
	t.slots += s.capacity.slots
	t.limits += float64(s.limit)
	t.paces[paceOf(s.ratio)] += s.capacity.slots
	t.special = t.special || len(s.counterparts()) > 0 || s.isHeld || s.cap != noCap || s.health.inRow > 1 || s.full != nil && s.full.inRow > 0 || s.Success() < localSuccess || now.Sub(s.warmFrom) < warmTime && !math.IsInf(p.warmth(now, s), 1) && s.granted < localKnown
}

const (
	localSuccess = .9
	localKnown   = 32  // requests that a server has had before edges may choose it as any other
	localAnswers = 100 // answers, as far as they are not forgotten, before edges may choose
	localRoom    = .9  // share of the limits that may be used
	localChange  = .2  // by which the trip changes at least
	localBusy    = .95
	localGain    = .1  // by which a round moves the share of slots that are used
	localSeen    = 3.  // requests of an edge at a server, times which it sees what others do there
	localPaces   = 33  // steps of b, around the pool's
	localStep    = .25 // of the logarithm to the base 2, from one to the next
	localShare   = .1  // of the work: a trip that is less is not worth leaving the ledger for
)

// concludeLocal decides from the totals of a round from what trip on edges choose.
func (p *Pool) concludeLocal(t *localTotals) {
	if t.slots > 0 {
		p.local.busy += localGain * (t.busy/t.slots - p.local.busy)
	}
	from := time.Duration(0)
	if p.local.plain && p.sizes.exponent == 0 && t.servers > 0 && !t.special && p.times.weight >= localAnswers && p.queue.length == 0 && t.present < localRoom*t.limits {
		from = p.worthAsking(t)
	}
	if near := float64(from) / float64(p.local.from); from == 0 || near < 1-localChange || near > 1+localChange {
		p.local.from = from // edges are told of each change
	}
}

// worthAsking returns the trip for which asking wins just as much as it costs: what requests wait less where all
// edges' requests are known.
func (p *Pool) worthAsking(t *localTotals) time.Duration {
	edges := 0.
	for i := range p.edges {
		if e := &p.edges[i]; e.id != "" && !e.gone {
			edges++
		}
	}
	work, n := p.times.usual*p.times.spread, float64(t.servers)
	c := t.slots / n
	busy := min(p.local.busy, localBusy)
	wait := math.Pow(busy, math.Sqrt(2*(c+1))-1) / (c * (1 - busy)) // in services, at a server that is chosen by chance (Sakasegawa)
	unseen := 0.
	if edges > 1 {
		unseen = (1 - 1/edges) / (1 + localSeen*busy*c/edges)
	}
	share := max(localShare, unseen*wait+t.slower(busy))
	return max(LeastLocal, time.Duration(share*work*float64(time.Second)))
}

// paceOf returns the step of a server's b, which is so many times the pool's.
func paceOf(ratio float64) int {
	return max(0, min(int(math.Round(math.Log2(ratio)/localStep))+localPaces/2, localPaces-1))
}

// slower returns how much longer requests take, in times of the pool's b, where edges spread them over all servers by their capacities, than where the
// master has the fastest take as many as they have slots for. busy is the share of the slots that are used.
func (t *localTotals) slower(busy float64) float64 {
	b := func(step int) float64 { return math.Exp2(localStep * float64(step-localPaces/2)) }
	rate := 0. // that all slots are good for
	for step, slots := range t.paces {
		rate += slots / b(step)
	}
	wanted, used := busy*rate, 0.
	left := wanted
	for step, slots := range t.paces {
		take := min(left, slots/b(step))
		left -= take
		used += take * b(step)
	}
	if wanted <= 0 {
		return 0
	}
	return t.slots/rate - used/wanted
}
