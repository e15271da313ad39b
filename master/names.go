package master

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/inside"
	"github.com/evenkeel-lb/evenkeel/internal/resolve"
)

// This file follows the names of pools' servers, and tells the core, and by it edges and health checks,
// where they lead.
//
// A name is one server, wherever it leads. In a pool whose file says so each of its addresses is a server:
// what the file has of the name is the pattern for these.

// Resolve is what becomes of a server whose name has several addresses.
type Resolve uint8

const (
	ResolveOne Resolve = iota // it is one server: the first address is used for as long as the name has it
	ResolveAll                // each address is a server of its own
)

var resolveNames = [...]string{"one", "all"}

func (r Resolve) String() string { return resolveNames[r] }

const (
	mostResolvers = 8
	namesEvery    = time.Second // how often to look which names there are, besides when one changes
)

// validateNames judges how names are looked up.
func (c *PoolConfig) validateNames(bad func(field, problem string)) {
	switch {
	case c.Resolve > ResolveAll:
		bad("resolve", fmt.Sprintf("%d, want one or all", c.Resolve))
	case c.Resolve == ResolveAll && c.ResolveAtEdge:
		bad("resolve_at", "edge beside resolve: all: the master has to know the servers among which it chooses")
	}
	badResolvers(c.Resolvers, bad)
	for i := range c.Servers {
		if s := &c.Servers[i]; c.isPattern(s) && len(s.ID) > mostPatternID {
			bad(fmt.Sprintf("servers[%d].id", i), fmt.Sprintf("%d bytes, want at most %d with resolve: all, for @ and an address follow", len(s.ID), mostPatternID))
		}
	}
}

// mostPatternID leaves room for @ and the longest IPv6 address.
const mostPatternID = balance.MaxName - 40

func badResolvers(resolvers []string, bad func(field, problem string)) {
	if len(resolvers) > mostResolvers {
		bad("resolvers", fmt.Sprintf("%d, want at most %d", len(resolvers), mostResolvers))
	}
	for i, r := range resolvers {
		if problem := resolve.BadResolver(r); problem != "" {
			bad(fmt.Sprintf("resolvers[%d]", i), problem)
		}
	}
}

// nameService follows the names of all pools.
type nameService struct {
	*resolve.Follower
	known  func(resolve.Query) resolve.Name // what is known of a name: Get, but in tests
	wake   chan struct{}
	inside *inside.Set
}

func newNameService(in *inside.Set) *nameService {
	f := resolve.NewFollower()
	return &nameService{Follower: f, known: f.Get, wake: make(chan struct{}, 1), inside: in}
}

// look has the names looked at soon, for servers have come.
func (n *nameService) look() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// runNames follows names until ctx ends.
func (m *Master) runNames(ctx context.Context) {
	var following = make(chan struct{})
	go func() { defer close(following); m.names.Run(ctx, m.names.look) }()
	defer func() { <-following }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.names.wake:
		case <-timer.C:
		}
		m.follow(clock.Now())
		timer.Reset(namesEvery)
	}
}

// follow has the names followed that servers have now, and servers be where they lead.
func (m *Master) follow(now balance.Instant) {
	want := make(map[resolve.Query]bool)
	for _, p := range m.pools.Load().list {
		p.mu.Lock()
		news, unnamed := p.follow(now, want)
		p.unlock()
		for _, n := range news {
			n.log(m, p.name)
		}
		for _, id := range unnamed {
			if a := m.peers.agent(p.name, id); a != nil {
				a.drop(errUnnamed)
			}
		}
	}
	m.names.Keep(want)
}

// located is what is told in the log of a server's name.
type located struct {
	server   balance.ServerID
	address  string
	was, now balance.Location
	added    bool // the name has the server's address since now
}

func (l *located) log(m *Master, pool string) {
	switch _, nowhere := balance.Nowhere(l.now.At); {
	case l.added:
		m.log.Info("a name has an address more, which is a server", "pool", pool, "server", l.server, "address", l.now.At)
	case l.was.At != "" && l.was.At != balance.AtEdge && !nowhere && l.now.At != l.was.At:
		m.log.Info("a server's name leads elsewhere", "pool", pool, "server", l.server, "name", l.address, "from", l.was.At, "to", l.now.At)
	}
	if l.now.Several && !l.was.Several {
		m.log.Info("a server's name has several addresses, and one of them is used; with resolve: all each is a server", "pool", pool, "server", l.server, "name", l.address, "used", l.now.At, "addresses", l.now.All)
	}
}

// member is a server made of one address of a name.
type member struct {
	pattern balance.ServerID // of the file's server
	leaving bool             // the name does not have the address any more
}

// All methods of pool from here on want mu held.

// isPattern reports whether a server of the file is a pattern for those that its name's addresses are.
func (c *PoolConfig) isPattern(spec *balance.ServerSpec) bool {
	_, _, named := resolve.Host(spec.Address)
	return c.Resolve == ResolveAll && named
}

