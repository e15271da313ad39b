package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/policy"
)

// master is the real pool, and what the real master does around it.
type master struct {
	w       *world
	pool    *balance.Pool   // the first of pools
	pools   []*balance.Pool // one, or one of each tenant
	policy  string
	seed    uint64
	lives   uint64
	up      bool
	wake    balance.Instant // when the pool wants to be called; never: not by itself
	waiting map[wait]int32
	served  []int // by pool: when its queue was served last, counted in turns
	turn    int

	snapshot  *balance.Snapshot // what edges had from it last
	localFrom time.Duration     // what they had last of the trip from which they choose
	version   uint64
	told      balance.Instant // when they were last told loads and slots
	turns     []flight.Turns  // by edge
	lonely    *rand.Rand      // edges' chance in a fallback

	ids      []balance.ServerID // by index
	index    map[balance.ServerID]int32
	edges    []balance.EdgeID
	keys     []string
	tenants  []string
	ask      balance.Request
	metrics  [2]balance.Metric
	releases []balance.Release
}

func newMaster(w *world, name string, seed uint64) *master {
	m := &master{w: w, policy: name, seed: seed, waiting: make(map[wait]int32), turns: make([]flight.Turns, w.s.Edges), index: make(map[balance.ServerID]int32),
		lonely: rand.New(rand.NewPCG(seed, 0x65646765))}
	for i := range w.fleet {
		id := balance.ServerID("s" + strconv.Itoa(i))
		m.ids = append(m.ids, id)
		m.index[id] = int32(i)
	}
	for e := range w.s.Edges {
		m.edges = append(m.edges, balance.EdgeID("e"+strconv.Itoa(e)))
	}
	for k := range w.s.Affinity.Keys {
		m.keys = append(m.keys, "k"+strconv.Itoa(k))
	}
	for _, t := range w.s.Tenants {
		m.tenants = append(m.tenants, t.Name)
	}
	m.begin(start)
	return m
}

// begin is a master that knows nothing but its file.
func (m *master) begin(now balance.Instant) {
	how, err := policy.New(m.policy)
	if err != nil {
		panic(err) // Run has looked it up before
	}
	m.lives++
	m.makePools(now, how)
	for i := range m.w.fleet {
		if !m.w.servers[i].away {
			m.put(now, i)
		}
	}
	m.up, m.wake = true, never
}

// put enters a server. One that may leave is not of the file, so that nothing is remembered of it.
func (m *master) put(now balance.Instant, i int) {
	spec := balance.ServerSpec{ID: m.ids[i], Address: "127.0.0.1:" + strconv.Itoa(1+i)}
	if k := m.w.fleet[i]; !m.w.s.Blind {
		spec.Slots, spec.Speed = float64(k.Slots)*m.w.s.Declared, k.Speed
	}
	for _, p := range m.pools {
		if err := p.Put(now, spec, m.w.s.Churn.Every == 0); err != nil {
			panic(fmt.Sprintf("sim: a server that a valid scenario has is refused: %v", err))
		}
	}
}

func (m *master) choose(now balance.Instant, id int32, r *request) int32 {
	m.describe(r)
	grant, err := m.poolOf(r).Pick(now, &m.ask)
	if err == nil {
		r.lease = grant.Lease
		return m.index[grant.Server]
	}
	var refusal *balance.Refusal
	if !errors.As(err, &refusal) || refusal.Reason != balance.Saturated {
		return refuses
	}
	return m.join(now, id, r)
}

// describe fills in what an edge asks for.
func (m *master) describe(r *request) {
	m.ask.Edge, m.ask.Exclude = m.edges[r.edge], m.ask.Exclude[:0]
	for _, i := range r.tried.servers() {
		m.ask.Exclude = append(m.ask.Exclude, m.ids[i])
	}
	if r.key >= 0 {
		m.ask.Key = m.keys[r.key]
	}
	if len(m.tenants) > 0 {
		m.ask.Tenant = m.tenants[r.tenant]
	}
	m.ask.Size, m.ask.Class = r.size, m.classOf(r)
	if m.w.s.Deadline > 0 {
		m.ask.Deadline = r.at.Add(m.w.s.Deadline)
	}
}

// classOf returns the class that a request tells; empty: none.
func (m *master) classOf(r *request) string {
	if r.class < 0 || m.w.s.untold {
		return ""
	}
	return m.w.s.Classes[r.class].Name
}

// join lets a request wait, if the pool has a queue with room.
func (m *master) join(now balance.Instant, id int32, r *request) int32 {
	id64, _, refusal := m.poolOf(r).Join(now, &m.ask)
	if refusal != nil {
		return refuses
	}
	r.wait = wait{m.poolNumber(r), id64}
	m.waiting[r.wait] = id
	return waits
}

// serve passes on what the pool has decided about those that wait.
func (m *master) serve(now balance.Instant) {
	if !m.up {
		return
	}
	m.serveQueues(now)
	m.wake = never
	for _, p := range m.pools {
		if next := p.Expire(now); next > now {
			m.wake = min(m.wake, next)
		}
	}
}

