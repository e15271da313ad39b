package client

import (
	"errors"
	"fmt"
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// Bounds of what an edge keeps.
const (
	mostUnwritten = 4 << 20  // bytes; with more of them asks are refused
	clogged       = 16 << 20 // bytes; with more of them, dones as a rule, the connection is given up
	maxDones      = 1 << 14  // kept while there is no connection; a lease whose done is dropped ends by the grace period
	maxCanceled   = 1 << 12  // asks nobody waits for, of which the master may not know yet
)

// edgeTalk is an edge's side of the conversation: what to send, what an answer means,
// whom to wake, and which leases are open. It is pure: bytes come in through receive
// and leave through out, and whoever drives it holds the lock.
type edgeTalk struct {
	session
	pools   map[string]*pool
	last    *pool    // asked for
	watched []*pool  // in the order of the configuration; replaced by setPools, never written to
	said    string   // the pool that the last ask or done of this connection named
	numbers []names3 // by what the master's grants on this connection call them

	asks     []ask // by the lower slotBits of their Seq
	free     []uint32
	waiting  int
	canceled map[uint64]*pool
	behind   balance.Instant // since when a snapshot is expected; zero: none is

	leases  leases // with no limit but their done
	limited leases // with one: perhaps nobody says done
	sweepAt int    // how many limited leases make it worth looking for expired ones

	drains  drainTalk
	dones   []wire.Done // while there is no connection
	pending pending
	forms   forms
	queued  uint64 // Queued frames seen

	turned  bool // who leads may have changed
	telling bool // the same, set aside by collect
	moving  int  // pools whose leases are being moved here
	probed  balance.Instant
	hushed  bool // the master is connected but does not answer

	settled []*waiter // to be woken
	waking  []*waiter // set aside by collect
	why     error     // of the last loss, for those who ask while down

	// Messages that are used again and again.
	granted  wire.Granted
	refused  wire.Refused
	snapshot wire.Snapshot
	change   wire.Change
}

// pool is what an edge knows of one.
type pool struct {
	name    string
	servers map[string]names3
	known   known
	former  *balance.Snapshot            // known when the last connection ended; nil: nothing was
	claim   claim                        // of the master that is connected
	refused uint64                       // the fence of the claim that it was told is refused; zero: none was
	away    bool                         // leases and asks belong to another master
	ended   map[balance.LeaseID]struct{} // done while leases are being moved here; nil: they are not
}

// names3 are a server's id and addresses, kept so that grants need no copies.
type names3 struct {
	id                  balance.ServerID
	address, at, public string
}

// ask is one that was sent. Its Seq is gen<<slotBits | slot.
type ask struct {
	gen    uint64
	pool   *pool
	waiter *waiter // nil: the slot is free
}

const slotBits = 20

// waiter is where the answer goes. Whoever settles it fills it in before told is called.
type waiter struct {
	done  chan struct{} // one slot
	ask   *Ask          // is told instead of done; nil: nobody is
	grant balance.Grant
	err   error
}

// told lets whoever asked know. The waiter must not be touched any more.
func (w *waiter) told() {
	if w.ask == nil {
		w.done <- struct{}{}
		return
	}
	grant, err := w.grant, w.err
	w.grant, w.err = balance.Grant{}, nil
	w.ask.To.Answered(grant, err)
}

// ErrNoMaster is wrapped by the error of a Pick that no master could be asked for.
var ErrNoMaster = errors.New("no master answers")

var (
	errNoPool  = &balance.Refusal{Reason: balance.UnknownPool, Detail: "the ask names no pool"}
	errNeverUp = fmt.Errorf("%w: no connection yet", ErrNoMaster)
	errBehind  = fmt.Errorf("%w: it does not keep up reading", ErrNoMaster)
	errTooMany = fmt.Errorf("%w: %d asks are waiting", ErrNoMaster, 1<<slotBits)
	errLeaving = fmt.Errorf("%w: the connection is being closed", ErrNoMaster)
	errClogged = errors.New("it does not read what is sent")
)

func newEdgeTalk(id balance.EdgeID, watch []string, software string) *edgeTalk {
	t := &edgeTalk{
		session:  session{habits: edgeHabits, hello: wire.Hello{Min: wire.MinVersion, Max: wire.MaxVersion, Role: wire.RoleEdge, ID: string(id), Software: software}},
		pools:    make(map[string]*pool),
		canceled: make(map[uint64]*pool),
		sweepAt:  1024,
		drains:   drainTalk{drains: newDrains()},
		why:      errNeverUp,
	}
	for _, name := range watch {
		if t.pools[name] == nil {
			t.watched = append(t.watched, t.pool(name))
		}
	}
	return t
}

func (t *edgeTalk) pool(name string) *pool {
	if t.last != nil && t.last.name == name {
		return t.last
	}
	p := t.pools[name]
	if p == nil {
		name = strings.Clone(name)
		p = &pool{name: name, servers: make(map[string]names3)}
		t.pools[name] = p
	}
	t.last = p
	return p
}

// timed reports whether an ask needs to know the time.
func (t *edgeTalk) timed(req *balance.Request) bool {
	return req.Deadline != 0 || len(t.pending.list) > 0
}

// ask sends an Ask, and with it reports that wait. The answer goes to w. now may be zero
// if the ask is not timed.
func (t *edgeTalk) ask(now balance.Instant, name string, req *balance.Request, w *waiter) (seq uint64, err error) {
	switch {
	case t.stage == leaving:
		return 0, errLeaving
	case t.stage != up:
		return 0, t.why
	case name == "":
		return 0, errNoPool
	case t.pool(name).away:
		return 0, errMoved
	case t.hushed: // whoever has just been told so may be back before another is known to lead
		return 0, errHushed
	case len(t.out) > mostUnwritten:
		return 0, errBehind
	case t.waiting == 1<<slotBits:
		return 0, errTooMany
	}
	slot := uint32(len(t.asks))
	if n := len(t.free); n > 0 {
		slot, t.free = t.free[n-1], t.free[:n-1]
	} else {
		t.asks = append(t.asks, ask{})
	}
	a := &t.asks[slot]
	a.gen, a.pool, a.waiter = a.gen+1, t.pool(name), w
	t.waiting++
	seq = a.gen<<slotBits | uint64(slot)
	var reports []wire.PoolReport
	if len(t.pending.list) > 0 {
		reports = t.pending.take(now, wire.MaxAskReports)
		t.out = t.forms.give(t.out, reports)
		for i := range reports {
			if reports[i].Pool == a.pool.name {
				reports[i].Pool = ""
			}
		}
	}
	t.out = wire.AppendAsk(t.out, now, seq, t.say(a.pool.name), req, reports)
	return seq, nil
}

// say returns what an ask or a done has to name a pool by: nothing, if the last one named it.
func (t *edgeTalk) say(name string) string {
	if name == t.said {
		return ""
	}
	t.said = name
	return name
}

// find returns the ask that waits for an answer under seq, or nil.
func (t *edgeTalk) find(seq uint64) *ask {
	slot := seq & (1<<slotBits - 1)
	if slot >= uint64(len(t.asks)) || t.asks[slot].gen != seq>>slotBits || t.asks[slot].waiter == nil {
		return nil
	}
	return &t.asks[slot]
}

// release frees an ask's slot and returns its waiter.
func (t *edgeTalk) release(a *ask, seq uint64) *waiter {
	w := a.waiter
	a.waiter = nil
	t.waiting--
	t.free = append(t.free, uint32(seq&(1<<slotBits-1)))
	return w
}

// cancel withdraws an ask. It returns false if the ask is settled already: then the
// waiter is or will be signalled.
func (t *edgeTalk) cancel(seq uint64) bool {
	a := t.find(seq)
	if a == nil {
		return false
	}
	if len(t.canceled) == maxCanceled {
		clear(t.canceled) // a grant that comes for one of them ends at the master, by the Cancel
	}
	t.canceled[seq] = a.pool
	t.release(a, seq)
	t.out = (&wire.Cancel{Seq: seq}).Append(t.out)
	return true
}

// done ends a lease; while there is no connection, as soon as there is one.
func (t *edgeTalk) done(name string, id balance.LeaseID, o balance.Outcome) error {
	t.leases.drop(id)
	t.limited.drop(id)
	if t.moving > 0 {
		if p := t.pool(name); p.ended != nil {
			p.ended[id] = struct{}{}
		}
	}
	m := wire.Done{Lease: id, Outcome: o}
	switch {
	case name == "": // nobody's lease
	case t.stage == up && len(t.out) > clogged:
		return errClogged
	case t.stage == up:
		m.Pool = t.say(t.pool(name).name)
		t.out = m.Append(t.out)
	case len(t.dones) < maxDones:
		m.Pool = t.pool(name).name
		t.dones = append(t.dones, m)
	}
	return nil
}

// owes reports whether the server of a lease owes anything now; false: the master need not be told.
func (t *edgeTalk) owes(now balance.Instant, id balance.LeaseID, owes bool) bool {
	l := t.leases.find(id)
	if l == nil || l.idle == !owes {
		return false
	}
	l.idle = !owes
	if t.stage != up || len(t.out) > mostUnwritten {
		return false
	}
	t.hold(now, l)
	return true
}

// report keeps a report for the next ask.
func (t *edgeTalk) report(now balance.Instant, name string, r *balance.Report) {
	t.pending.put(now, name, r)
}

// flushReports sends the reports that no ask has taken along.
func (t *edgeTalk) flushReports(now balance.Instant) {
	if t.stage == up && len(t.pending.list) > 0 {
		reports := t.pending.take(now, maxPending)
		t.out = (&wire.Reports{Reports: reports}).Append(t.forms.give(t.out, reports))
		t.urgent = true
	}
}

// welcomed tells the master, which may be another or have forgotten, all that it needs:
// first the leases that are open, then those that ended meanwhile.
func (t *edgeTalk) welcomed(now balance.Instant) {
	t.said, t.numbers = "", t.numbers[:0]
	t.forms.forget()
	t.sweep(now)
	t.turned = true
	for _, all := range []*leases{&t.leases, &t.limited} {
		for i := range all.at {
			if all.at[i].id != 0 {
				t.hold(now, &all.at[i])
			}
		}
	}
	t.drains.told = 0
	t.out = t.drains.tell(t.out)
	for i := range t.dones {
		t.out = t.dones[i].Append(t.out)
	}
	t.dones = t.dones[:0]
	for _, p := range t.watched {
		t.watch(now, p)
	}
	t.flushReports(now)
}

// hold tells the master of a lease. One whose time is over is none: told without a time left, it
// would be held for ever.
func (t *edgeTalk) hold(now balance.Instant, l *openLease) {
	if l.expires != 0 && l.expires <= now {
		return
	}
	m := wire.Hold{Pool: l.pool.name, Lease: l.id, Server: l.server, Age: now.Sub(l.since), Tag: l.tag, Idle: l.idle}
	if l.expires != 0 {
		m.Left = l.expires.Sub(now)
	}
	t.out = m.Append(t.out)
}

// sweep forgets limited leases whose time is over.
func (t *edgeTalk) sweep(now balance.Instant) {
	var left leases
	for i := range t.limited.at {
		if l := &t.limited.at[i]; l.id != 0 && l.expires > now {
			left.put(*l)
		}
	}
	t.limited, t.sweepAt = left, max(1024, 2*left.n)
}

// lost ends the session. Those who wait learn why; open leases are remembered.
func (t *edgeTalk) lost(why error) {
	t.why = fmt.Errorf("%w: %w", ErrNoMaster, why)
	for slot := range t.asks {
		if a := &t.asks[slot]; a.waiter != nil {
			w := t.release(a, a.gen<<slotBits|uint64(slot))
			w.err = t.why
			t.settled = append(t.settled, w)
		}
	}
	clear(t.canceled)
	for _, p := range t.pools {
		p.claim, p.refused = claim{}, 0
	}
	t.behind, t.turned, t.hushed = 0, true, false
	for _, p := range t.watched {
		p.remember(t.isBehind(t.heard, p, p.former), t.drains.drains)
		p.known.whole, p.known.halfway = false, false
	}
	t.close()
}

// goodbye is the last thing that is said.
func (t *edgeTalk) goodbye(now balance.Instant) {
	if t.stage == up {
		t.flushReports(now)
		t.bye()
	}
}

// collect sets aside who is to be woken; the shell wakes them when it has let go of its lock.
func (t *edgeTalk) collect() {
	t.settled, t.waking = t.waking[:0], t.settled
	t.turned, t.telling = false, t.turned
}

// expecting reports whether an answer is, or a snapshot that was asked for.
func (t *edgeTalk) expecting() bool { return t.waiting > 0 || t.behind != 0 }

func (t *edgeTalk) underWay() int { return t.waiting }

func (t *edgeTalk) base() *session { return &t.session }

func (t *edgeTalk) receive(now balance.Instant, buf []byte) (int, error) {
	if t.behind != 0 && now.Sub(t.behind) > awaitSnapshot {
		t.behind = 0
	}
	return t.session.receive(now, buf, t)
}

// frame takes one frame of a session that is up.
func (t *edgeTalk) frame(now balance.Instant, typ wire.Type, payload []byte) error {
	switch typ {
	case wire.TGranted:
		return t.grant(now, payload)
	case wire.TRefused:
		return t.refuse(payload)
	case wire.TQueued:
		t.queued++
		return nil
	case wire.TLead:
		return t.lead(payload)
	case wire.TDrain:
		return t.drain(payload)
	case wire.TSnapshot:
		return t.keepSnapshot(payload)
	case wire.TChange:
		return t.keepChange(now, payload)
	}
	return unexpected(typ)
}

// drain takes a Drain, which the other masters are told too.
func (t *edgeTalk) drain(payload []byte) error {
	name, err := t.drains.hear(payload)
	if err != nil {
		return err
	}
	if p := t.pools[name]; p != nil && p.known.latest.Load() != nil {
		p.known.stale.Store(true)
	}
	t.turned = t.turned || t.drains.heard
	t.drains.heard = false
	return nil
}

func (t *edgeTalk) grant(now balance.Instant, payload []byte) error {
	m := &t.granted
	if err := m.Decode(payload, now); err != nil {
		return err
	}
	a := t.find(m.Seq)
	if a == nil {
		return t.unwanted(m)
	}
	n, err := t.named(a.pool, m)
	if err != nil {
		return err
	}
	p, w := a.pool, t.release(a, m.Seq)
	w.grant = balance.Grant{Lease: m.Grant.Lease, Server: n.id, Address: n.address, At: n.at, Public: n.public, Expires: m.Grant.Expires, Waited: m.Queue, Fence: m.Grant.Fence, Tag: m.Grant.Tag}
	t.settled = append(t.settled, w)
	l := openLease{id: m.Grant.Lease, pool: p, server: n.id, since: now, expires: m.Grant.Expires, tag: m.Grant.Tag}
	if l.expires == 0 {
		t.leases.put(l)
		return nil
	}
	if t.limited.put(l); t.limited.n > t.sweepAt {
		t.sweep(now)
	}
	return nil
}

// unwanted ends the lease of a grant that nobody waits for any more.
func (t *edgeTalk) unwanted(m *wire.Granted) error {
	p := t.canceled[m.Seq]
	if p == nil && t.last != nil { // its number may still be used again
		_, err := t.named(t.last, m)
		return err
	}
	if p == nil {
		return nil
	}
	delete(t.canceled, m.Seq)
	t.out = (&wire.Done{Pool: t.say(p.name), Lease: m.Grant.Lease, Outcome: balance.Outcome{Result: balance.Canceled}}).Append(t.out)
	t.urgent = true
	_, err := t.named(p, m)
	return err
}

// named returns a grant's server as the edge keeps it, and learns its number.
func (t *edgeTalk) named(p *pool, m *wire.Granted) (*names3, error) {
	at := int(m.Number)
	switch {
	case m.Grant.Server == "" && at != 0 && at < len(t.numbers) && t.numbers[at].id != "":
		return &t.numbers[at], nil
	case m.Grant.Server == "":
		return nil, &wire.FrameError{What: fmt.Sprintf("granted: server number %d, which has no name yet", at)}
	}
	for len(t.numbers) <= at {
		t.numbers = append(t.numbers, names3{})
	}
	t.numbers[at] = p.names(&m.Grant)
	return &t.numbers[at], nil
}

// names returns copies, the same ones each time, of the strings of a grant.
func (p *pool) names(g *balance.Grant) names3 {
	n, ok := p.servers[string(g.Server)]
	if ok && n.address == g.Address && n.at == g.At && n.public == g.Public {
		return n
	}
	if len(p.servers) >= maxNames {
		clear(p.servers)
	}
	all := string(g.Server) + g.Address + g.At + g.Public // side by side, for they are read together
	server, address := len(g.Server), len(g.Server)+len(g.Address)
	at := address + len(g.At)
	n = names3{id: balance.ServerID(all[:server]), address: all[server:address], at: all[address:at], public: all[at:]}
	p.servers[string(n.id)] = n
	return n
}

func (t *edgeTalk) refuse(payload []byte) error {
	m := &t.refused
	if err := m.Decode(payload); err != nil {
		return err
	}
	a := t.find(m.Seq)
	if a == nil {
		delete(t.canceled, m.Seq)
		return nil
	}
	w := t.release(a, m.Seq)
	w.err = &balance.Refusal{Reason: m.Refusal.Reason, RetryAfter: m.Refusal.RetryAfter, Needs: m.Refusal.Needs, Detail: strings.Clone(m.Refusal.Detail), Leader: strings.Clone(m.Refusal.Leader), LeaderID: strings.Clone(m.Refusal.LeaderID)}
	t.settled = append(t.settled, w)
	return nil
}
