package balance

import (
	"cmp"
	"slices"
)

// This file has servers come, change and leave.

// Put adds a server or changes what is declared of one. A server that had said
// goodbye, was drained or in maintenance is back, with the slots and the cap that an operator has set. fixed says that the file names it: then it is
// never forgotten, and whatever its agent may add stands in spec already.
func (p *Pool) Put(now Instant, spec ServerSpec, fixed bool) error {
	if err := spec.Check(); err != nil {
		return err
	}
	s := p.byID[spec.ID]
	if s == nil {
		s = p.admit(now, spec)
	}
	p.version++
	p.account(now, s)
	if s.gone {
		p.warm(s, now)
		p.isKnown(s)
	}
	if s.location != nil && spec.Address != s.spec.Address {
		p.Locate(now, spec.ID, Location{})
	}
	s.fixed = s.fixed || fixed
	p.declare(s, spec)
	p.regroup(now, s)
	p.tell(s)
	s.gone, s.draining = false, false
	s.since.overridden.resume()
	p.recollectLater(now, s)
	p.rank(now, s)
	p.link(now, s)
	if s.sharing() != nil {
		p.refreshShared(now, s)
	}
	return nil
}

// admit enters a server that the pool does not have.
func (p *Pool) admit(now Instant, spec ServerSpec) *Server {
	p.version++
	s := &Server{pool: p, index: int32(len(p.servers)), health: health{success: 1}, pace: pace{last: now}, details: &details{evidence: silence, knee: unheardKnee}}
	s.losses.placed = p.placed
	p.servers = append(p.servers, s)
	p.eachOrder((*order).grow)
	p.byID[spec.ID] = s
	p.warm(s, now)
	p.declare(s, spec)
	p.room[s.standing]++
	p.regroup(now, s)
	return s
}

// declare takes up what is declared of a server.
func (p *Pool) declare(s *Server, spec ServerSpec) {
	s.spec = spec
	s.since.overridden.apply(&s.spec)
	p.assignSide(s)
	p.recap(s)
	if from := s.knownFrom(); from > 0 && s.mostDeclared() != noCap {
		p.wakeAt(s, from)
	}
	s.speed = cmp.Or(spec.Speed, 1)
	s.ratio = 1 / s.speed
	if p.times.weight > 0 {
		p.assess(s)
	}
	p.survey(s)
}

// Goodbye says that a server leaves. It gets nothing new and is forgotten with its
// last lease; one that the file names stays, out of rotation, for its return.
func (p *Pool) Goodbye(now Instant, id ServerID) { p.leave(now, id, byGoodbye) }

func (p *Pool) leave(now Instant, id ServerID, how *departure) {
	s := p.byID[id]
	if s == nil {
		return
	}
	p.version++
	p.account(now, s)
	if !s.gone {
		s.gone, s.since.departure, s.since.left = true, how, now
	}
	p.rank(now, s)
	if s.ownLeases() == 0 {
		p.forget(now, s)
	}
}

// Unname says that the file names a server no more: it leaves as any other would.
func (p *Pool) Unname(now Instant, id ServerID) {
	if s := p.byID[id]; s != nil {
		s.fixed = false
		p.leave(now, id, byFile)
	}
}

func (p *Pool) forget(now Instant, s *Server) {
	if s.fixed {
		return
	}
	p.unlink(now, s)
	p.ungroup(s)
	if s.side == backups {
		p.backups--
	}
	p.eachOrder(func(o *order) { o.set(int(s.index), never) })
	end := len(p.servers) - 1
	last := p.servers[end]
	p.servers[s.index], last.index = last, s.index
	p.servers = p.servers[:end]
	p.room[s.standing]--
	p.eachOrder((*order).shrink)
	if last != s {
		p.rank(now, last)
	}
	delete(p.byID, s.spec.ID)
	delete(p.knownBefore, s.spec.ID)
	p.isKnown(s)
	if s.waking {
		p.waking = slices.DeleteFunc(p.waking, func(w *Server) bool { return w == s })
	}
	p.forgetReach(s)
	p.silent = slices.DeleteFunc(p.silent, func(other *Server) bool { return other == s })
	p.version++
}