// release passes on what a pool has decided of those that wait in it.
func (m *master) release(now balance.Instant, pool int) {
	for i := range m.releases {
		release := &m.releases[i]
		w := wait{pool, release.ID}
		id := m.waiting[w]
		delete(m.waiting, w)
		if release.Refusal != nil {
			m.w.refused(now, id)
			continue
		}
		m.w.requests[id].lease = release.Grant.Lease
		m.w.granted(now, id, m.index[release.Grant.Server])
	}
}

// tick is the pool's own time having come.
func (m *master) tick(now balance.Instant) {
	m.wake = never
	for _, p := range m.pools {
		p.Expire(now)
	}
	m.serve(now)
}

func (m *master) done(now balance.Instant, r *request) {
	if !m.up {
		return
	}
	o := balance.Outcome{Duration: now.Sub(r.sent) - time.Duration(m.w.dones.delay)}
	if r.faulty {
		o.Result, o.Status = r.result, r.status
	}
	m.poolOf(r).Done(now, r.lease, o)
}

func (m *master) report(now balance.Instant, l load) {
	if !m.up {
		return
	}
	name := balance.ApplicationUtilization
	if l.cpu {
		name = balance.CPUUtilization
	}
	m.metrics = [2]balance.Metric{{Name: name, Value: l.utilization}, {Name: balance.InFlight, Value: l.inFlight}}
	told := m.metrics[:]
	switch {
	case l.inFlight < 0:
		told = told[:1]
	case l.utilization < 0:
		told = told[1:]
	}
	if m.w.servers[l.server].away {
		return
	}
	for _, p := range m.reportedTo() {
		err := p.Report(now, &balance.Report{Server: m.ids[l.server], Age: now.Sub(l.taken), Window: l.window, Metrics: told})
		if err != nil && !errors.As(err, new(*balance.Contradiction)) {
			panic(fmt.Sprintf("sim: the report of a model is refused: %v", err))
		}
	}
}

// stop is the master dying: what it knew is lost, those that wait get no answer and
// are linked by their edges.
func (m *master) stop(now balance.Instant) {
	m.snapshot = m.pool.Snapshot(now)
	m.snapshot.Edges = m.w.s.Edges
	m.up, m.wake = false, never
	waiting := make([]int32, 0, len(m.waiting))
	for id := range m.w.requests {
		if w := m.w.requests[id].wait; w.id != 0 && m.waiting[w] == int32(id) {
			waiting = append(waiting, int32(id))
		}
	}
	clear(m.waiting)
	for _, id := range waiting {
		m.w.fallBack(now, id)
	}
}

// restart is a master that has just come up: the edges tell it what they hold, and what they had from the one before.
func (m *master) restart(now balance.Instant) {
	m.begin(now)
	m.pool.Recall(now, m.snapshot.Servers)
	for i := range m.w.servers {
		if m.w.servers[i].check.failed {
			m.checked(now, i, true)
		}
	}
	for id := range m.w.requests {
		r := &m.w.requests[id]
		if r.lease == 0 || r.answered {
			continue
		}
		if err := m.pool.Hold(now, m.edges[r.edge], &balance.Held{Lease: r.lease, Server: m.ids[r.server], Age: now.Sub(r.sent), Size: r.size, Class: m.classOf(r)}); err != nil {
			panic(fmt.Sprintf("sim: a lease in good order is refused: %v", err))
		}
	}
}

// fallBack is an edge choosing because no master answers.
func (w *world) fallBack(now balance.Instant, id int32) {
	server, ok := w.master.byEdge(w.requests[id].edge)
	if !ok {
		w.refused(now, id)
		return
	}
	w.send(now, id, server)
}

// byEdge returns the server that an edge chooses by what it knows.
func (m *master) byEdge(edge int32) (server int32, ok bool) {
	s, reason := flight.Fallback(m.snapshot, nil, m.busyAt(edge), &m.turns[edge], m.lonely)
	return m.index[s.ID], reason == ""
}

// busyAt tells what an edge has under way at a server.
func (m *master) busyAt(edge int32) func(balance.ServerID) int {
	mine := m.w.inFlight[edge]
	return func(id balance.ServerID) int { return int(mine[m.index[id]]) }
}

func (s *Scenario) poolConfig() balance.Config {
	trip := s.Ask
	if s.AskUntold {
		trip = 0
	}
	var tenants map[string]balance.TenantConfig
	for _, t := range s.Tenants {
		if t.Weight > 0 && tenants == nil {
			tenants = make(map[string]balance.TenantConfig)
		}
	}
	for _, t := range s.Tenants {
		if tenants != nil {
			tenants[t.Name] = balance.TenantConfig{Weight: t.Weight}
		}
	}
	return balance.Config{Name: "sim", RoundTrip: trip, Tenants: tenants, QueueSize: max(0, s.Queue.Size), QueueWait: s.Queue.Wait,
		Affinity: balance.Affinity{Hit: s.Affinity.HitCost, Keys: s.Affinity.Cache}}
}
