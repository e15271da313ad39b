package balance

import (
	"fmt"
	"maps"
	"slices"
)

// This file counts the servers that have room, so that a pool without any is found full without a look at each
// server. A pool counts all its servers, and those that carry the labels that requests ask for.

// standing is what a request finds at a server, as of when the server was ranked last.
type standing uint8

const (
	isOut     standing = iota // it is not up
	isFull                    // it is up, and at its limit
	isWarming                 // it is below its limit, and gets no more only because it is new
	isOpen                    // it has room
	standings = iota
)

// room is how many servers there are of each standing.
type room [standings]int

// any reports whether a server has room.
func (r *room) any() bool { return r[isOpen]+r[isWarming] > 0 }

// none reports whether no server has room though one is up: a request that may wait has to.
func (r *room) none() bool { return !r.any() && r[isFull] > 0 }

// group is the servers that carry certain labels and are on a side, in the order in which they came.
type group struct {
	labels  []Label
	side    side
	servers []*Server
	order   order // of them, by score
	room    room
	placed  uint64  // requests for these labels, ever
	waiting int     // requests in the queue that ask for these labels
	used    Instant // by a request
	barren  uint64  // the round of queue.take in which none of the servers could take a request
}

// membership is a server's part in groups, and in other pools.
type membership struct {
	groups    []*group      // those that it is in
	elsewhere uint64        // Pool.placedElsewhere, as far as it is accounted for
	shared    *sharedServer // nil: the pool shares no servers
}

// member returns the server's membership.
func (s *Server) member() *membership {
	if s.labelled == nil {
		s.labelled = new(membership)
	}
	return s.labelled
}

const (
	mostGroups  = 64
	groupUnused = maintenanceCycle * 600 // a minute: then another may take its place
)

// standingOf works out a server's.
func (p *Pool) standingOf(now Instant, s *Server) standing {
	switch {
	case s.State(now) != Up:
		return isOut
	case p.hasRoom(now, s):
		return isOpen
	case now < p.warmUntil && p.belowLimit(now, s):
		return isWarming
	}
	return isFull
}

// stands takes a server's new standing.
func (p *Pool) stands(now Instant, s *Server, next standing) {
	p.room[s.standing]--
	p.room[next]++
	if s.labelled != nil {
		for _, g := range s.labelled.groups {
			g.room[s.standing]--
			g.room[next]++
		}
	}
	s.standing = next
}

// rankAmong enters the server's key wherever it stands in an order beside the pool's.
func (p *Pool) rankAmong(now Instant, s *Server, k key) {
	if s.labelled != nil {
		for _, g := range s.labelled.groups {
			g.order.set(int(s.index), k)
		}
	}
	for i := 0; i < len(p.reachable); {
		b := p.reachable[i]
		switch {
		case now >= b.until:
			b.order = nil
			p.reachable = slices.Delete(p.reachable, i, i+1)
			continue
		case b.has(now, s):
			b.order.set(int(s.index), never)
		default:
			b.order.set(int(s.index), k)
		}
		i++
	}
}

// eachOrder calls change for every order of servers.
func (p *Pool) eachOrder(change func(*order)) {
	change(&p.order)
	for _, g := range p.groups {
		change(&g.order)
	}
	for _, b := range p.reachable {
		change(b.order)
	}
}

// newOrder returns an order of the pool's servers in which none stands.
func (p *Pool) newOrder() (o order) {
	for range p.servers {
		o.grow()
	}
	return o
}

// orderOf returns the order in which a request finds its server; nil: there is none. All servers that it asks for stand in it, and
// perhaps others.
func (p *Pool) orderOf(now Instant, req *Request, beyond *beyond) *order {
	switch {
	case len(req.Labels) > 0 || req.side != anySide:
		if g := p.groupOf(now, req.Labels, req.side); g != nil {
			return &g.order
		}
		return nil
	case beyond != nil:
		return p.reach(now, beyond)
	}
	return &p.order
}

