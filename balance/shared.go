package balance

import (
	"fmt"
	"slices"
	"strings"
)

// This file counts a server that stands in several pools once. Each of the pools has a record of it. These records are
// counterparts: what happens to the server by one of them is done to the others too, so that all have the same leases, cap,
// slots, health and reports. What is the pool's own stays apart: service times, turns, labels, keys, and whether the pool can spare
// the server.

// sharing is what pools that may share servers have in common. They are used under one lock.
type sharing struct {
	pools     []*Pool
	byAddress map[string][]*Server
}

// sharedServer is a server's part in several pools.
type sharedServer struct {
	address      string    // under which sharing has it
	counterparts []*Server // the server's records in other pools
	leases       int32     // of Server.leases: those of other pools
	idle         int32     // of details.idle: those of other pools
}

// ShareWith has servers of both pools that have the same address count as one from now on, and those of all pools with which
// either shares servers already. All these pools must be used under one lock.
func (p *Pool) ShareWith(now Instant, other *Pool) {
	p.joinSharing(now)
	other.joinSharing(now)
	if p.sharing == other.sharing {
		return
	}
	for _, q := range slices.Clone(other.sharing.pools) {
		for _, s := range q.servers {
			q.unlink(now, s)
		}
		q.sharing = p.sharing
		p.sharing.pools = append(p.sharing.pools, q)
		for _, s := range q.servers {
			q.link(now, s)
		}
	}
}

func (p *Pool) joinSharing(now Instant) {
	if p.sharing != nil {
		return
	}
	p.sharing = &sharing{pools: []*Pool{p}, byAddress: make(map[string][]*Server)}
	for _, s := range p.servers {
		p.link(now, s)
	}
}

// StopSharing has the pool share servers no more. Its leases count no more for others.
func (p *Pool) StopSharing(now Instant) {
	if p.sharing == nil {
		return
	}
	for _, s := range p.servers {
		p.unlink(now, s)
	}
	p.sharing.pools = slices.DeleteFunc(p.sharing.pools, func(other *Pool) bool { return other == p })
	p.sharing = nil
}

// SharedAddress returns what the addresses of a server have in common however they are written: a server is the same with and without
// TLS. It is empty if there is no address.
func SharedAddress(address string) string {
	if IsUnix(address) {
		return address
	}
	_, hostPort := SplitAddress(address)
	return strings.ToLower(hostPort)
}

// link finds the server's counterparts by its address, which may be new.
func (p *Pool) link(now Instant, s *Server) {
	address := SharedAddress(s.spec.Address)
	if p.sharing == nil || s.sharing() != nil && s.sharing().address == address {
		return // nearly always
	}
	p.unlink(now, s)
	if address == "" {
		return // known by leases alone
	}
	same := p.sharing.byAddress[address]
	s.member().shared = &sharedServer{address: address}
	p.sharing.byAddress[address] = append(same, s)
	for _, other := range same {
		if other.pool == p {
			continue // names may lead to one address
		}
		if len(s.counterparts()) == 0 && !s.hasHistory() {
			s.inherit(other)
		}
		own, others := s.ownLeases(), other.ownLeases()
		ownIdle, othersIdle := s.idle-s.sharing().idle, other.idle-other.sharing().idle
		s.sharing().counterparts = append(s.sharing().counterparts, other)
		other.sharing().counterparts = append(other.sharing().counterparts, s)
		s.addShared(others, othersIdle)
		other.addShared(own, ownIdle)
	}
	p.refreshShared(now, s)
}