// follow adds the names of the pool's servers to want, and has these be where their names lead.
func (p *pool) follow(now balance.Instant, want map[resolve.Query]bool) (news []located, unnamed []balance.ServerID) {
	if p.closing {
		return nil, nil
	}
	for i := range p.cfg.Servers {
		if spec := &p.cfg.Servers[i]; p.cfg.isPattern(spec) {
			want[p.query(spec.Address)] = true
			more, gone := p.expand(now, spec)
			news, unnamed = append(news, more...), append(unnamed, gone...)
		}
	}
	for m := range p.core.Members {
		if _, made := p.members[m.ID]; made || p.isPatternOf(m.ID) {
			continue
		}
		if _, _, named := resolve.Host(m.Address); !named {
			continue
		}
		if !p.looksAtEdge(m.ID) || p.cfg.Health.Enabled() {
			want[p.query(m.Address)] = true
		}
		was, _ := p.core.Located(m.ID)
		if l := p.location(m.ID, m.Address); p.core.Locate(now, m.ID, l) {
			news = append(news, located{server: m.ID, address: m.Address, was: was, now: l})
			p.touch()
		}
	}
	return news, unnamed
}

func (p *pool) query(address string) resolve.Query {
	name, _, _ := resolve.Host(address)
	return resolve.NewQuery(name, p.cfg.Resolvers)
}

// isPatternOf reports whether the file's server of the id is a pattern.
func (p *pool) isPatternOf(id balance.ServerID) bool {
	spec := p.declared.file[id]
	return spec != nil && p.cfg.isPattern(spec)
}

// looksAtEdge reports whether edges look the server's name up. That of an agent's server is never left to
// them, for they do not know the pool's bounds.
func (p *pool) looksAtEdge(id balance.ServerID) bool {
	return p.cfg.ResolveAtEdge && p.declared.fileSaysAddress(id)
}

// locate tells the core where a server's name leads, after it was put.
func (p *pool) locate(now balance.Instant, spec *balance.ServerSpec) {
	if _, _, named := resolve.Host(spec.Address); !named || p.names == nil {
		return
	}
	p.core.Locate(now, spec.ID, p.location(spec.ID, spec.Address))
	p.names.look()
}

// location returns where the name of a server leads that is one server.
func (p *pool) location(id balance.ServerID, address string) balance.Location {
	if p.looksAtEdge(id) {
		return balance.Location{At: balance.AtEdge}
	}
	_, port, _ := resolve.Host(address)
	name := p.names.known(p.query(address))
	l := about(&name)
	place, known := name.One()
	switch {
	case !name.Asked() && p.declared.fileSaysAddress(id):
		l.At = balance.AtEdge // until it is known here
	case !name.Asked():
		l.At = balance.NowhereFor("the server's name is being looked up")
	case !known:
		l.At = balance.NowhereFor(l.Problem)
	default:
		place, err := place.Keep(func(ip netip.Addr) error { return p.mayLead(id, ip, port) })
		if l.At = place.At(port); err != nil {
			l.At = balance.NowhereFor(err.Error())
		}
	}
	return l
}

// checkedAt returns where a server is checked, as resolve.Dialer takes it; false: nowhere. What edges look up is
// checked where it leads from here.
func (p *pool) checkedAt(m balance.Member) (at string, ok bool) {
	if _, nowhere := balance.Nowhere(m.At); nowhere {
		return "", false
	}
	_, port, named := resolve.Host(m.Address)
	if m.At != balance.AtEdge || !named || p.names == nil {
		return m.At, true
	}
	name := p.names.known(p.query(m.Address))
	place, known := name.One()
	if why, _ := name.Problem(); !known && why != "" {
		return balance.NowhereFor(why), true
	} else if !known {
		return "", false // it is being looked up
	}
	return place.At(port), true
}

// about returns what is told of a name, but for where it leads.
func about(name *resolve.Name) (l balance.Location) {
	l.Problem, l.Since = name.Problem()
	if l.Several = name.Several(); l.Several {
		for _, a := range name.Addresses() {
			l.All = append(l.All, a.String())
		}
	}
	return l
}

// mayLead refuses an address to which the name of a server leads and where that may not be.
func (p *pool) mayLead(id balance.ServerID, ip netip.Addr, port string) error {
	if ip.IsUnspecified() || ip.IsMulticast() {
		return fmt.Errorf("the server's name leads to %s, which is no single machine's address", ip)
	}
	at := net.JoinHostPort(ip.String(), port)
	byFile, in := p.declared.fileSaysAddress(id), p.names.inside
	switch { // an agent's word on where it listens itself takes no server of the file
	case in.HasOwn(at), !byFile && in.HasText(at):
		return fmt.Errorf("the server's name leads to %s, an address of one of our own components, where clients must not get", at)
	case byFile:
		return nil
	}
	return p.access.Load().leads(p.name, ip, p.declared.from[id])
}