// reach returns the servers that an edge reaches, in order; nil: there are too many such edges.
func (p *Pool) reach(now Instant, b *beyond) *order {
	if b.order != nil || len(p.reachable) >= mostReachable {
		return b.order
	}
	o := p.newOrder()
	b.order = &o
	p.reachable = append(p.reachable, b)
	for _, s := range p.servers {
		if x := b.servers[s]; x != nil && now < x.until {
			p.wakeAt(s, x.until)
			continue
		}
		o.set(int(s.index), p.order.of(s.index))
	}
	return b.order
}

// mostReachable is how many edges have an order of the servers that they reach. Each of them makes every lease cost more.
const mostReachable = 16

// regroup puts a server into the groups whose labels it carries, and takes it out of all others.
func (p *Pool) regroup(now Instant, s *Server) {
	if len(p.groups) == 0 && p.placedByLabels == 0 {
		return
	}
	p.account(now, s)
	p.ungroup(s)
	for _, g := range p.groups {
		if g.has(s) {
			p.join(g, s)
		}
	}
	s.member().elsewhere = p.placedElsewhere(s)
}

// has reports whether the server is one of the group's.
func (g *group) has(s *Server) bool { return g.side.includes(s) && s.carries(g.labels) }

func (p *Pool) join(g *group, s *Server) {
	g.servers = append(g.servers, s)
	g.order.set(int(s.index), p.order.of(s.index))
	g.room[s.standing]++
	m := s.member()
	m.groups = append(m.groups, g)
}

// ungroup takes a server out of its groups.
func (p *Pool) ungroup(s *Server) {
	if s.labelled == nil {
		return
	}
	for _, g := range s.labelled.groups {
		g.room[s.standing]--
		g.order.set(int(s.index), never)
		g.servers = slices.DeleteFunc(g.servers, func(other *Server) bool { return other == s })
	}
	s.labelled.groups = nil
}

// groupOf returns the servers that carry the labels and are on the side; nil: so many other labels were asked for lately that these are
// not counted.
func (p *Pool) groupOf(now Instant, labels []Label, on side) *group {
	name := p.groupName[:0]
	if on != anySide {
		name = append(name, byte(on), 0)
	}
	for _, l := range labels {
		name = append(append(append(append(name, l.Key...), 0), l.Value...), 0)
	}
	p.groupName = name
	g := p.groups[string(name)]
	if g == nil {
		if g = p.newGroup(now, labels, on); g == nil {
			return nil
		}
		p.groups[string(name)] = g
	}
	g.used = now
	return g
}

func (p *Pool) newGroup(now Instant, labels []Label, on side) *group {
	if len(p.groups) >= mostGroups && !p.dropGroups(now) {
		return nil
	}
	if p.groups == nil {
		p.groups = make(map[string]*group)
	}
	g := &group{labels: (&Request{Labels: labels}).clone().Labels, side: on, order: p.newOrder()}
	for _, s := range p.servers {
		if g.has(s) {
			p.join(g, s)
		}
	}
	return g
}

// dropGroups forgets those that no request has asked for lately. It reports whether there were any.
func (p *Pool) dropGroups(now Instant) (dropped bool) {
	for name, g := range p.groups {
		if g.waiting > 0 || now.Sub(g.used) < groupUnused {
			continue
		}
		for _, s := range g.servers {
			p.account(now, s)
			m := s.member()
			m.groups = slices.DeleteFunc(m.groups, func(other *group) bool { return other == g })
			m.elsewhere += g.placed
		}
		delete(p.groups, name)
		dropped = true
	}
	return dropped
}

// among returns the servers that carry the labels that a request asks for and are on its side, or more where these are not counted, and their room.
// A nil room is not known.
func (p *Pool) among(now Instant, req *Request) ([]*Server, *room) {
	if len(req.Labels) == 0 && req.side == anySide {
		return p.servers, &p.room
	}
	if g := p.groupOf(now, req.Labels, req.side); g != nil {
		return g.servers, &g.room
	}
	return p.servers, nil
}

