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

// This file resolves the names of pools' servers and passes the addresses to the core, and so to edges and
// health checks.
//
// A name is one server, whatever it resolves to. With resolve: all each of its addresses is a server, and the
// file's server is the pattern for these.

// Resolve says how a server is treated whose name has several addresses.
type Resolve uint8

const (
	ResolveOne Resolve = iota // it is one server: the first address is used for as long as the name has it
	ResolveAll                // each address is a server of its own
)

var resolveNames = [...]string{"one", "all"}

func (r Resolve) String() string { return resolveNames[r] }

const (
	maxResolvers  = 8
	namesInterval = time.Second // how often the set of names is updated, besides when a server changes
)

// validateNames validates how names are resolved.
func (c *PoolConfig) validateNames(bad func(field, problem string)) {
	switch {
	case c.Resolve > ResolveAll:
		bad("resolve", fmt.Sprintf("%d, want one or all", c.Resolve))
	case c.Resolve == ResolveAll && c.ResolveAtEdge:
		bad("resolve_at", "edge beside resolve: all: the master has to know the servers among which it chooses")
	}
	badResolvers(c.Resolvers, bad)
	for i := range c.Servers {
		if s := &c.Servers[i]; c.isPattern(s) && len(s.ID) > maxPatternID {
			bad(fmt.Sprintf("servers[%d].id", i), fmt.Sprintf("%d bytes, want at most %d with resolve: all, for @ and an address follow", len(s.ID), maxPatternID))
		}
	}
}

// maxPatternID leaves room for @ and the longest IPv6 address.
const maxPatternID = balance.MaxName - 40

func badResolvers(resolvers []string, bad func(field, problem string)) {
	if len(resolvers) > maxResolvers {
		bad("resolvers", fmt.Sprintf("%d, want at most %d", len(resolvers), maxResolvers))
	}
	for i, r := range resolvers {
		if problem := resolve.BadResolver(r); problem != "" {
			bad(fmt.Sprintf("resolvers[%d]", i), problem)
		}
	}
}

// nameService resolves the names of all pools.
type nameService struct {
	*resolve.Follower
	lookUp func(resolve.Query) resolve.Name // Get, but in tests
	wake   chan struct{}
	inside *inside.Set
}

func newNameService(in *inside.Set) *nameService {
	f := resolve.NewFollower()
	return &nameService{Follower: f, lookUp: f.Get, wake: make(chan struct{}, 1), inside: in}
}

// requestFollow has the set of names updated soon, because servers have come.
func (n *nameService) requestFollow() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// runNames resolves names until ctx ends.
func (m *Master) runNames(ctx context.Context) {
	var following = make(chan struct{})
	go func() { defer close(following); m.names.Run(ctx, m.names.requestFollow) }()
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
		m.followNames(clock.Now())
		timer.Reset(namesInterval)
	}
}

// followNames updates the set of resolved names to the pools' servers, and the servers to their names'
// addresses.
func (m *Master) followNames(now balance.Instant) {
	want := make(map[resolve.Query]bool)
	for _, p := range m.pools.Load().list {
		p.mu.Lock()
		news, unnamed := p.followNamesLocked(now, want)
		p.unlock()
		for _, n := range news {
			if n.added {
				m.shareServers(p, n.address)
			}
			n.logTo(m, p.name)
		}
		for _, id := range unnamed {
			if a := m.peers.agentOf(p.name, id); a != nil {
				a.drop(errUnnamed)
			}
		}
	}
	m.names.Keep(want)
}

// locationChange is a change of a server's address, for the log.
type locationChange struct {
	server   balance.ServerID
	address  string
	was, now balance.Location
	added    bool // the name has a new address, which is a server
}

