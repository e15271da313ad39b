package client

import (
	"sync"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// mostDrains bounds the servers of which an edge remembers what an operator said.
const mostDrains = 1 << 14

// drains is what operators last said of servers, as the masters told it. One is shared by
// all connections of an edge or an agent, so that what one master was told reaches the
// others, and the next life of each. It may be used from any goroutine; its lock is the
// innermost.
type drains struct {
	mu   sync.Mutex
	last map[drainKey]noted
	seq  uint64 // of the newest of last
}

type drainKey struct {
	pool   string
	server balance.ServerID
}

// noted is a drain; seq counts the changes of drains up to it.
type noted struct {
	balance.Drain
	seq uint64
}

func newDrains() *drains { return &drains{last: make(map[drainKey]noted)} }

// note remembers a drain unless a later one is known, and returns its seq; zero: it was not later.
func (d *drains) note(m *wire.Drain) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := drainKey{m.Pool, m.Server}
	old, known := d.last[key]
	if known && !m.Drain.After(old.Drain) {
		return 0
	}
	if !known && len(d.last) == mostDrains {
		d.forgetOldest()
	}
	m.Own()
	d.seq++
	d.last[drainKey{m.Pool, m.Server}] = noted{m.Drain, d.seq}
	return d.seq
}

// forgetOldest makes room: a server that takes work is forgotten before one that is drained.
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

// since appends what was noted after seq, and returns the newest seq.
func (d *drains) since(seq uint64, out []byte) ([]byte, uint64) {
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

// mark sets the servers of a pool to draining that are.
func (d *drains) mark(pool string, servers []balance.SnapshotServer) {
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

// drainTalk is the part of a conversation that is about drains. The line's lock guards it.
type drainTalk struct {
	*drains
	told  uint64 // the seq up to which the master knows all
	heard bool   // the master has told something new, for the other masters to know
}

// hear takes a Drain from the master, and returns the pool that it is of.
func (t *drainTalk) hear(payload []byte) (pool string, err error) {
	var m wire.Drain
	if err := m.Decode(payload); err != nil {
		return "", err
	}
	if seq := t.note(&m); seq != 0 {
		t.heard = true
		if seq == t.told+1 {
			t.told = seq // it need not be told what it said
		}
	}
	return m.Pool, nil
}

// tell appends what the master does not know yet.
func (t *drainTalk) tell(out []byte) []byte {
	out, t.told = t.since(t.told, out)
	return out
}

// tellDrains sends what another master has told of drains, if there is a connection.
func (l *line) tellDrains(t *drainTalk, s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.stage != up {
		return // the welcome tells
	}
	before := len(s.out)
	if s.out = t.tell(s.out); len(s.out) > before {
		l.kick()
	}
}
