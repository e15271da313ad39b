package balance

import (
	"slices"
	"time"
)

// This file counts why a server did not get the requests that others got, for those who ask
// why it gets nothing. No pick looks at servers for that: when a server's state is about to
// change, and each maintenanceCycle, the requests placed since the last time are put down to the
// state that it had meanwhile.

// LossKind is why a request went to another server.
type LossKind uint8

const (
	lostNothing       LossKind = iota // it was won
	lostByScore                       // others had a lower score, or an equal one and an earlier turn
	lostByLimit                       // it was at its limit
	lostByWarming                     // it was warming up
	lostByFull                        // it said that it was full
	lostByHold                        // it was held back, since it failed or stood still
	lostByExclusion                   // it had already failed the request
	lostForEdge                       // the edge could not reach it
	lostByLabels                      // it lacked the labels asked for
	lostByEjection                    // it was ejected
	lostByReach                       // no edge could reach it
	lostByCheck                       // it was unhealthy
	lostByDrain                       // it was draining
	lostByMaintenance                 // it was in maintenance
	lostByLeaving                     // it had left
	lostByShare                       // it is a canary, and has had its share
	lostByHolding                     // it is a canary that is held back
	lostByBackup                      // it is a backup, and others could take it
	lossKinds         = iota
)

var lossWords = [lossKinds]string{"won", "others had a lower score", "at its limit", "warming up", "full, as it says", "held back: it fails, or stands still", "excluded: it had already failed the request",
	"excluded: the edge cannot reach it", "lacks the labels asked for", "ejected", "unreachable from every edge", "unhealthy", "draining", "in maintenance", "gone",
	"beyond the share of its labels", "held back: the canary of its labels is worse than the others", "a backup: others could take it"}

const (
	lossPeriod  = 10 * time.Second
	lossPeriods = 7 // the present one, and a minute before it
)

// losses is what became, from one server's view, of the requests that were placed. A period's counts stand
// at its number modulo lossPeriods.
type losses struct {
	placed  uint64 // by the pool, when the server was looked at last
	granted uint64 // to the server, when it was looked at last
	apart   uint64 // since then, and counted already
	newest  int64  // period since the clock's zero
	usual   [lossPeriods][usualLosses]uint32
	rare    *[lossPeriods][rareLosses]uint32 // of the other kinds; nil: none
}

// usualLosses is how many kinds, of which the first are, servers have that nothing is wrong with.
const (
	usualLosses = int(lostByWarming) + 1
	rareLosses  = lossKinds - usualLosses
)

// add counts n requests.
func (l *losses) add(now Instant, kind LossKind, n uint64) {
	at := l.advance(now)
	if int(kind) < usualLosses {
		l.usual[at][kind] += uint32(n)
		return
	}
	if l.rare == nil {
		l.rare = new([lossPeriods][rareLosses]uint32)
	}
	l.rare[at][int(kind)-usualLosses] += uint32(n)
}

// advance clears the periods that have begun since the last time, and returns where the present one stands.
func (l *losses) advance(now Instant) (at int) {
	no := int64(now) / int64(lossPeriod)
	for begun := max(l.newest+1, no-lossPeriods+1); begun <= no; begun++ {
		at := begun % lossPeriods
		l.usual[at] = [usualLosses]uint32{}
		if l.rare == nil {
			continue
		}
		if l.rare[at] = [rareLosses]uint32{}; *l.rare == ([lossPeriods][rareLosses]uint32{}) {
			l.rare = nil
		}
	}
	l.newest = no
	return int(no % lossPeriods)
}

// count returns how many requests a kind has had in all periods.
func (l *losses) count(kind LossKind) (n uint64) {
	for at := range l.usual {
		switch {
		case int(kind) < usualLosses:
			n += uint64(l.usual[at][kind])
		case l.rare != nil:
			n += uint64(l.rare[at][int(kind)-usualLosses])
		}
	}
	return n
}

// account puts the requests placed since the last time down to the server's present state.
func (p *Pool) account(now Instant, s *Server) {
	l := &s.losses
	placed, won := p.placed-l.placed, s.granted-l.granted
	if placed == 0 {
		return
	}
	l.placed, l.granted = p.placed, s.granted
	if won > 0 {
		l.add(now, lostNothing, won)
	}
	if s.unreached > 0 {
		l.apart += p.accountEdges(now, s)
	}
	if p.placedByLabels > 0 {
		l.apart += p.accountLabels(now, s)
	}
	if lost := placed - min(placed, won+l.apart); lost > 0 {
		l.add(now, p.lossKind(now, s), lost)
	}
	l.apart = 0
}