// expand makes servers of the addresses of a name. As long as there has been none, the pattern itself is in the
// pool, so that one sees what is wrong with it.
func (p *pool) expand(now balance.Instant, pattern *balance.ServerSpec) (news []located, unnamed []balance.ServerID) {
	_, port, _ := resolve.Host(pattern.Address)
	name := p.names.known(p.query(pattern.Address))
	if !name.Asked() {
		return nil, nil
	}
	var refused []error
	stay := make(map[balance.ServerID]bool)
	for _, place := range name.All(now) {
		place, err := place.Keep(func(ip netip.Addr) error { return p.mayLead(pattern.ID, ip, port) })
		if err != nil {
			refused = append(refused, err)
			continue
		}
		spec := memberSpec(pattern, place.Addr, port)
		if spec.Check() != nil {
			continue // the file was judged, so this is an address with a long zone
		}
		stay[spec.ID] = true
		if p.enter(now, pattern, spec, place) {
			news = append(news, located{server: spec.ID, address: spec.Address, now: balance.Location{At: place.At(port)}, added: true})
		}
		l := about(&name)
		l.At, l.Several, l.All = place.At(port), false, nil
		if p.core.Locate(now, spec.ID, l) {
			p.touch()
		}
	}
	for id, m := range p.members {
		if m.pattern == pattern.ID && !stay[id] {
			p.dismissMember(now, id)
			unnamed = append(unnamed, id)
		}
	}
	slices.Sort(unnamed)
	if len(stay) > 0 {
		if p.core.Has(pattern.ID) {
			p.core.Unname(now, pattern.ID)
			p.touch()
		}
		return news, unnamed
	}
	l := about(&name)
	l.At = balance.NowhereFor(l.Problem)
	if err := errors.Join(refused...); err != nil {
		l.At = balance.NowhereFor(err.Error())
	}
	if !p.core.Has(pattern.ID) && p.put(now, *pattern, true) != nil {
		return news, unnamed // its spec was valid when the file was read
	}
	if p.core.Locate(now, pattern.ID, l) {
		p.touch()
	}
	return news, unnamed
}

// memberSpec returns what holds of the server that one address of a name is. By TLS its certificate has the
// name, so its address keeps that.
func memberSpec(pattern *balance.ServerSpec, ip netip.Addr, port string) balance.ServerSpec {
	spec := *pattern
	spec.ID = pattern.ID + balance.ServerID("@"+ip.String())
	if secure, _ := balance.SplitAddress(pattern.Address); !secure {
		spec.Address = net.JoinHostPort(ip.String(), port)
	}
	return spec
}

// enter brings a server in line with its pattern and its name's address. It reports whether the server is new.
func (p *pool) enter(now balance.Instant, pattern *balance.ServerSpec, spec balance.ServerSpec, place resolve.Place) (fresh bool) {
	m, old := p.members[spec.ID], p.declared.file[spec.ID]
	fresh = m == nil
	switch {
	case fresh && place.Leaving:
		return false
	case fresh:
		m = &member{pattern: pattern.ID}
		if p.members == nil {
			p.members = make(map[balance.ServerID]*member)
		}
		p.members[spec.ID] = m
	case m.leaving == place.Leaving && old != nil && reflect.DeepEqual(*old, spec):
		return false // nearly always
	}
	m.leaving = place.Leaving
	p.declared.file[spec.ID], p.declared.tells[spec.ID] = &spec, p.declared.tells[pattern.ID]
	if err := p.put(now, spec, true); err != nil {
		return false // the pattern was valid
	}
	return fresh
}

// dismissMember has a server leave whose address its name has not had for long.
func (p *pool) dismissMember(now balance.Instant, id balance.ServerID) {
	delete(p.members, id)
	delete(p.declared.file, id)
	delete(p.declared.tells, id)
	p.core.Unname(now, id)
	p.touch()
}

// unnameMembers has the servers leave whose pattern the file does not have any more.
func (p *pool) unnameMembers(now balance.Instant) (unnamed []balance.ServerID) {
	for id, m := range p.members {
		if !p.isPatternOf(m.pattern) {
			p.dismissMember(now, id)
			unnamed = append(unnamed, id)
		}
	}
	return unnamed
}

// leavingDrain is why a server gets nothing whose address its name does not have any more.
var leavingDrain = balance.Drain{On: true, By: "its name", Reason: "which does not have this address any more"}

// drainAgain has a server be drained that was put, or that an operator gave work again, if it is to be.
func (p *pool) drainAgain(now balance.Instant, id balance.ServerID) error {
	if d := p.drains[id]; d.On {
		return p.core.Drain(now, id, d, sinceDrained(now, d))
	}
	if m := p.members[id]; m != nil && m.leaving {
		return p.core.Drain(now, id, leavingDrain, now)
	}
	return nil
}