// isFull reports whether a request has to wait, whatever servers have room for others. Servers are looked at one by one only
// if the request may not go to some that are up.
func (p *Pool) isFull(now Instant, req *Request, beyond *beyond) bool {
	if p.queue.size == 0 || !p.hasNone(now, req, beyond) {
		return false
	}
	if now.Sub(p.cycleBegan) > 2*maintenanceCycle { // few requests come: what changes by itself was not looked at
		if p.maintainRound(now); !p.hasNone(now, req, beyond) {
			return false
		}
	}
	return len(req.Exclude) == 0 && beyond == nil || p.mayWait(now, req, beyond)
}

// hasNone reports whether no server has room that the request asks for, as far as that is counted.
func (p *Pool) hasNone(now Instant, req *Request, beyond *beyond) bool {
	if _, room := p.among(now, req); room == nil || room.none() {
		return room != nil
	}
	if p.scorer == nil || beyond == nil || len(req.Labels) > 0 || req.side != anySide || p.room[isWarming] > 0 {
		return false
	}
	o := p.reach(now, beyond)
	return o != nil && o.first() < 0
}

// isStuck reports whether no server that an edge reaches has room.
func (p *Pool) isStuck(now Instant, b *beyond) bool {
	return now < b.until && p.room[isWarming] == 0 && b.order.first() < 0
}

// stuckWaiting returns how many requests wait for edges that reach no server with room.
func (p *Pool) stuckWaiting(now Instant) (n int) {
	for _, b := range p.reachable {
		if w := p.edges[b.edge].waiting; w != nil && *w > 0 && p.isStuck(now, b) {
			n += *w
		}
	}
	return n
}

// stuckEdges appends edges that reach no server with room, as far as dst has room.
func (p *Pool) stuckEdges(now Instant, dst []EdgeID) []EdgeID {
	for _, b := range p.reachable {
		if len(dst) < cap(dst) && p.isStuck(now, b) {
			dst = append(dst, p.edges[b.edge].id)
		}
	}
	return dst
}

// mustWait reports whether requests wait that go before a new one. Those that ask for labels do not, as long as no server that
// carries these has room: the new one could not take it from them.
func (p *Pool) mustWait(now Instant, req *Request) bool {
	if !p.queue.holds(req.Priority) {
		return false // nearly always
	}
	if p.queue.holdsUnlabelled(req.Priority) && p.queue.unlabelled > p.stuckWaiting(now) && !(p.namesCanary(req) && !p.plainRoom(now)) {
		return true
	}
	var own *group
	if len(req.Labels) > 0 {
		if own = p.groupOf(now, req.Labels, anySide); own == nil {
			return true
		}
	}
	for _, g := range p.groups {
		if g.waiting > 0 && (g == own || g.room.any()) {
			return true
		}
	}
	return false
}

// anyServable reports whether a request may wait that a server has room for.
func (p *Pool) anyServable(now Instant) bool {
	if !p.anyRoom(now) {
		return false
	}
	if p.queue.unlabelled > p.stuckWaiting(now) && (!p.hasSides() || p.plainRoom(now)) {
		return true
	}
	for _, g := range p.groups {
		if g.waiting > 0 && !g.room.none() {
			return true
		}
	}
	return len(p.silent) > 0
}

// checkRoom reports what of the counts is not as the servers stand.
func (p *Pool) checkRoom() error {
	groups := map[string]*group{"": {servers: p.servers, room: p.room}}
	maps.Copy(groups, p.groups)
	for name, g := range groups {
		var want room
		for _, s := range p.servers {
			if g.has(s) {
				want[s.standing]++
			}
		}
		if g.room != want {
			return fmt.Errorf("pool %s: of the servers with labels %q %v are counted out, full, warming and open, and %v stand so", p.cfg.Name, name, g.room, want)
		}
	}
	return nil
}