// accountEdges counts what edges asked for that cannot reach the server.
func (p *Pool) accountEdges(now Instant, s *Server) (n uint64) {
	up := s.State(now) == Up
	for i := range p.edges {
		e := &p.edges[i]
		if e.beyond == nil {
			continue
		}
		if x := e.beyond.servers[s]; x != nil {
			if up && now < x.until {
				n += e.placed - x.placed
			}
			x.placed = e.placed
		}
	}
	if n > 0 {
		s.losses.add(now, lostForEdge, n)
	}
	return n
}

// accountRequest counts a request that certain servers could not have taken for what it asks for.
func (p *Pool) accountRequest(now Instant, req *Request) {
	for _, id := range req.Exclude {
		if s := p.byID[id]; s != nil && s.carries(req.Labels) {
			s.losses.add(now, lostByExclusion, 1)
			s.losses.apart++
		}
	}
	if len(req.Labels) == 0 {
		return
	}
	if g := p.groupOf(now, req.Labels, anySide); g != nil {
		g.placed++
		p.placedByLabels++
		return
	}
	for _, s := range p.servers {
		if !s.carries(req.Labels) {
			s.losses.add(now, lostByLabels, 1)
			s.losses.apart++
		}
	}
}

// accountLabels counts the requests for labels of some group that the server is not in.
func (p *Pool) accountLabels(now Instant, s *Server) (n uint64) {
	m := s.member()
	elsewhere := p.placedElsewhere(s)
	n, m.elsewhere = elsewhere-m.elsewhere, elsewhere
	if n > 0 {
		s.losses.add(now, lostByLabels, n)
	}
	return n
}

// placedElsewhere returns how many requests have ever been placed for labels of the groups that the server is not in.
func (p *Pool) placedElsewhere(s *Server) uint64 {
	n := p.placedByLabels
	for _, g := range s.member().groups {
		n -= g.placed
	}
	return n
}

// lossKind returns why the server would not get an ordinary request now.
func (p *Pool) lossKind(now Instant, s *Server) LossKind {
	switch s.State(now) {
	case Gone:
		return lostByLeaving
	case Draining:
		if !s.isDrained() {
			return lostByMaintenance
		}
		return lostByDrain
	case Ejected:
		switch {
		case s.obstacle != "":
			return lostByCheck
		case s.health.cause == byReach:
			return lostByReach
		}
		return lostByEjection
	}
	switch n := float64(s.leases); {
	case s.isHeld && !s.holdRoom(now) && s.held.why == heldForFull:
		return lostByFull
	case s.isHeld && !s.holdRoom(now):
		return lostByHold
	case n >= p.ceiling(now, s), p.isCapped(now, s):
		return lostByLimit
	case n >= p.warmth(now, s):
		return lostByWarming
	case s.side == backups:
		return lostByBackup
	case s.side == canaries && p.canary.isHeld(now):
		return lostByHolding
	case s.side == canaries:
		return lostByShare
	}
	return lostByScore
}

// Losses is why a server did not get the requests that others got.
type Losses struct {
	State  State         // now
	Out    OutageKind    // now
	Over   time.Duration // the last so long
	Placed uint64        // requests that the pool gave to a server
	Won    uint64        // of these, to this server
	Lost   []Loss        // of the others, the most first
}

// Loss is how many requests a server did not get for one reason. What is at its limit or has
// a higher score now may have been otherwise for a moment: these two are sampled.
type Loss struct {
	Why   string
	Count uint64
}

// Losses returns why the server did not get the requests of the last minute; false: there is
// no such server.
func (p *Pool) Losses(now Instant, id ServerID) (l Losses, ok bool) {
	s := p.byID[id]
	if s == nil {
		return l, false
	}
	p.account(now, s)
	no := int64(now) / int64(lossPeriod)
	l.State, l.Out = s.State(now), s.outKind(now)
	l.Over = (lossPeriods-1)*lossPeriod + now.Sub(Instant(no*int64(lossPeriod)))
	s.losses.advance(now)
	for k := range LossKind(lossKinds) {
		n := s.losses.count(k)
		l.Placed += n
		if k == lostNothing {
			l.Won = n
		}
		if n == 0 || k == lostNothing {
			continue
		}
		why := lossWords[k]
		if k == lostByScore && p.scorer == nil {
			why = "the policy took others"
		}
		l.Lost = append(l.Lost, Loss{why, n})
	}
	slices.SortStableFunc(l.Lost, func(a, b Loss) int { return int(b.Count) - int(a.Count) })
	return l, true
}