func (l *locationChange) logTo(m *Master, pool string) {
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

// nameServer is a server made of one address of a name.
type nameServer struct {
	pattern balance.ServerID // of the file's server
	leaving bool             // the name no longer has the address
}

// isPattern reports whether a server of the file is a pattern for the addresses of its name.
func (c *PoolConfig) isPattern(spec *balance.ServerSpec) bool {
	_, _, named := resolve.Host(spec.Address)
	return c.Resolve == ResolveAll && named
}

// followNamesLocked adds the names of the pool's servers to want, and updates the servers to their names'
// addresses.
func (p *pool) followNamesLocked(now balance.Instant, want map[resolve.Query]bool) (news []locationChange, unnamed []balance.ServerID) {
	if p.closing {
		return nil, nil
	}
	for i := range p.cfg.Servers {
		if spec := &p.cfg.Servers[i]; p.cfg.isPattern(spec) {
			want[p.queryLocked(spec.Address)] = true
			more, gone := p.expandPatternLocked(now, spec)
			news, unnamed = append(news, more...), append(unnamed, gone...)
		}
	}
	for m := range p.core.Members {
		if _, made := p.nameServers[m.ID]; made || p.isPatternOfLocked(m.ID) {
			continue
		}
		if _, _, named := resolve.Host(m.Address); !named {
			continue
		}
		if !p.looksAtEdgeLocked(m.ID) || p.cfg.Health.Enabled() {
			want[p.queryLocked(m.Address)] = true
		}
		was, _ := p.core.Located(m.ID)
		if l := p.locationLocked(m.ID, m.Address); p.core.Locate(now, m.ID, l) {
			news = append(news, locationChange{server: m.ID, address: m.Address, was: was, now: l})
			p.markChangedLocked()
		}
	}
	return news, unnamed
}

func (p *pool) queryLocked(address string) resolve.Query {
	name, _, _ := resolve.Host(address)
	return resolve.NewQuery(name, p.cfg.Resolvers)
}

// isPatternOfLocked reports whether the file's server with that id is a pattern.
func (p *pool) isPatternOfLocked(id balance.ServerID) bool {
	spec := p.declared.file[id]
	return spec != nil && p.cfg.isPattern(spec)
}

// looksAtEdgeLocked reports whether edges resolve the server's name. The name of an agent's server is never
// left to them, since they do not know the pool's bounds.
func (p *pool) looksAtEdgeLocked(id balance.ServerID) bool {
	return p.cfg.ResolveAtEdge && p.declared.fileSaysAddress(id)
}

// setLocationLocked passes a new server's address to the core.
func (p *pool) setLocationLocked(now balance.Instant, spec *balance.ServerSpec) {
	if _, _, named := resolve.Host(spec.Address); !named || p.names == nil {
		return
	}
	p.core.Locate(now, spec.ID, p.locationLocked(spec.ID, spec.Address))
	p.names.requestFollow()
}

// locationLocked returns what the name of a server resolves to.
func (p *pool) locationLocked(id balance.ServerID, address string) balance.Location {
	if p.looksAtEdgeLocked(id) {
		return balance.Location{At: balance.AtEdge}
	}
	_, port, _ := resolve.Host(address)
	name := p.names.lookUp(p.queryLocked(address))
	l := locationInfo(&name)
	place, known := name.One()
	switch {
	case !name.Asked() && p.declared.fileSaysAddress(id):
		l.At = balance.AtEdge // until it is resolved here
	case !name.Asked():
		l.At = balance.NowhereFor("the server's name is being looked up")
	case !known:
		l.At = balance.NowhereFor(l.Problem)
	default:
		place, err := place.Keep(func(ip netip.Addr) error { return p.checkTargetLocked(id, ip, port) })
		if l.At = place.At(port); err != nil {
			l.At = balance.NowhereFor(err.Error())
		}
	}
	return l
}

// checkedAtLocked returns where a server is checked, in the form of resolve.Dialer; false: nowhere. What edges
// resolve is checked where it resolves to here.
func (p *pool) checkedAtLocked(m balance.Member) (at string, ok bool) {
	if _, nowhere := balance.Nowhere(m.At); nowhere {
		return "", false
	}
	_, port, named := resolve.Host(m.Address)
	if m.At != balance.AtEdge || !named || p.names == nil {
		return m.At, true
	}
	name := p.names.lookUp(p.queryLocked(m.Address))
	place, known := name.One()
	if why, _ := name.Problem(); !known && why != "" {
		return balance.NowhereFor(why), true
	} else if !known {
		return "", false // it is being resolved
	}
	return place.At(port), true
}

// locationInfo returns what is reported of a name, without its address.
func locationInfo(name *resolve.Name) (l balance.Location) {
	l.Problem, l.Since = name.Problem()
	if l.Several = name.Several(); l.Several {
		for _, a := range name.Addresses() {
			l.All = append(l.All, a.String())
		}
	}
	return l
}

// checkTargetLocked refuses an address that a server's name resolves to and that it may not have.
func (p *pool) checkTargetLocked(id balance.ServerID, ip netip.Addr, port string) error {
	if ip.IsUnspecified() || ip.IsMulticast() {
		return fmt.Errorf("the server's name leads to %s, which is no single machine's address", ip)
	}
	at := net.JoinHostPort(ip.String(), port)
	byFile, in := p.declared.fileSaysAddress(id), p.names.inside
	switch { // an address that an agent reported as its own does not exclude the file's servers
	case in.HasOwn(at), !byFile && in.HasText(at):
		return fmt.Errorf("the server's name leads to %s, an address of one of our own components, where clients must not get", at)
	case byFile:
		return nil
	}
	return p.access.Load().checkTarget(p.name, ip, p.declared.from[id])
}

// expandPatternLocked makes servers of a name's addresses. While there is none the pattern itself is in the
// pool, to show what is wrong with it.
func (p *pool) expandPatternLocked(now balance.Instant, pattern *balance.ServerSpec) (news []locationChange, unnamed []balance.ServerID) {
	_, port, _ := resolve.Host(pattern.Address)
	name := p.names.lookUp(p.queryLocked(pattern.Address))
	if !name.Asked() {
		return nil, nil
	}
	var refused []error
	stay := make(map[balance.ServerID]bool)
	for _, place := range name.All(now) {
		place, err := place.Keep(func(ip netip.Addr) error { return p.checkTargetLocked(pattern.ID, ip, port) })
		if err != nil {
			refused = append(refused, err)
			continue
		}
		spec := memberSpec(pattern, place.Addr, port)
		if spec.Check() != nil {
			continue // the file was validated, so this is an address with a long zone
		}
		stay[spec.ID] = true
		if p.putNameServerLocked(now, pattern, spec, place) {
			news = append(news, locationChange{server: spec.ID, address: spec.Address, now: balance.Location{At: place.At(port)}, added: true})
		}
		l := locationInfo(&name)
		l.At, l.Several, l.All = place.At(port), false, nil
		if p.core.Locate(now, spec.ID, l) {
			p.markChangedLocked()
		}
	}
	for id, m := range p.nameServers {
		if m.pattern == pattern.ID && !stay[id] {
			p.dismissMemberLocked(now, id)
			unnamed = append(unnamed, id)
		}
	}
	slices.Sort(unnamed)
	if len(stay) > 0 {
		if p.core.Has(pattern.ID) {
			p.core.Unname(now, pattern.ID)
			p.markChangedLocked()
		}
		return news, unnamed
	}
	l := locationInfo(&name)
	l.At = balance.NowhereFor(l.Problem)
	if err := errors.Join(refused...); err != nil {
		l.At = balance.NowhereFor(err.Error())
	}
	if !p.core.Has(pattern.ID) && p.putServerLocked(now, *pattern, true) != nil {
		return news, unnamed // its spec was validated
	}
	if p.core.Locate(now, pattern.ID, l) {
		p.markChangedLocked()
	}
	return news, unnamed
}

// memberSpec returns the spec of the server at one address of a name. With TLS its certificate has the name,
// so its address keeps the name.
func memberSpec(pattern *balance.ServerSpec, ip netip.Addr, port string) balance.ServerSpec {
	spec := *pattern
	spec.ID = pattern.ID + balance.ServerID("@"+ip.String())
	if secure, _ := balance.SplitAddress(pattern.Address); !secure {
		spec.Address = net.JoinHostPort(ip.String(), port)
	}
	return spec
}

// putNameServerLocked updates a server to its pattern and its name's address. It reports whether the server is
// new.
func (p *pool) putNameServerLocked(now balance.Instant, pattern *balance.ServerSpec, spec balance.ServerSpec, place resolve.Place) (fresh bool) {
	m, old := p.nameServers[spec.ID], p.declared.file[spec.ID]
	fresh = m == nil
	switch {
	case fresh && place.Leaving:
		return false
	case fresh:
		m = &nameServer{pattern: pattern.ID}
		if p.nameServers == nil {
			p.nameServers = make(map[balance.ServerID]*nameServer)
		}
		p.nameServers[spec.ID] = m
	case m.leaving == place.Leaving && old != nil && reflect.DeepEqual(*old, spec):
		return false // nearly always
	}
	m.leaving = place.Leaving
	p.declared.file[spec.ID], p.declared.tells[spec.ID] = &spec, p.declared.tells[pattern.ID]
	if err := p.putServerLocked(now, spec, true); err != nil {
		return false // the pattern was validated
	}
	return fresh
}

// dismissMemberLocked removes a server whose address its name has lost for long.
func (p *pool) dismissMemberLocked(now balance.Instant, id balance.ServerID) {
	delete(p.nameServers, id)
	delete(p.declared.file, id)
	delete(p.declared.tells, id)
	p.core.Unname(now, id)
	p.markChangedLocked()
}

// unnameMembersLocked removes the servers whose pattern the file no longer has.
func (p *pool) unnameMembersLocked(now balance.Instant) (unnamed []balance.ServerID) {
	for id, m := range p.nameServers {
		if !p.isPatternOfLocked(m.pattern) {
			p.dismissMemberLocked(now, id)
			unnamed = append(unnamed, id)
		}
	}
	return unnamed
}

// leavingDrain drains a server whose address its name has lost.
var leavingDrain = balance.Override{On: true, By: "its name", Reason: "which does not have this address any more"}
