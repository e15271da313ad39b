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

// Masters is an edge's connections to all its masters, of which one leads each pool.
// It asks the leader, and takes the open leases of a pool along when another leads it:
//
//	Pick ─▶ seat of the pool ─▶ leader ─▶ Client ─▶ master
//	Done ─▶                 ─▶ keeper ─▶
//
// A master that is not elected leads every pool; of several such the first that answers
// is asked until it is lost. Masters follows a leader whose address it learns from
// another master.
//
// A master is known by its id, and one process of it by its epoch, never by an address: the
// file may name it by two names, or by others than it has for itself. An address at which a
// connected master answers is parked until that connection is lost, and a
// learnt address of a master that another line is for is one more for that line.
//
// Its methods may be called at any time, from any goroutine.
type Masters struct {
	cfg    Config
	log    *slog.Logger
	seats  table[*seat]  // by pool
	tried  chan struct{} // closed once each of Config.Masters has answered, or has not
	turn   chan struct{} // one slot: there is something to review
	tally  trust.Tally
	drains *drains                   // of all clients
	every  atomic.Pointer[[]*Client] // clients, to be read without mu

	mu      sync.Mutex // guards the following; taken before a line's
	clients []*Client  // those of Config.Masters in their order, then those we were told of
	spawn   func(*Client)
	learned map[*Client]context.CancelFunc // those we were told of; nil before Run
	driver  Driver                         // of all clients; nil: none
}

// How long an ask waits for a leader, from when the last one was lost.
const (
	briefly     = 20 * time.Millisecond // then the edge can choose for itself
	patiently   = 5 * time.Second       // in a pool that dispatches it cannot
	atFirst     = time.Second           // it knows no server yet
	reviewEvery = 250 * time.Millisecond
	mostMasters = 16
	outdated    = 10 * time.Second // what a master that led said of a pool is not preferred after so long without one
)

var past = time.Unix(1, 0)

// NewMasters returns Masters that are idle until Run. Asks go only for Config.Pools, or what SetPools
// has put in their place.
func NewMasters(cfg Config) (*Masters, error) {
	cfg.instance = newInstance()
	m := &Masters{cfg: cfg, log: logger(cfg.Log), tried: make(chan struct{}), turn: make(chan struct{}, 1), drains: newDrains()}
	if err := checkMasters(cfg.Masters); err != nil {
		return nil, err
	}
	m.SetPools(cfg.Pools)
	for i, address := range cfg.Masters {
		if slices.Contains(cfg.Masters[:i], address) {
			continue
		}
		if _, err := m.add(address); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// add makes a connection to one more master. mu is held, if there is anybody else.
func (m *Masters) add(address string) (*Client, error) {
	cfg := m.cfg
	cfg.Masters = []string{address}
	c, err := New(cfg)
	if err != nil {
		return nil, err
	}
	c.line.also = &m.tally
	c.talk.drains.drains = m.drains
	c.turned = m.nudge
	c.line.others, c.line.left = func() []uint64 { return m.connected(c) }, m.nudge
	if m.driver != nil {
		c.Drive(m.driver)
	}
	m.know(append(slices.Clone(m.clients), c))
	return c, nil
}

// connected returns the epochs of the masters that are connected, but for one connection.
func (m *Masters) connected(but *Client) (epochs []uint64) {
	for _, c := range *m.every.Load() {
		if epoch := c.line.epoch.Load(); c != but && epoch != 0 {
			epochs = append(epochs, epoch)
		}
	}
	return epochs
}

func (m *Masters) nudge() {
	select {
	case m.turn <- struct{}{}:
	default:
	}
}

// Run keeps the connections until ctx ends, then says Goodbye on each, and returns nil.
// It may run once.
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
			<-c.line.tried
		}
		close(m.tried)
		m.nudge()
	})
	again, probe := time.NewTicker(reviewEvery), time.NewTicker(probeEvery)
	defer again.Stop()
	defer probe.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-m.turn:
		case <-again.C:
		case <-probe.C:
			changed := false
			for _, c := range m.all() {
				changed = c.probe() || changed
			}
			if !changed {
				continue
			}
		}
		m.review()
	}
}

