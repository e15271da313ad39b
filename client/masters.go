package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// Masters is an edge's connections to all its masters, of which one leads each pool. It asks
// the leader, and moves the open leases of a pool along when another master leads it:
//
//	Pick ─▶ poolLeadership ─▶ leader ──────▶ Client ─▶ master
//	Done ─▶                ─▶ leaseHolder ─▶
//
// A master that is not elected leads every pool; of several such masters the first that
// answers is asked until it is lost. Masters connects to a leader whose address another
// master has named.
//
// A master is known by its id, and one process of it by its epoch, never by an address: the
// file may name it by two names, or by others than it has for itself. An address at which an
// already connected master answers is parked until that connection is lost. A learned address
// of a master that another connLoop is for becomes one more address of that connLoop.
//
// Its methods are safe for concurrent use.
type Masters struct {
	cfg        Config
	log        *slog.Logger
	leadership table[*poolLeadership] // by pool
	firstRound chan struct{}          // closed once each of Config.Masters has answered or failed once
	reviews    chan struct{}          // one slot: a review is due
	refusals   trust.Tally
	overrides  *overrides                // shared by all clients
	published  atomic.Pointer[[]*Client] // clients, for readers without mu

	mu      sync.Mutex // guards the following; taken before a connLoop's
	clients []*Client  // those of Config.Masters in their order, then the learned ones
	spawn   func(*Client)
	learned map[*Client]context.CancelFunc // masters that another master named; nil before Run
	poller  ConnPoller                     // of all clients; nil: none
	added   []string                       // pools that AddPool added
}

// How long an ask waits for a leader, from when the last one was lost.
const (
	fallbackWait = 20 * time.Millisecond // then the edge chooses by itself
	dispatchWait = 5 * time.Second       // in a pool that dispatches, where the edge cannot choose
	startupWait  = time.Second           // the edge knows no server yet
	reviewEvery  = 250 * time.Millisecond
	maxMasters   = 16
	staleAfter   = 10 * time.Second // a former leader's snapshot is not preferred once there has been no leader for so long
)

var past = time.Unix(1, 0)

// NewMasters returns Masters that are idle until Run. Only the pools of Config.Pools, or of the last SetPools,
// can be asked for.
func NewMasters(cfg Config) (*Masters, error) {
	cfg.instance = newInstance()
	m := &Masters{cfg: cfg, log: logger(cfg.Log), firstRound: make(chan struct{}), reviews: make(chan struct{}, 1), overrides: newOverrides()}
	if err := checkMasters(cfg.Masters); err != nil {
		return nil, err
	}
	m.SetPools(cfg.Pools)
	for i, address := range cfg.Masters {
		if slices.Contains(cfg.Masters[:i], address) {
			continue
		}
		if _, err := m.addLocked(address); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// addLocked adds a connection to one more master. Before Run no lock is needed.
func (m *Masters) addLocked(address string) (*Client, error) {
	cfg := m.cfg
	cfg.Masters = []string{address}
	c, err := New(cfg)
	if err != nil {
		return nil, err
	}
	c.loop.parentTally = &m.refusals
	c.proto.overrides.overrides = m.overrides
	c.onLeaderChange = m.requestReview
	c.loop.otherEpochs, c.loop.onDisconnect = func() []uint64 { return m.connected(c) }, m.requestReview
	if m.poller != nil {
		c.Poll(m.poller)
	}
	m.setClientsLocked(append(slices.Clone(m.clients), c))
	return c, nil
}

// connected returns the epochs of the connected masters, except that of one connection.
func (m *Masters) connected(but *Client) (epochs []uint64) {
	for _, c := range *m.published.Load() {
		if epoch := c.loop.epoch.Load(); c != but && epoch != 0 {
			epochs = append(epochs, epoch)
		}
	}
	return epochs
}

func (m *Masters) requestReview() {
	select {
	case m.reviews <- struct{}{}:
	default:
	}
}

// Run keeps the connections until ctx ends, then sends a Goodbye on each and returns nil. Call it once.
func (m *Masters) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	m.mu.Lock()
	first := slices.Clone(m.clients)
	m.learned = make(map[*Client]context.CancelFunc)
	m.spawn = func(c *Client) {
		own, stop := context.WithCancel(ctx)
		m.learned[c] = stop
		running.Go(func() { _ = c.Run(own) })
	}
	m.mu.Unlock()
	for _, c := range first {
		running.Go(func() { _ = c.Run(ctx) })
	}
	running.Go(func() {
		for _, c := range first {
			<-c.loop.firstRound
		}
		close(m.firstRound)
		m.requestReview()
	})
	again, probe := time.NewTicker(reviewEvery), time.NewTicker(probeEvery)
	defer again.Stop()
	defer probe.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.reviews:
		case <-again.C:
		case <-probe.C:
			changed := false
			for _, c := range m.allClients() {
				changed = c.checkResponsive() || changed
			}
			if !changed {
				continue
			}
		}
		m.review()
	}
}

