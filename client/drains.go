package client

import (
	"sync"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// maxDrains bounds the servers whose drains an edge remembers.
const maxDrains = 1 << 14

// drains holds what operators last ordered for servers, as the masters sent it. All connections of an edge or
// an agent share one, so that a drain sent to one master reaches the others, and later processes of each. It
// is safe for concurrent use; its lock is the innermost.
type drains struct {
	mu   sync.Mutex
	last map[drainKey]drainEntry
	seq  uint64 // of the newest entry of last
}

type drainKey struct {
	pool   string
	server balance.ServerID
}

// drainEntry is a drain; seq is drains.seq when it was stored.
type drainEntry struct {
	balance.Drain
	seq uint64
}

func newDrains() *drains { return &drains{last: make(map[drainKey]drainEntry)} }

// store keeps a drain unless a later one is known. It returns its seq; zero: it was not later.
func (d *drains) store(m *wire.Drain) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := drainKey{m.Pool, m.Server}
	old, known := d.last[key]
	if known && !m.Drain.After(old.Drain) {
		return 0
	}
	if !known && len(d.last) == maxDrains {
		d.forgetOldest()
	}
	m.Own()
	d.seq++
	d.last[drainKey{m.Pool, m.Server}] = drainEntry{m.Drain, d.seq}
	return d.seq
}

// forgetOldest makes room: servers that take work are forgotten before drained ones.
func (d *drains) forgetOldest() {
	var oldest drainKey
	first := true
	for key, n := range d.last {
		o := d.last[oldest]
		if first || o.On && !n.On || o.On == n.On && n.At < o.At {
			oldest, first = key, false
		}
	}
	delete(d.last, oldest)
}

// appendSince appends what was stored after seq, and returns the newest seq.
func (d *drains) appendSince(seq uint64, out []byte) ([]byte, uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if seq == d.seq {
		return out, seq
	}
	for key, n := range d.last {
		if n.seq > seq {
			out = (&wire.Drain{Pool: key.pool, Server: key.server, Drain: n.Drain}).Append(out)
		}
	}
	return out, d.seq
}

// markDraining sets the state of the drained servers of a pool.
func (d *drains) markDraining(pool string, servers []balance.SnapshotServer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.last) == 0 {
		return
	}
	for i := range servers {
		if s := &servers[i]; s.State == balance.Up && d.last[drainKey{pool, s.ID}].On {
			s.State = balance.Draining
		}
	}
}

// drainSync is what one connection has sent and received of drains. The connLoop's lock guards it.
type drainSync struct {
	*drains
	sentSeq uint64 // the master knows all drains up to this seq
	news    bool   // the master has sent a drain that other masters may not know
}

// onDrain handles a Drain and returns its pool.
func (t *drainSync) onDrain(payload []byte) (pool string, err error) {
	var m wire.Drain
	if err := m.Decode(payload); err != nil {
		return "", err
	}
	if seq := t.store(&m); seq != 0 {
		t.news = true
		if seq == t.sentSeq+1 {
			t.sentSeq = seq // the master need not be sent its own drain
		}
	}
	return m.Pool, nil
}

// appendUnsent appends the drains that the master does not know yet.
func (t *drainSync) appendUnsent(out []byte) []byte {
	out, t.sentSeq = t.appendSince(t.sentSeq, out)
	return out
}

// sendDrains sends drains that another master has sent, if there is a connection.
func (l *connLoop) sendDrains(t *drainSync, s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.stage != connected {
		return // appendSince follows the Welcome
	}
	before := len(s.out)
	if s.out = t.appendUnsent(s.out); len(s.out) > before {
		l.requestWrite()
	}
}
