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
	maxUnwritten = 4 << 20  // bytes of out; beyond them asks are refused
	maxBacklog   = 16 << 20 // bytes of out, as a rule dones; beyond them the connection is given up
	maxDones     = 1 << 14  // kept while there is no connection; a lease whose done is dropped ends by the grace period
	maxCanceled  = 1 << 12  // asks without a caller, which the master may not know yet
)

// edgeProtocol is an edge's side of the protocol: what to send, what an answer means, which callers to notify,
// and which leases are open. It does no I/O: bytes come in through receive and leave through out. Its caller
// holds the connLoop's lock.
type edgeProtocol struct {
	session
	pools     map[string]*pool
	lastPool  *pool         // asked for last
	watched   []*pool       // in the order of the configuration; replaced by setWatched, never modified
	lastNamed string        // the pool that the last ask or done on this connection named
	numbers   []serverNames // by the numbers that the master's grants on this connection use

	asks          []ask // by the lower slotBits of their Seq
	free          []uint32
	waiting       int
	canceled      map[uint64]*pool
	snapshotSince balance.Instant // since when a snapshot is due; zero: none is

	openLeases

	overrides      overrideSync
	dones          []wire.Done // while there is no connection
	pendingReports pendingReports
	forms          forms
	queued         uint64 // Queued frames received

	poolNews
	moving       int // pools whose leases are being moved here
	lastProbe    balance.Instant
	unresponsive bool // the master is connected but does not answer

	settling

	// Messages that are decoded into repeatedly.
	decoded
}

// openLeases are the leases that are open.
type openLeases struct {
	leases   leases          // without a time limit
	expiring leases          // with one: no done may ever come
	lastOwn  balance.LeaseID // that this edge has given a lease itself
	sweepAt  int             // how many expiring leases make it worth looking for expired ones
	classes  classNames      // of their requests
}

// decoded are the messages that are decoded into repeatedly.
type decoded struct {
	granted  wire.Granted
	refused  wire.Refused
	snapshot wire.Snapshot
	change   wire.Change
}

// settling are the asks that have come to an end, and why.
type settling struct {
	settled    []*waiter // answered asks
	toNotify   []*waiter // set aside by collect
	lossReason error     // why the last connection was lost, for asks without one
}

// poolNews is what has to be told outside: leaders that may have changed, and pools that the master does not know.
type poolNews struct {
	leaderChanged bool     // a pool's leader may have changed, or unknownPools has
	unknownPools  []string // what the master says about watched pools that it does not know; not logged yet
	leaderNews    bool     // the same, set aside by collect
}

// pool is what an edge knows of a pool.
type pool struct {
	name      string
	servers   map[string]serverNames
	state     poolState
	previous  *balance.Snapshot            // as of the end of the last connection; nil: none
	claim     claim                        // of the connected master
	refused   uint64                       // the fence of the claim that the master was told is refused; zero: none
	missing   string                       // what the connected master says of the pool if it does not have it; empty: it has, or has not said
	movedAway bool                         // leases and asks belong to another master
	ended     map[balance.LeaseID]struct{} // leases that ended while they are being moved here; nil: none are moved
}

// serverNames are a server's id and addresses, kept so that grants need no copies.
type serverNames struct {
	id                  balance.ServerID
	address, at, public string
}

// ask is an ask that was sent. Its Seq is gen<<slotBits | slot.
type ask struct {
	gen    uint64
	pool   *pool
	waiter *waiter // nil: the slot is free
	asked
}

const slotBits = 20

// waiter receives an answer. grant and err are set before notify is called.
type waiter struct {
	done   chan struct{}          // one slot
	ask    *Ask                   // gets the answer instead of done; nil: none
	stands func(balance.Standing) // is told where the ask stands in the queue, with the connection's lock; nil: none is
	grant  balance.Grant
	err    error
}

// notify delivers the answer. The waiter must not be touched any more.
func (w *waiter) notify() {
	if w.ask == nil {
		w.done <- struct{}{}
		return
	}
	grant, err := w.grant, w.err
	w.grant, w.err = balance.Grant{}, nil
	w.ask.To.Answered(grant, err)
}