// review looks who leads each pool by what all masters say now, and tells each what
// operators have told another of drains.
func (m *Masters) review() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.prune()
	m.unpark()
	for _, c := range m.clients {
		c.line.tellDrains(&c.talk.drains, &c.talk.session)
	}
	allTried := false // so that all edges begin with the same of several that are not elected
	select {
	case <-m.tried:
		allTried = true
	default:
	}
	for _, s := range m.seats.all() {
		var best *Client
		fence, elsewhere := s.fence, claim{}
		low, lower := uint64(0), ""
		for _, c := range m.clients {
			said, leads := c.claims(s.pool)
			if elsewhere.leader == "" && said.leader != "" {
				elsewhere = said
				if said.id == c.master() {
					elsewhere.id = "" // two masters have been given one id, which says nothing then
				}
			}
			if leads && said.fence != 0 && said.fence < s.fence {
				c.refuseLead(s.pool, s.fence)
				low, lower = said.fence, c.line.masters[0]
			}
			if !leads || c.isBehind(s) || said.fence == 0 && !allTried || said.fence < fence || said.fence == fence && best != nil && c != s.keeper.Load() {
				continue
			}
			best, fence = c, said.fence
		}
		if best != nil {
			low = 0 // who led before has not heard yet that it does not any more
		}
		s.setLow(low, lower)
		switch {
		case best == nil:
			if s.vacate() > reviewEvery { // the leader may be one that is just coming
				m.follow(elsewhere.id, elsewhere.leader)
			}
		case best != s.keeper.Load() || fence != s.fence:
			m.log.Info("asking another master", "pool", s.pool, "master", best.line.masters[0], "fence", fence)
			s.move(best, fence)
		default:
			s.seat(best)
		}
	}
}

// prune parts from connections that were lost, of masters that we were told of and that
// one of Config.Masters turns out to be: its line has their addresses from now on. mu is held.
func (m *Masters) prune() {
	known := make(map[string]*Client)
	m.know(slices.DeleteFunc(slices.Clone(m.clients), func(c *Client) bool {
		id := c.master()
		if m.learned[c] == nil {
			known[id] = c
			return false
		}
		if id == "" || known[id] == nil || c.Connected() {
			return false
		}
		known[id].line.learnt.Store(&c.line.masters[0])
		m.part(c)
		return true
	}))
}

// part ends a connection to a master that we were told of. mu is held.
func (m *Masters) part(c *Client) {
	m.learned[c]()
	delete(m.learned, c)
}

// unpark has addresses tried again at which a master answered that is not connected any
// more. mu is held.
func (m *Masters) unpark() {
	connected := m.connected(nil)
	for _, c := range m.clients {
		c.line.unpark(connected)
	}
}

// know sets clients. mu is held, if there is anybody else.
func (m *Masters) know(clients []*Client) {
	m.clients = clients
	m.every.Store(&clients)
}

// master returns the id of the master that welcomed us last; empty: none has.
func (c *Client) master() string {
	c.line.mu.Lock()
	defer c.line.mu.Unlock()
	return c.talk.session.master
}

// follow connects to a leader that another master has told of: by the line that is for it,
// or by a new one. mu is held.
func (m *Masters) follow(id, address string) {
	reaches := func(c *Client) bool {
		if more := c.line.learnt.Load(); more != nil && *more == address && cmp.Or(c.master(), c.told) != id {
			c.line.learnt.Store(nil) // it is another master's by now
		}
		return slices.Contains(c.line.addresses(), address)
	}
	if address == "" || !m.mayTrust(address) || slices.ContainsFunc(m.clients, reaches) {
		return
	}
	if err := checkMasters([]string{address}); err != nil {
		m.log.Warn("the leader's address is none", "master", address, "err", err)
		return
	}
	if c := m.of(id); c != nil {
		c.line.learnt.Store(&address)
		return
	}
	if !m.makeRoom() {
		return
	}
	c, err := m.add(address)
	if err != nil {
		m.log.Warn("the leader cannot be followed", "master", address, "err", err)
		return
	}
	c.told = id
	m.spawn(c)
}