// review decides who leads each pool by what all masters say now, and sends each master the overrides that
// another has sent.
func (m *Masters) review() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pruneLocked()
	m.unparkLocked()
	for _, c := range m.clients {
		c.loop.sendOverrides(&c.proto.overrides, &c.proto.session)
		m.logUnknownPools(c)
	}
	allTried := false // until then all edges begin with the first of several masters that are not elected
	select {
	case <-m.firstRound:
		allTried = true
	default:
	}
	for _, s := range m.leadership.all() {
		var best *Client
		fence, elsewhere := s.fence, claim{}
		lowFence, lowAddress := uint64(0), ""
		for _, c := range m.clients {
			claimed, leads := c.leadClaim(s.pool)
			if elsewhere.leader == "" && claimed.leader != "" {
				elsewhere = claimed
				if claimed.id == c.masterID() {
					elsewhere.id = "" // two masters have the same id, which then identifies neither
				}
			}
			if leads && claimed.fence != 0 && claimed.fence < s.fence {
				c.rejectLead(s.pool, s.fence)
				lowFence, lowAddress = claimed.fence, c.loop.masters[0]
			}
			if !leads || c.isCatchingUp(s) || claimed.fence == 0 && !allTried || claimed.fence < fence || claimed.fence == fence && best != nil && c != s.leaseHolder.Load() {
				continue
			}
			best, fence = c, claimed.fence
		}
		if best != nil {
			lowFence = 0 // the former leader does not know of the new one yet
		}
		s.setLowFence(lowFence, lowAddress)
		switch {
		case best == nil:
			if s.clearLeader() > reviewEvery { // a leader may be about to connect
				m.followLeaderLocked(elsewhere.id, elsewhere.leader)
			}
		case best != s.leaseHolder.Load() || fence != s.fence:
			m.log.Info(askingMessage(s.leaseHolder.Load()), "pool", s.pool, "master", best.loop.masters[0], "fence", fence)
			s.moveTo(best, fence)
		default:
			s.setLeader(best)
		}
	}
}

// askingMessage says that a pool has another master than before; nil: it had none.
func askingMessage(before *Client) string {
	if before == nil {
		return "asking a master"
	}
	return "asking another master"
}

// logUnknownPools logs which of the pools that routes lead to a master does not know.
func (m *Masters) logUnknownPools(c *Client) {
	c.loop.mu.Lock()
	unknown := c.proto.unknownPools
	c.proto.unknownPools = nil
	c.loop.mu.Unlock()
	for _, why := range unknown {
		m.log.Warn("the master does not know a pool that routes of this edge lead to", "master", c.loop.masters[0], "err", why)
	}
}