// ErrNoMaster is wrapped by the error of a Pick for which no master could be asked.
var ErrNoMaster = errors.New("no master answers")

var (
	errNoPool     = &balance.Refusal{Reason: balance.UnknownPool, Detail: "the ask names no pool"}
	errNeverUp    = fmt.Errorf("%w: no connection yet", ErrNoMaster)
	errSlowReader = fmt.Errorf("%w: it does not keep up reading", ErrNoMaster)
	errTooMany    = fmt.Errorf("%w: %d asks are waiting", ErrNoMaster, 1<<slotBits)
	errClosing    = fmt.Errorf("%w: the connection is being closed", ErrNoMaster)
	errBacklog    = errors.New("it does not read what is sent")
)

func newEdgeProtocol(id balance.EdgeID, watch []string, software string) *edgeProtocol {
	t := &edgeProtocol{
		session:   session{roleParams: edgeParams, hello: wire.Hello{Min: wire.MinVersion, Max: wire.MaxVersion, Role: wire.RoleEdge, ID: string(id), Software: software}},
		pools:     make(map[string]*pool),
		canceled:  make(map[uint64]*pool),
		overrides: overrideSync{overrides: newOverrides()},
	}
	t.sweepAt, t.lossReason = 1024, errNeverUp
	for _, name := range watch {
		if t.pools[name] == nil {
			t.watched = append(t.watched, t.pool(name))
		}
	}
	return t
}

func (t *edgeProtocol) pool(name string) *pool {
	if t.lastPool != nil && t.lastPool.name == name {
		return t.lastPool
	}
	p := t.pools[name]
	if p == nil {
		name = strings.Clone(name)
		p = &pool{name: name, servers: make(map[string]serverNames)}
		t.pools[name] = p
	}
	t.lastPool = p
	return p
}

// needsTime reports whether an ask needs to know the time.
func (t *edgeProtocol) needsTime(req *balance.Request) bool {
	return req.Deadline != 0 || len(t.pendingReports.list) > 0
}