// of returns the connection that is for a master of an id; nil: none is. mu is held.
func (m *Masters) of(id string) *Client {
	for _, c := range m.clients {
		if id != "" && cmp.Or(c.master(), c.told) == id {
			return c
		}
	}
	return nil
}

// makeRoom parts from a master that we were told of and that is gone, if there are too many
// to follow another one; false: there is none. mu is held.
func (m *Masters) makeRoom() bool {
	if len(m.clients) < mostMasters {
		return true
	}
	for i, c := range m.clients {
		if m.learned[c] != nil && !c.Connected() {
			m.part(c)
			m.know(slices.Delete(slices.Clone(m.clients), i, i+1))
			return true
		}
	}
	return false
}

// lowFor is how long a leader that was replaced may not know it yet.
const lowFor = 3 * time.Second

// mayTrust reports whether an address that another master told may be spoken to: without
// certificates beyond this machine only if that holds for an address of the file.
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

// Pick asks the pool's leader, as Client.Pick does. While none is known it waits: briefly
// if the edge could choose for itself, for seconds if not.
func (m *Masters) Pick(ctx context.Context, pool string, req *balance.Request) (balance.Grant, error) {
	s := m.seats.of(pool)
	if s == nil {
		return balance.Grant{}, &balance.Refusal{Reason: balance.UnknownPool, Detail: fmt.Sprintf("pool %q is none that a route of this edge leads to", pool)}
	}
	asked, why := s.leader.Load(), error(errNeverUp)
	for {
		if asked != nil {
			grant, err := asked.Pick(ctx, pool, req)
			if err == nil || !Astray(err) {
				return grant, err
			}
			why = err
		}
		next, err := m.await(ctx, s, asked)
		if err != nil {
			return balance.Grant{}, err
		}
		if next == nil {
			return balance.Grant{}, leaderless(why)
		}
		asked = next
	}
}

// Astray reports whether another master might answer better.
func Astray(err error) bool {
	if r, ok := err.(*balance.Refusal); ok {
		return r.Reason == balance.NotLeader
	}
	return errors.Is(err, ErrNoMaster)
}

// leaderless makes an error of the last answer that flights take for no master.
func leaderless(why error) error {
	if errors.Is(why, ErrNoMaster) {
		return why
	}
	return fmt.Errorf("%w that leads the pool: %w", ErrNoMaster, why)
}