// unlink takes the server from among its counterparts.
func (p *Pool) unlink(now Instant, s *Server) {
	was := s.sharing()
	if was == nil {
		return
	}
	own, ownIdle := s.ownLeases(), s.idle-was.idle
	list := p.sharing.byAddress[was.address]
	if list = slices.DeleteFunc(list, func(other *Server) bool { return other == s }); len(list) == 0 {
		delete(p.sharing.byAddress, was.address)
	} else {
		p.sharing.byAddress[was.address] = list
	}
	s.addShared(-was.leases, -was.idle)
	s.labelled.shared = nil
	p.refresh(now, s)
	for _, other := range was.counterparts {
		other.sharing().counterparts = slices.DeleteFunc(other.sharing().counterparts, func(c *Server) bool { return c == s })
		other.addShared(-own, -ownIdle)
		other.pool.refresh(now, other)
	}
}

// addShared adds leases of other pools, and of these the ones on which nothing is owed.
func (s *Server) addShared(leases, idle int32) {
	s.leases += leases
	s.sharing().leases += leases
	s.idle += idle
	s.sharing().idle += idle
}

// refreshShared brings up to date what follows from what is declared of the server in any of its pools.
func (p *Pool) refreshShared(now Instant, s *Server) {
	p.refresh(now, s)
	for _, c := range s.counterparts() {
		c.pool.refresh(now, c)
	}
}

func (p *Pool) refresh(now Instant, s *Server) {
	p.version++
	p.account(now, s)
	p.examine(now, s)
	p.recap(s)
	p.survey(s)
	p.rank(now, s)
}

// partIn returns the server's part in several pools; nil: the pool shares no servers.
func (s *Server) sharing() *sharedServer {
	if s.labelled == nil {
		return nil // nearly always
	}
	return s.labelled.shared
}

// counterparts returns the server's records in other pools; nil: no other pool has it.
func (s *Server) counterparts() []*Server {
	if s.sharing() == nil {
		return nil // nearly always
	}
	return s.sharing().counterparts
}

// ownLeases returns the open leases of the pool itself.
func (s *Server) ownLeases() int32 {
	if s.sharing() == nil {
		return s.leases
	}
	return s.leases - s.sharing().leases
}

// ownIdle is ownLeases of those on which the server owes nothing.
func (s *Server) ownIdle() int32 {
	if s.sharing() == nil {
		return s.idle
	}
	return s.idle - s.sharing().idle
}

// Elsewhere returns how many of the open leases on the server are other pools'.
func (s *Server) Elsewhere() int { return int(s.leases - s.ownLeases()) }

// SharedWith appends the names of the other pools in which the server stands, in order.
func (s *Server) SharedWith(dst []string) []string {
	from := len(dst)
	for _, c := range s.counterparts() {
		dst = append(dst, c.pool.cfg.Name)
	}
	slices.Sort(dst[from:])
	return dst
}

// Counterpart is the record of a server in another pool.
type Counterpart struct {
	Pool   string
	Server ServerID
}

// Counterparts returns a server's records in other pools; nil: no other pool has it.
func (p *Pool) Counterparts(id ServerID) (list []Counterpart) {
	if s := p.byID[id]; s != nil {
		for _, c := range s.counterparts() {
			list = append(list, Counterpart{c.pool.cfg.Name, c.spec.ID})
		}
	}
	return list
}

// hasHistory reports whether requests have shown anything of the server.
func (s *Server) hasHistory() bool {
	return s.granted > 0 || s.leases > 0 || s.ended != 0 || s.reporting
}

// inherit takes over what is known of the server by a counterpart, which has been there before.
func (s *Server) inherit(from *Server) {
	s.health, s.load, s.isHeld, s.held = from.health, from.load, from.isHeld, from.held
	s.reporting, s.counted, s.okCrowd, s.lifeSigns = from.reporting, from.counted, from.okCrowd, from.lifeSigns
	s.warmFrom, s.proven = from.warmFrom, from.proven
	s.since.held, s.since.ejected = from.since.held, from.since.ejected
	s.metrics = slices.Clone(from.metrics)
	if from.full != nil {
		s.full = new(*from.full)
		s.full.good, s.full.others, s.full.own = s.pool.good, s.pool.fulls, 0
	}
	if from.evidence != silence {
		s.evidence = new(*from.evidence)
	}
	s.pool.warmUntil = max(s.pool.warmUntil, from.pool.warmUntil)
	if at := s.nextChange(0); at < forever {
		s.pool.wakeAt(s, at)
	}
	if s.isHeldForSilence() {
		s.pool.silent = append(s.pool.silent, s)
	}
}

