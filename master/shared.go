package master

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// This file has pools that share a server use one lock, so that the core can count the server once, and serves their queues in turns.

// poolLock is a pool's lock. Pools that share servers have the same group, and with it the same lock.
type poolLock struct {
	group atomic.Pointer[lockGroup] // changes only while it is locked; never nil
}

// lockGroup is pools under one lock. Once two pools are in one group they stay there.
type lockGroup struct {
	mu    sync.Mutex
	pools []*pool // by their numbers; guarded by mu, and so is turn
	turn  uint64  // of the pool that was served last
}

func (l *poolLock) Lock() {
	for {
		g := l.group.Load()
		g.mu.Lock()
		if l.group.Load() == g {
			return
		}
		g.mu.Unlock() // the pool has got another group meanwhile
	}
}

func (l *poolLock) Unlock() { l.group.Load().mu.Unlock() }

// sharedServers finds pools that share a server.
type sharedServers struct {
	joining sync.Mutex // held while pools get one lock; taken before any pool's

	mu        sync.Mutex // guards the following
	byAddress map[string]*sharers
	sweepAt   int // addresses at which those are looked for that no pool has any more
}

// sharers are the pools that have, or had, a server at an address.
type sharers struct {
	pools []*pool
	added balance.Instant // when the last of them was
}

const (
	fewAddresses = 1024        // are not worth looking through
	comingFor    = time.Minute // after it was added a server may still be on its way to its pool
)

// shareServers has pools that have a server at one of the addresses use one lock from now on, and count the server once. It is called
// before the pool gets the servers. No pool must be locked.
func (m *Master) shareServers(p *pool, addresses ...string) {
	for _, address := range addresses {
		if address = balance.SharedAddress(address); address == "" {
			continue
		}
		for _, other := range m.shared.add(clock.Now(), p, address) {
			m.joinPools(p, other)
		}
	}
	m.sweepShared()
}

// add enters a pool's server, and returns the other pools that have it.
func (s *sharedServers) add(now balance.Instant, p *pool, address string) (others []*pool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byAddress == nil {
		s.byAddress = make(map[string]*sharers)
	}
	all := s.byAddress[address]
	if all == nil {
		all = new(sharers)
		s.byAddress[address] = all
	}
	if all.added = now; !slices.Contains(all.pools, p) {
		all.pools = append(all.pools, p)
	}
	for _, other := range all.pools {
		if other != p && other.mu.group.Load() != p.mu.group.Load() {
			others = append(others, other)
		}
	}
	return others
}

// joinPools gives two pools one lock.
func (m *Master) joinPools(p, other *pool) {
	m.shared.joining.Lock()
	defer m.shared.joining.Unlock()
	p.mu.Lock()
	if other.mu.group.Load() == p.mu.group.Load() {
		p.unlock()
		return
	}
	other.mu.Lock()
	g, was := p.mu.group.Load(), other.mu.group.Load()
	p.core.ShareWith(clock.Now(), other.core)
	g.pools = append(g.pools, was.pools...)
	slices.SortFunc(g.pools, func(a, b *pool) int { return int(a.number) - int(b.number) })
	for _, q := range was.pools {
		q.mu.group.Store(g)
		q.markChangedLocked()
	}
	was.mu.Unlock()
	p.markChangedLocked()
	p.unlock()
	m.log.Debug("pools share servers", "pool", p.name, "other", other.name)
}

// sweepShared forgets the addresses that no pool has any more.
func (m *Master) sweepShared() {
	s := &m.shared
	s.mu.Lock()
	full := len(s.byAddress) >= max(fewAddresses, s.sweepAt)
	s.mu.Unlock()
	if !full {
		return
	}
	has := make(map[string]bool)
	for _, p := range m.pools.Load().list {
		p.mu.Lock()
		for member := range p.core.Members {
			has[balance.SharedAddress(member.Address)] = true
		}
		p.mu.Unlock()
	}
	now := clock.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.byAddress, func(address string, all *sharers) bool { return !has[address] && now.Sub(all.added) > comingFor })
	s.sweepAt = 2 * len(s.byAddress)
}

// dropShared takes a pool that has been removed out of its group.
func (m *Master) dropShared(p *pool) {
	p.mu.Lock()
	g := p.mu.group.Load()
	p.core.StopSharing(clock.Now())
	g.pools = slices.DeleteFunc(g.pools, func(q *pool) bool { return q == p })
	p.mu.group.Store(&lockGroup{pools: []*pool{p}})
	g.mu.Unlock()
	m.shared.mu.Lock()
	defer m.shared.mu.Unlock()
	for address, all := range m.shared.byAddress {
		if all.pools = slices.DeleteFunc(all.pools, func(q *pool) bool { return q == p }); len(all.pools) == 0 {
			delete(m.shared.byAddress, address)
		}
	}
}

// sharersLocked returns the other pools with which the pool shares servers.
func (p *pool) sharersLocked() (others []*pool) {
	for _, q := range p.mu.group.Load().pools {
		if q != p {
			others = append(others, q)
		}
	}
	return others
}

// serveGroupLocked serves the queues of all pools of the group, one request after another: first of the pool that has fewest
// requests at servers, and of several the one that was served longest ago. Otherwise the pool in which a request ends would
// always be the first to use what has come free.
func (p *pool) serveGroupLocked(now balance.Instant) {
	g := p.mu.group.Load()
	if len(g.pools) == 1 {
		if len(p.waits) > 0 {
			p.serveQueueLocked(now, allOfThem)
		}
		return
	}
	var served [8]*pool // those for which nothing is left to do
	over := served[:0]
	for {
		next := nextToServe(g.pools, over)
		if next == nil {
			return
		}
		before := len(next.waits)
		next.serveQueueLocked(now, 1)
		if len(next.waits) < before {
			next.takeTurnLocked()
		} else {
			over = append(over, next)
		}
	}
}

// takeTurnLocked notes that the pool has been served last of its group.
func (p *pool) takeTurnLocked() {
	g := p.mu.group.Load()
	g.turn++
	p.turn = g.turn
}

// nextToServe returns the pool whose queue is served next; nil: none.
func nextToServe(pools, over []*pool) (next *pool) {
	for _, q := range pools {
		if len(q.waits) == 0 || slices.Contains(over, q) {
			continue
		}
		if next == nil || q.core.Open() < next.core.Open() || q.core.Open() == next.core.Open() && q.turn < next.turn {
			next = q
		}
	}
	return next
}

// tellGroupLocked has edges told of what has changed at servers that other pools of the group have too.
func (p *pool) tellGroupLocked() {
	for _, q := range p.mu.group.Load().pools {
		if _, version := q.core.Servers(); version != q.toldVersion {
			q.toldVersion = version
			q.markChangedLocked()
		}
	}
}
