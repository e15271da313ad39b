package client

import (
	"sync"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// maxOverrides bounds the overrides that an edge remembers.
const maxOverrides = 1 << 14

// overrides holds what operators last said of servers, as the masters sent it. All connections of an edge or
// an agent share one, so that an override sent to one master reaches the others, and later processes of each. It
// is safe for concurrent use; its lock is the innermost.
type overrides struct {
	mu   sync.Mutex
	last map[overrideKey]overrideEntry
	seq  uint64 // of the newest entry of last
}

type overrideKey struct {
	pool    string
	server  balance.ServerID
	setting balance.Setting
}

// overrideEntry is an override; seq is overrides.seq when it was stored.
type overrideEntry struct {
	balance.Override
	seq uint64
}

func newOverrides() *overrides { return &overrides{last: make(map[overrideKey]overrideEntry)} }

// store keeps an override unless a later one is known. It returns its seq; zero: it was not later.
func (d *overrides) store(m *wire.Override) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := overrideKey{m.Pool, m.Server, m.Override.Setting}
	old, known := d.last[key]
	if known && !m.Override.After(old.Override) {
		return 0
	}
	if !known && len(d.last) == maxOverrides {
		d.forgetOldest()
	}
	m.Own()
	d.seq++
	d.last[overrideKey{m.Pool, m.Server, key.setting}] = overrideEntry{m.Override, d.seq}
	return d.seq
}

// forgetOldest makes room: what is undone is forgotten before what is in force.
func (d *overrides) forgetOldest() {
	var oldest overrideKey
	first := true
	for key, n := range d.last {
		o := d.last[oldest]
		if first || o.On && !n.On || o.On == n.On && n.At < o.At {
			oldest, first = key, false
		}
	}
	delete(d.last, oldest)
}

// appendSince appends what was stored after seq, and returns the newest seq. all: not only drains.
func (d *overrides) appendSince(seq uint64, all bool, out []byte) ([]byte, uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if seq == d.seq {
		return out, seq
	}
	for key, n := range d.last {
		if n.seq > seq && (all || key.setting == balance.Drained) {
			out = (&wire.Override{Pool: key.pool, Server: key.server, Override: n.Override}).Append(out)
		}
	}
	return out, d.seq
}

// markDraining sets the state of the servers of a pool that get no new requests.
func (d *overrides) markDraining(pool string, servers []balance.SnapshotServer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.last) == 0 {
		return
	}
	for i := range servers {
		s := &servers[i]
		if s.State == balance.Up && (d.last[overrideKey{pool, s.ID, balance.Drained}].On || d.last[overrideKey{pool, s.ID, balance.Maintained}].On) {
			s.State = balance.Draining
		}
	}
}

// overrideSync is what one connection has sent and received of overrides. The connLoop's lock guards it.
type overrideSync struct {
	*overrides
	sentSeq uint64 // the master knows all overrides up to this seq
	news    bool   // the master has sent an override that other masters may not know
}

// onOverride handles an Override and returns its pool.
func (t *overrideSync) onOverride(payload []byte) (pool string, err error) {
	var m wire.Override
	if err := m.Decode(payload); err != nil {
		return "", err
	}
	if seq := t.store(&m); seq != 0 {
		t.news = true
		if seq == t.sentSeq+1 {
			t.sentSeq = seq // the master need not be sent its own override
		}
	}
	return m.Pool, nil
}

// appendUnsent appends the overrides that the master does not know yet. all: not only drains.
func (t *overrideSync) appendUnsent(all bool, out []byte) []byte {
	out, t.sentSeq = t.appendSince(t.sentSeq, all, out)
	return out
}

// sendOverrides sends overrides that another master has sent, if there is a connection.
func (l *connLoop) sendOverrides(t *overrideSync, s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.stage != connected {
		return // appendSince follows the Welcome
	}
	before := len(s.out)
	if s.out = t.appendUnsent(s.takesOverrides, s.out); len(s.out) > before {
		l.requestWrite()
	}
}