// await waits for a leader after the one that would not answer; nil: there is none in time.
// Its error is the context's cause.
func (m *Masters) await(ctx context.Context, s *seat, after *Client) (*Client, error) {
	began := time.Now()
	for {
		s.mu.Lock()
		leader, moved, since, had := s.leader.Load(), s.moved, s.vacant, s.had
		s.mu.Unlock()
		if leader != nil && leader != after {
			return leader, nil
		}
		limit, tried := briefly, m.tried
		if leader != nil {
			since = began // it does not lead any more; the word of who does is on its way
		}
		switch snap := m.Snapshot(s.pool); {
		case snap != nil && snap.Dispatch:
			limit = patiently
		case !had && snap == nil:
			limit = atFirst
		}
		left := time.Until(since.Add(limit))
		select {
		case <-tried:
			tried = nil
		default:
			left = max(left, atFirst)
		}
		if left <= 0 {
			return nil, nil
		}
		timer := time.NewTimer(left)
		select {
		case <-moved:
			after = nil // it may be the same one, that leads anew
		case <-timer.C:
		case <-tried:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
		timer.Stop()
	}
}

// Ask asks the pool's leader, as Client.Ask does. Its error says that nobody will be told
// an answer, for none can be asked just now: Pick may wait for one. An answer for which
// Astray is true is of one that leads the pool no more.
func (m *Masters) Ask(pool string, req *balance.Request, a *Ask) error {
	if s := m.seats.of(pool); s != nil {
		if c := s.leader.Load(); c != nil {
			return c.Ask(pool, req, a)
		}
	}
	return errNeverUp
}

// Withdraw takes an Ask back, as Client.Withdraw does.
func (m *Masters) Withdraw(a *Ask) bool { return a.client.Withdraw(a) }

// GiveBack ends a lease at the master that keeps the pool's, as Client.GiveBack does.
func (m *Masters) GiveBack(now balance.Instant, pool string, lease balance.LeaseID, o balance.Outcome) {
	if c := m.keeper(pool); c != nil {
		c.GiveBack(now, pool, lease, o)
	}
}

// Flush writes what Ask and GiveBack have gathered, as Client.Flush does.
func (m *Masters) Flush(now balance.Instant, stays bool) {
	for _, c := range *m.every.Load() {
		c.Flush(now, stays)
	}
}

// Drive has d read the connections to all masters, as Client.Drive does.
func (m *Masters) Drive(d Driver) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.driver = d
	for _, c := range m.clients {
		c.Drive(d)
	}
}

// Undrive ends what Drive began, unless another driver has followed d.
func (m *Masters) Undrive(d Driver) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.driver == d {
		m.driver = nil
	}
	for _, c := range m.clients {
		c.Undrive(d)
	}
}

// Done ends a lease, at the master that keeps the pool's.
func (m *Masters) Done(pool string, lease balance.LeaseID, o balance.Outcome) {
	if c := m.keeper(pool); c != nil {
		c.Done(pool, lease, o)
	}
}

// Owes tells the master that keeps the pool's leases whether the server of one owes anything now, as
// Client.Owes does.
func (m *Masters) Owes(pool string, lease balance.LeaseID, owes bool) {
	if c := m.keeper(pool); c != nil {
		c.Owes(lease, owes)
	}
}

// keeper is the connection to the master that keeps the pool's leases; nil: there is none.
func (m *Masters) keeper(pool string) *Client {
	s := m.seats.of(pool)
	if s == nil {
		return nil
	}
	return s.keeper.Load()
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

// Snapshot returns what the leader said of a pool, or the one that led last, or if that is
// long ago whoever answers.
func (m *Masters) Snapshot(pool string) *balance.Snapshot {
	s := m.seats.of(pool)
	if s == nil {
		return nil
	}
	if c := s.leader.Load(); c != nil {
		if snap := c.Snapshot(pool); snap != nil {
			return snap
		}
	}
	s.mu.Lock()
	old := time.Since(s.vacant) > outdated
	s.mu.Unlock()
	last := s.last()
	if c := s.keeper.Load(); last != nil && (!old || c.Connected()) {
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

// Connected reports whether any master has welcomed us and is there.
func (m *Masters) Connected() bool {
	return slices.ContainsFunc(m.all(), (*Client).Connected)
}

// Problem returns why masters would not have us, if a person must mend it; else nil.
func (m *Masters) Problem() error {
	var all []error
	for _, c := range m.all() {
		if err := c.Problem(); err != nil {
			all = append(all, fmt.Errorf("master %s: %w", c.line.masters[0], err))
		}
	}
	seats := m.seats.all()
	for _, pool := range slices.Sorted(maps.Keys(seats)) {
		if err := seats[pool].problem(); err != nil {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

// Refused counts, over all masters, those that were refused, or that refused us for our
// certificate or the want of one, by reason.
func (m *Masters) Refused() *trust.Tally { return &m.tally }

func (m *Masters) all() []*Client {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.clients)
}