// pruneLocked stops lost connections to learned masters that one of Config.Masters turns out to be. Its
// connLoop has their addresses from now on.
func (m *Masters) pruneLocked() {
	known := make(map[string]*Client)
	m.setClientsLocked(slices.DeleteFunc(slices.Clone(m.clients), func(c *Client) bool {
		id := c.masterID()
		if m.learned[c] == nil {
			known[id] = c
			return false
		}
		if id == "" || known[id] == nil || c.Connected() {
			return false
		}
		known[id].loop.learnedAddress.Store(&c.loop.masters[0])
		m.stopLocked(c)
		return true
	}))
}

// stopLocked ends a connection to a learned master.
func (m *Masters) stopLocked(c *Client) {
	m.learned[c]()
	delete(m.learned, c)
}

// unparkLocked retries spare addresses of masters that are no longer connected.
func (m *Masters) unparkLocked() {
	connected := m.connected(nil)
	for _, c := range m.clients {
		c.loop.unpark(connected)
	}
}

// setClientsLocked sets clients and publishes them. Before Run no lock is needed.
func (m *Masters) setClientsLocked(clients []*Client) {
	m.clients = clients
	m.published.Store(&clients)
}

// masterID returns the id of the master that was connected last; empty: none was.
func (c *Client) masterID() string {
	c.loop.mu.Lock()
	defer c.loop.mu.Unlock()
	return c.proto.session.master
}

// followLeaderLocked connects to a leader that another master has named: through the client of that master's
// id, or through a new one.
func (m *Masters) followLeaderLocked(id, address string) {
	reaches := func(c *Client) bool {
		if more := c.loop.learnedAddress.Load(); more != nil && *more == address && cmp.Or(c.masterID(), c.expectedID) != id {
			c.loop.learnedAddress.Store(nil) // it is another master's address now
		}
		return slices.Contains(c.loop.addresses(), address)
	}
	if address == "" || !m.mayTrust(address) || slices.ContainsFunc(m.clients, reaches) {
		return
	}
	if err := checkMasters([]string{address}); err != nil {
		m.log.Warn("the leader's address is none", "master", address, "err", err)
		return
	}
	if c := m.clientOfLocked(id); c != nil {
		c.loop.learnedAddress.Store(&address)
		return
	}
	if !m.makeRoomLocked() {
		return
	}
	c, err := m.addLocked(address)
	if err != nil {
		m.log.Warn("the leader cannot be followed", "master", address, "err", err)
		return
	}
	c.expectedID = id
	m.spawn(c)
}

// clientOfLocked returns the client of a master's id; nil: there is none.
func (m *Masters) clientOfLocked(id string) *Client {
	for _, c := range m.clients {
		if id != "" && cmp.Or(c.masterID(), c.expectedID) == id {
			return c
		}
	}
	return nil
}

// makeRoomLocked stops a learned master that is not connected if there are too many clients. It reports
// whether there is room for another one.
func (m *Masters) makeRoomLocked() bool {
	if len(m.clients) < maxMasters {
		return true
	}
	for i, c := range m.clients {
		if m.learned[c] != nil && !c.Connected() {
			m.stopLocked(c)
			m.setClientsLocked(slices.Delete(slices.Clone(m.clients), i, i+1))
			return true
		}
	}
	return false
}

// lowFenceGrace is how long a replaced leader may take to learn that it was replaced.
const lowFenceGrace = 3 * time.Second

// mayTrust reports whether to connect to an address that another master named. Without certificates an address
// beyond this machine is accepted only if the file has such an address too.
func (m *Masters) mayTrust(address string) bool {
	if m.cfg.TLS != nil || m.cfg.Trust != nil || nearby(address) {
		return true
	}
	return !slices.ContainsFunc(m.cfg.Masters, nearby)
}