// appendAsk sends an Ask, and with it pending reports. The answer goes to w. now may be zero unless needsTime.
func (t *edgeProtocol) appendAsk(now balance.Instant, name string, req *balance.Request, w *waiter) (seq uint64, err error) {
	switch {
	case t.stage == closing:
		return 0, errClosing
	case t.stage != connected:
		return 0, t.lossReason
	case name == "":
		return 0, errNoPool
	case t.pool(name).movedAway:
		return 0, errMoved
	case t.unresponsive: // a caller that was just refused may ask again before another leader is known
		return 0, errUnresponsive
	case len(t.out) > maxUnwritten:
		return 0, errSlowReader
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
	a.asked = asked{req.Size, t.classes.of(req.Class)}
	w.stands = req.Stands
	t.waiting++
	seq = a.gen<<slotBits | uint64(slot)
	var reports []wire.PoolReport
	if len(t.pendingReports.list) > 0 {
		reports = t.pendingReports.take(now, wire.MaxAskReports)
		t.out = t.forms.assign(t.out, reports)
		for i := range reports {
			if reports[i].Pool == a.pool.name {
				reports[i].Pool = ""
			}
		}
	}
	t.out = wire.AppendAsk(t.out, now, seq, t.abbreviatePool(a.pool.name), req, reports)
	return seq, nil
}

// abbreviatePool returns how an ask or a done names a pool: empty, if the last one named it.
func (t *edgeProtocol) abbreviatePool(name string) string {
	if name == t.lastNamed {
		return ""
	}
	t.lastNamed = name
	return name
}

// findAsk returns the ask that waits for an answer under seq, or nil.
func (t *edgeProtocol) findAsk(seq uint64) *ask {
	slot := seq & (1<<slotBits - 1)
	if slot >= uint64(len(t.asks)) || t.asks[slot].gen != seq>>slotBits || t.asks[slot].waiter == nil {
		return nil
	}
	return &t.asks[slot]
}

// releaseAsk frees an ask's slot and returns its waiter.
func (t *edgeProtocol) releaseAsk(a *ask, seq uint64) *waiter {
	w := a.waiter
	a.waiter = nil
	t.waiting--
	t.free = append(t.free, uint32(seq&(1<<slotBits-1)))
	return w
}

// cancelAsk withdraws an ask. It returns false if the ask is settled already: then the waiter is or will be
// notified.
func (t *edgeProtocol) cancelAsk(seq uint64) bool {
	a := t.findAsk(seq)
	if a == nil {
		return false
	}
	if len(t.canceled) == maxCanceled {
		clear(t.canceled) // if a grant comes for one of them, the Cancel ends it at the master
	}
	t.canceled[seq] = a.pool
	t.releaseAsk(a, seq)
	t.out = (&wire.Cancel{Seq: seq}).Append(t.out)
	return true
}

// appendDone ends a lease; without a connection, as soon as there is one.
func (t *edgeProtocol) appendDone(name string, id balance.LeaseID, o balance.Outcome) error {
	t.leases.remove(id)
	t.expiring.remove(id)
	if t.moving > 0 {
		if p := t.pool(name); p.ended != nil {
			p.ended[id] = struct{}{}
		}
	}
	m := wire.Done{Lease: id, Outcome: o}
	switch {
	case name == "": // no lease of a pool
	case t.stage == connected && len(t.out) > maxBacklog:
		return errBacklog
	case t.stage == connected:
		m.Pool = t.abbreviatePool(t.pool(name).name)
		t.out = m.Append(t.out)
	case len(t.dones) < maxDones:
		m.Pool = t.pool(name).name
		t.dones = append(t.dones, m)
	}
	return nil
}

// setOwes records whether the server of a lease owes a response now. It reports whether something has to be
// sent.
func (t *edgeProtocol) setOwes(now balance.Instant, id balance.LeaseID, owes bool) bool {
	l := t.leases.find(id)
	if l == nil || l.idle == !owes {
		return false
	}
	l.idle = !owes
	if t.stage != connected || len(t.out) > maxUnwritten {
		return false
	}
	t.appendHold(now, l)
	return true
}

// storeReport keeps a report for the next ask.
func (t *edgeProtocol) storeReport(now balance.Instant, name string, r *balance.Report) {
	t.pendingReports.put(now, name, r)
}

// flushReports sends the reports that no ask has taken along.
func (t *edgeProtocol) flushReports(now balance.Instant) {
	if t.stage == connected && len(t.pendingReports.list) > 0 {
		reports := t.pendingReports.take(now, maxPending)
		t.out = (&wire.Reports{Reports: reports}).Append(t.forms.assign(t.out, reports))
		t.urgent = true
	}
}

// onWelcomed sends the master, which may be another or may have been restarted, all that it needs: first the
// open leases, then those that have ended meanwhile.
func (t *edgeProtocol) onWelcomed(now balance.Instant) {
	t.lastNamed, t.numbers = "", t.numbers[:0]
	t.forms.reset()
	t.dropExpired(now)
	t.leaderChanged = true
	for _, p := range t.watched {
		p.missing = ""
	}
	for _, all := range []*leases{&t.leases, &t.expiring} {
		for i := range all.table {
			if all.table[i].id != 0 {
				t.appendHold(now, &all.table[i])
			}
		}
	}
	t.overrides.sentSeq = 0
	t.out = t.overrides.appendUnsent(t.takesOverrides, t.out)
	for i := range t.dones {
		t.out = t.dones[i].Append(t.out)
	}
	t.dones = t.dones[:0]
	for _, p := range t.watched {
		if t.firstWelcome == now { // another process: it may know nothing
			t.appendRecall(p.previous)
		}
		t.appendWatch(now, p)
	}
	t.flushReports(now)
}

// appendHold confirms a lease to the master. One that has expired is left out: without a time left it would be
// held for ever.
func (t *edgeProtocol) appendHold(now balance.Instant, l *openLease) {
	if l.expires != 0 && l.expires <= now {
		return
	}
	m := wire.Hold{Pool: l.pool.name, Lease: l.id, Server: l.server, Age: now.Sub(l.since), Tag: l.tag, Idle: l.idle, Size: l.size}
	if l.class != nil {
		m.Class = *l.class
	}
	if l.expires != 0 {
		m.Left = l.expires.Sub(now)
	}
	t.out = m.Append(t.out)
}

// dropExpired forgets expiring leases whose time is over.
func (t *edgeProtocol) dropExpired(now balance.Instant) {
	var left leases
	for i := range t.expiring.table {
		if l := &t.expiring.table[i]; l.id != 0 && l.expires > now {
			left.put(*l)
		}
	}
	t.expiring, t.sweepAt = left, max(1024, 2*left.n)
}

// lost ends the session. Asks that wait fail; open leases are kept.
func (t *edgeProtocol) lost(why error) {
	t.lossReason = fmt.Errorf("%w: %w", ErrNoMaster, why)
	for slot := range t.asks {
		if a := &t.asks[slot]; a.waiter != nil {
			w := t.releaseAsk(a, a.gen<<slotBits|uint64(slot))
			w.err = t.lossReason
			t.settled = append(t.settled, w)
		}
	}
	clear(t.canceled)
	for _, p := range t.pools {
		p.claim, p.refused = claim{}, 0
	}
	t.snapshotSince, t.leaderChanged, t.unresponsive = 0, true, false
	for _, p := range t.watched {
		p.keepPrevious(t.isCatchingUp(t.lastReceived, p, p.previous), t.overrides.overrides)
		p.state.complete, p.state.receiving = false, false
		p.state.local.Store(0)
	}
	t.close()
}

// goodbye sends the last frames.
func (t *edgeProtocol) goodbye(now balance.Instant) {
	if t.stage == connected {
		t.flushReports(now)
		t.sendGoodbye()
	}
}

// collect sets aside the answered asks; the connLoop notifies their callers after it has unlocked.
func (t *edgeProtocol) collect() {
	t.settled, t.toNotify = t.toNotify[:0], t.settled
	t.leaderChanged, t.leaderNews = false, t.leaderChanged
}

// awaitsReply reports whether an answer or a requested snapshot is due.
func (t *edgeProtocol) awaitsReply() bool { return t.waiting > 0 || t.snapshotSince != 0 }

func (t *edgeProtocol) asksInFlight() int { return t.waiting }

func (t *edgeProtocol) base() *session { return &t.session }

func (t *edgeProtocol) receive(now balance.Instant, buf []byte) (int, error) {
	if t.snapshotSince != 0 && now.Sub(t.snapshotSince) > snapshotTimeout {
		t.snapshotSince = 0
	}
	return t.session.receive(now, buf, t)
}

// onRoleFrame handles one frame of a connected session.
func (t *edgeProtocol) onRoleFrame(now balance.Instant, typ wire.Type, payload []byte) error {
	switch typ {
	case wire.TGranted:
		return t.onGranted(now, payload)
	case wire.TRefused:
		return t.onRefused(payload)
	case wire.TQueued:
		return t.onQueued(payload)
	case wire.TLead:
		return t.onLead(payload)
	case wire.TDrain, wire.TOverride:
		return t.onOverride(payload)
	case wire.TSnapshot:
		return t.onSnapshot(payload)
	case wire.TChange:
		return t.onChange(now, payload)
	}
	return unexpected(typ)
}

// onOverride handles an Override, which the other masters are sent too.
func (t *edgeProtocol) onOverride(payload []byte) error {
	name, err := t.overrides.onOverride(payload)
	if err != nil {
		return err
	}
	if p := t.pools[name]; p != nil && p.state.latest.Load() != nil {
		p.state.stale.Store(true)
	}
	t.leaderChanged = t.leaderChanged || t.overrides.news
	t.overrides.news = false
	return nil
}

func (t *edgeProtocol) onGranted(now balance.Instant, payload []byte) error {
	m := &t.granted
	if err := m.Decode(payload, now); err != nil {
		return err
	}
	a := t.findAsk(m.Seq)
	if a == nil {
		return t.endUnwanted(m)
	}
	n, err := t.resolveNames(a.pool, m)
	if err != nil {
		return err
	}
	p, w := a.pool, t.releaseAsk(a, m.Seq)
	w.grant = balance.Grant{Lease: m.Grant.Lease, Server: n.id, Address: n.address, At: n.at, Public: n.public, Expires: m.Grant.Expires, Waited: m.Queue, Fence: m.Grant.Fence, Tag: m.Grant.Tag}
	t.settled = append(t.settled, w)
	l := openLease{id: m.Grant.Lease, pool: p, server: n.id, since: now, expires: m.Grant.Expires, tag: m.Grant.Tag, asked: a.asked}
	if l.expires == 0 {
		t.leases.put(l)
		return nil
	}
	if t.expiring.put(l); t.expiring.n > t.sweepAt {
		t.dropExpired(now)
	}
	return nil
}

// onQueued tells an ask where it stands in the queue.
func (t *edgeProtocol) onQueued(payload []byte) error {
	t.queued++
	var m wire.Queued
	if err := m.Decode(payload); err != nil {
		return err
	}
	if a := t.findAsk(m.Seq); a != nil && a.waiter.stands != nil {
		a.waiter.stands(balance.Standing{Position: int(m.Position), Wait: m.Wait})
	}
	return nil
}

// endUnwanted ends the lease of a grant whose ask was withdrawn.
func (t *edgeProtocol) endUnwanted(m *wire.Granted) error {
	p := t.canceled[m.Seq]
	if p == nil && t.lastPool != nil { // its number may be used by later grants
		_, err := t.resolveNames(t.lastPool, m)
		return err
	}
	if p == nil {
		return nil
	}
	delete(t.canceled, m.Seq)
	t.out = (&wire.Done{Pool: t.abbreviatePool(p.name), Lease: m.Grant.Lease, Outcome: balance.Outcome{Result: balance.Canceled}}).Append(t.out)
	t.urgent = true
	_, err := t.resolveNames(p, m)
	return err
}

// resolveNames returns the names of a grant's server, and learns its number.
func (t *edgeProtocol) resolveNames(p *pool, m *wire.Granted) (*serverNames, error) {
	at := int(m.Number)
	switch {
	case m.Grant.Server == "" && at != 0 && at < len(t.numbers) && t.numbers[at].id != "":
		return &t.numbers[at], nil
	case m.Grant.Server == "":
		return nil, &wire.FrameError{What: fmt.Sprintf("granted: server number %d, which has no name yet", at)}
	}
	for len(t.numbers) <= at {
		t.numbers = append(t.numbers, serverNames{})
	}
	t.numbers[at] = p.namesOf(&m.Grant)
	return &t.numbers[at], nil
}

// namesOf returns copies of a grant's strings, the same ones each time.
func (p *pool) namesOf(g *balance.Grant) serverNames {
	n, ok := p.servers[string(g.Server)]
	if ok && n.address == g.Address && n.at == g.At && n.public == g.Public {
		return n
	}
	if len(p.servers) >= maxNames {
		clear(p.servers)
	}
	all := string(g.Server) + g.Address + g.At + g.Public // adjacent in memory, since they are read together
	server, address := len(g.Server), len(g.Server)+len(g.Address)
	at := address + len(g.At)
	n = serverNames{id: balance.ServerID(all[:server]), address: all[server:address], at: all[address:at], public: all[at:]}
	p.servers[string(n.id)] = n
	return n
}

// maxUnknownPools is how many pools that a master does not know are logged at once.
const maxUnknownPools = 64

func (t *edgeProtocol) onRefused(payload []byte) error {
	m := &t.refused
	if err := m.Decode(payload); err != nil {
		return err
	}
	if m.Seq == wire.WatchSeq {
		if len(t.unknownPools) < maxUnknownPools {
			t.unknownPools, t.leaderChanged = append(t.unknownPools, strings.Clone(m.Refusal.Detail)), true
		}
		if p := t.pools[m.Refusal.Pool]; p != nil {
			p.missing = strings.Clone(m.Refusal.Detail)
		}
		return nil
	}
	a := t.findAsk(m.Seq)
	if a == nil {
		delete(t.canceled, m.Seq)
		return nil
	}
	w := t.releaseAsk(a, m.Seq)
	w.err = &balance.Refusal{Reason: m.Refusal.Reason, RetryAfter: m.Refusal.RetryAfter, Needs: m.Refusal.Needs, Pool: strings.Clone(m.Refusal.Pool), Detail: strings.Clone(m.Refusal.Detail), Leader: strings.Clone(m.Refusal.Leader), LeaderID: strings.Clone(m.Refusal.LeaderID)}
	t.settled = append(t.settled, w)
	return nil
}