// holdElsewhere is hold by another pool.
func (p *Pool) holdElsewhere(now Instant, s *Server, n int32) {
	if s.reporting {
		s.settle(now)
	}
	if n > 0 {
		p.beginsToOwe(now, s)
		p.takeTurn(now, s)
	}
	s.addShared(n, 0)
	p.rank(now, s)
}

// endElsewhere takes that a lease of another pool on the server has ended. The edge is the lease's.
func (p *Pool) endElsewhere(now Instant, s *Server, edge EdgeID, ended *lease, o *Outcome) {
	if ended.idle {
		s.addShared(0, -1)
	}
	if o.isSign() {
		p.alive(now, s, now)
	}
	s.ended = now
	l := *ended
	l.server, l.edge, l.tenant = s, p.edgeElsewhere(edge), nil
	p.judgeServer(now, s, &l, o)
	if s.load.x > 0 {
		s.confirm(now)
		s.touched(now)
	}
	p.holdElsewhere(now, s, -1)
	if !o.isSign() && !ended.idle {
		s.gaveUp = now
		p.findStandstill(now, s)
	}
}

// declaredSlots returns the slots that are declared of the server in this pool or, failing that, in another; zero: in none.
func (s *Server) declaredSlots() float64 {
	if s.spec.Slots > 0 || s.sharing() == nil {
		return s.spec.Slots // nearly always
	}
	slots := 0.
	for _, c := range s.sharing().counterparts {
		slots = max(slots, c.spec.Slots)
	}
	return slots
}

// mostDeclared returns the least cap that is declared of the server in any of its pools; noCap: in none.
func (s *Server) mostDeclared() int32 {
	most := s.pool.capOf(&s.spec)
	for _, c := range s.counterparts() {
		most = min(most, c.pool.capOf(&c.spec))
	}
	return most
}

// knownFrom returns from when all leases on the server are known.
func (s *Server) knownFrom() Instant {
	from := s.pool.knownFrom
	for _, c := range s.counterparts() {
		from = max(from, c.pool.knownFrom)
	}
	return from
}

// heardKnee returns what latencies tell of the server's slots: those of the pool whose requests tell most.
func (s *Server) heardKnee() *knee {
	k := s.knee
	for _, c := range s.counterparts() {
		if c.knee.isTold() && (!k.isTold() || c.knee.above(0) > k.above(0)) {
			k = c.knee
		}
	}
	return k
}

// checkShared states that a server's records agree.
func (s *Server) checkShared() error {
	if s.sharing() == nil {
		return nil
	}
	leases, idle := int32(0), int32(0)
	for _, c := range s.sharing().counterparts {
		leases += c.ownLeases()
		idle += c.ownIdle()
		switch {
		case c.pool == s.pool || c.pool.sharing != s.pool.sharing:
			return fmt.Errorf("server %s: its counterpart in pool %s is none", s.spec.ID, c.pool.cfg.Name)
		case !slices.Contains(c.counterparts(), s):
			return fmt.Errorf("server %s: pool %s does not know that it stands in pool %s", s.spec.ID, c.pool.cfg.Name, s.pool.cfg.Name)
		case c.leases != s.leases && len(c.counterparts()) == len(s.counterparts()):
			return fmt.Errorf("server %s: has %d leases, and %d by pool %s", s.spec.ID, s.leases, c.leases, c.pool.cfg.Name)
		}
	}
	if leases != s.sharing().leases || idle != s.sharing().idle {
		return fmt.Errorf("server %s: has %d leases of other pools, %d of them idle, and counts %d and %d", s.spec.ID, leases, idle, s.sharing().leases, s.sharing().idle)
	}
	return nil
}