func nearby(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return strings.HasPrefix(address, "unix:") || err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// Pick asks the pool's leader, as Client.Pick does. While no leader is known it waits: for fallbackWait if the
// edge could choose by itself, for seconds if not.
func (m *Masters) Pick(ctx context.Context, pool string, req *balance.Request) (balance.Grant, error) {
	s := m.leadership.get(pool)
	if s == nil {
		return balance.Grant{}, &balance.Refusal{Reason: balance.UnknownPool, Detail: fmt.Sprintf("pool %q is none that a route of this edge leads to", pool)}
	}
	asked, why := s.leader.Load(), error(errNeverUp)
	for {
		if asked != nil {
			grant, err := asked.Pick(ctx, pool, req)
			if err == nil || !TryAnotherMaster(err) {
				return grant, err
			}
			why = err
		}
		next, err := m.awaitLeader(ctx, s, asked)
		if err != nil {
			return balance.Grant{}, err
		}
		if next == nil {
			return balance.Grant{}, noLeaderError(why)
		}
		asked = next
	}
}

// TryAnotherMaster reports whether err is worth asking another master: ErrNoMaster or a NotLeader refusal.
func TryAnotherMaster(err error) bool {
	if r, ok := err.(*balance.Refusal); ok {
		return r.Reason == balance.NotLeader
	}
	return errors.Is(err, ErrNoMaster)
}

// noLeaderError wraps the last answer so that flights take it for ErrNoMaster.
func noLeaderError(why error) error {
	if errors.Is(why, ErrNoMaster) {
		return why
	}
	return fmt.Errorf("%w that leads the pool: %w", ErrNoMaster, why)
}

// awaitLeader waits for a leader other than the one that did not answer; nil: there is none in time. Its error
// is the context's cause.
func (m *Masters) awaitLeader(ctx context.Context, s *poolLeadership, after *Client) (*Client, error) {
	began := time.Now()
	for {
		s.mu.Lock()
		leader, moved, since, had := s.leader.Load(), s.changed, s.vacantSince, s.hadLeader
		s.mu.Unlock()
		if leader != nil && leader != after {
			return leader, nil
		}
		limit, tried := fallbackWait, m.firstRound
		if leader != nil {
			since = began // it no longer leads; the news of its successor is on its way
		}
		switch snap := m.Snapshot(s.pool); {
		case snap != nil && snap.Dispatch:
			limit = dispatchWait
		case !had && snap == nil:
			limit = startupWait
		}
		left := time.Until(since.Add(limit))
		select {
		case <-tried:
			tried = nil
		default:
			left = max(left, startupWait)
		}
		if left <= 0 {
			return nil, nil
		}
		timer := time.NewTimer(left)
		select {
		case <-moved:
			after = nil // the same master may lead again
		case <-timer.C:
		case <-tried:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
		timer.Stop()
	}
}

// Ask asks the pool's leader, as Client.Ask does. It returns an error if no leader is known; Pick may wait for
// one. An answer for which TryAnotherMaster is true comes from a master that no longer leads the pool.
func (m *Masters) Ask(pool string, req *balance.Request, a *Ask) error {
	if s := m.leadership.get(pool); s != nil {
		if c := s.leader.Load(); c != nil {
			return c.Ask(pool, req, a)
		}
	}
	return errNeverUp
}

// Withdraw takes an Ask back, as Client.Withdraw does.
func (m *Masters) Withdraw(a *Ask) bool { return a.client.Withdraw(a) }

// ReturnLease ends a lease at the master that has the pool's leases, as Client.GiveBack does.
func (m *Masters) ReturnLease(now balance.Instant, pool string, lease balance.LeaseID, o balance.Outcome) {
	if c := m.leaseHolder(pool); c != nil {
		c.ReturnLease(now, pool, lease, o)
	}
}

// Flush writes what Ask and GiveBack have gathered, as Client.Flush does.
func (m *Masters) Flush(now balance.Instant, stays bool) {
	for _, c := range *m.published.Load() {
		c.Flush(now, stays)
	}
}

// Poll has d read the connections to all masters, as Client.Drive does.
func (m *Masters) Poll(d ConnPoller) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.poller = d
	for _, c := range m.clients {
		c.Poll(d)
	}
}

// Unpoll ends what Drive began, unless another driver has followed d.
func (m *Masters) Unpoll(d ConnPoller) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.poller == d {
		m.poller = nil
	}
	for _, c := range m.clients {
		c.Unpoll(d)
	}
}

// Done ends a lease at the master that has the pool's leases.
func (m *Masters) Done(pool string, lease balance.LeaseID, o balance.Outcome) {
	if c := m.leaseHolder(pool); c != nil {
		c.Done(pool, lease, o)
	}
}

// Owes tells the master that has the pool's leases whether the server of one owes a response now, as
// Client.Owes does.
func (m *Masters) Owes(pool string, lease balance.LeaseID, owes bool) {
	if c := m.leaseHolder(pool); c != nil {
		c.Owes(lease, owes)
	}
}

// leaseHolder is the connection to the master that keeps the pool's leases; nil: there is none.
func (m *Masters) leaseHolder(pool string) *Client {
	s := m.leadership.get(pool)
	if s == nil {
		return nil
	}
	return s.leaseHolder.Load()
}

// Report keeps a server's load metrics for the pool's leader, as Client.Report does, and
// for the others, which may have to lead it.
func (m *Masters) Report(pool string, r balance.Report) {
	m.mu.Lock()
	clients := m.clients
	m.mu.Unlock()
	for _, c := range clients {
		c.Report(pool, r)
	}
}

// Snapshot returns the pool's snapshot of its leader, or of its last leader; if there has been none for
// long, of any connected master.
func (m *Masters) Snapshot(pool string) *balance.Snapshot {
	s := m.leadership.get(pool)
	if s == nil {
		return nil
	}
	if c := s.leader.Load(); c != nil {
		if snap := c.Snapshot(pool); snap != nil {
			return snap
		}
	}
	s.mu.Lock()
	old := time.Since(s.vacantSince) > staleAfter
	s.mu.Unlock()
	last := s.lastSnapshot()
	if c := s.leaseHolder.Load(); last != nil && (!old || c.Connected()) {
		return last
	}
	m.mu.Lock()
	clients := m.clients
	m.mu.Unlock()
	for _, c := range clients {
		if snap := c.Snapshot(pool); snap != nil && (last == nil || c.Connected()) {
			return snap
		}
	}
	return last
}

// Connected reports whether any master is connected.
func (m *Masters) Connected() bool {
	return slices.ContainsFunc(m.allClients(), (*Client).Connected)
}

// Problem returns the masters' refusals, if a person has to fix them; else nil.
func (m *Masters) Problem() error {
	var all []error
	for _, c := range m.allClients() {
		if err := c.Problem(); err != nil {
			all = append(all, fmt.Errorf("master %s: %w", c.loop.masters[0], err))
		}
	}
	seats := m.leadership.all()
	for _, pool := range slices.Sorted(maps.Keys(seats)) {
		if err := seats[pool].lowFenceError(); err != nil {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

// MissingPools returns, of each pool that can be asked for and that no connected master has, what a master says of it.
func (m *Masters) MissingPools() map[string]string {
	var missing map[string]string
	for pool := range m.leadership.all() {
		if why := m.missingPool(pool); why != "" {
			if missing == nil {
				missing = make(map[string]string)
			}
			missing[pool] = why
		}
	}
	return missing
}

// missingPool returns what a master says of a pool that none of the connected ones has; empty: one has it, or has not said.
func (m *Masters) missingPool(pool string) (why string) {
	for _, c := range m.allClients() {
		if !c.Connected() {
			continue
		}
		c.loop.mu.Lock()
		p := c.proto.pools[pool]
		said := ""
		if p != nil {
			said = p.missing
		}
		c.loop.mu.Unlock()
		if said == "" {
			return ""
		}
		why = said
	}
	return why
}

// Refused counts, by reason and over all masters, the masters that were refused and those that refused this
// process's certificate.
func (m *Masters) Refused() *trust.Tally { return &m.refusals }

func (m *Masters) allClients() []*Client {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.clients)
}
