package master

import (
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// Bounds bounds how many peers a master serves and what they can make it keep. Zero means the default.
type Bounds struct {
	New        int   // connections that have not sent a hello; zero: 4096
	Edges      int   // connected edges; zero: 4096
	Agents     int   // connected agents; zero: 65,536
	Watches    int   // pools that one edge watches; zero: 1024
	EdgeBytes  int64 // of all edges' partial frames; zero: 64 MiB
	AgentBytes int64 // of all agents' partial frames; zero: 64 MiB
}

const (
	defaultNew     = 4096
	defaultEdges   = 4096
	defaultAgents  = 1 << 16
	defaultWatches = 1024
	defaultBytes   = 64 << 20
	maxPeers       = 1 << 20
	maxBytes       = 1 << 40

	agentFrame = 256 << 10 // bytes of an agent's frame: it represents one server
)

func (b *Bounds) validate(bad func(field, problem string)) {
	for _, n := range []struct {
		field       string
		value       int64
		least, most int64
	}{
		{"limits.new", int64(b.New), 1, maxPeers}, {"limits.edges", int64(b.Edges), 1, maxPeers}, {"limits.agents", int64(b.Agents), 1, maxPeers},
		{"limits.watches", int64(b.Watches), 1, maxPeers}, {"limits.edge_bytes", b.EdgeBytes, wire.MaxFrame, maxBytes}, {"limits.agent_bytes", b.AgentBytes, wire.MaxFrame, maxBytes},
	} {
		if n.value != 0 && (n.value < n.least || n.value > n.most) {
			bad(n.field, fmt.Sprintf("%d, want %d to %d", n.value, n.least, n.most))
		}
	}
}

func (b Bounds) withDefaults() Bounds {
	or := func(n *int, standard int) {
		if *n == 0 {
			*n = standard
		}
	}
	or(&b.New, defaultNew)
	or(&b.Edges, defaultEdges)
	or(&b.Agents, defaultAgents)
	or(&b.Watches, defaultWatches)
	if b.EdgeBytes == 0 {
		b.EdgeBytes = defaultBytes
	}
	if b.AgentBytes == 0 {
		b.AgentBytes = defaultBytes
	}
	return b
}

// bound is one of Bounds, as a metric's label.
type bound uint8

const (
	byNumber bound = iota
	byBytes
	byWatches
	allBounds
)

var boundNames = [allBounds]string{byNumber: "number", byBytes: "bytes", byWatches: "watches"}

// overLimit counts a peer that has exceeded a bound, and returns what it is sent.
func (p *peers) overLimit(r role, b bound, format string, args ...any) *wire.Fail {
	p.bounded[r][b].Add(1)
	return &wire.Fail{Code: wire.Busy, Detail: fmt.Sprintf(format, args...)}
}

// account counts the bytes of partial frames that are kept for all peers of a role.
type account struct {
	role  role
	bytes atomic.Int64
	most  int64
	frame int // bytes of one frame, at most
}

func (p *peers) openAccounts() {
	p.accounts[roleEdge] = account{role: roleEdge, most: p.bounds.EdgeBytes, frame: wire.MaxFrame}
	p.accounts[roleAgent] = account{role: roleAgent, most: p.bounds.AgentBytes, frame: agentFrame}
}

// accountPartial records that the connection keeps n bytes of a partial frame. What fits into an idle
// connection's buffer does not count: the number of peers bounds that. Only the reader calls it.
func (c *conn) accountPartial(p *peers, n int) error {
	if n <= smallBuffer {
		n = 0
	}
	if n == c.partialBytes || c.account == nil {
		return nil // nearly always
	}
	a := c.account
	total := a.bytes.Add(int64(n - c.partialBytes))
	c.partialBytes = n
	switch {
	case n == 0:
		return nil
	case n > a.frame:
		return p.overLimit(a.role, byBytes, "a frame of more than %d bytes, the most of an %s's", a.frame, roleNames[a.role])
	case total > a.most:
		return p.overLimit(a.role, byBytes, "%d bytes of %ss' frames have not come whole, %d are the most that are kept (limits.%s_bytes)", total, roleNames[a.role], a.most, roleNames[a.role])
	}
	return nil
}

// newcomer is a connection that has not sent a hello.
type newcomer struct {
	conn *conn
	at   balance.Instant
}

// minNewTime is how long a connection may be new while others need its place.
const minNewTime = time.Second

// addNew registers an accepted connection. If there are too many new ones, the oldest is closed; it returns
// false if none is old enough.
func (p *peers) addNew(now balance.Instant, c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if int(p.counts[roleNew].Load()) >= p.bounds.New && !p.evictNewLocked(now) {
		p.bounded[roleNew][byNumber].Add(1)
		return false
	}
	p.counts[roleNew].Add(1)
	p.newcomers = append(p.newcomers, newcomer{c, now})
	return true
}

// evictNewLocked closes the oldest new connection, if it is old enough.
func (p *peers) evictNewLocked(now balance.Instant) bool {
	for len(p.newcomers) > 0 {
		first := p.newcomers[0]
		if first.conn.greeted.Load() {
			p.newcomers = p.newcomers[1:]
			continue
		}
		if now.Sub(first.at) < minNewTime {
			return false
		}
		p.newcomers = p.newcomers[1:]
		first.conn.drop(p.overLimit(roleNew, byNumber, "no hello for %v, and %d other connections wait to say theirs, the most that may (limits.new)", now.Sub(first.at).Round(time.Millisecond), p.bounds.New))
		return true
	}
	return false
}

// removeNew records that a connection has sent a hello or has ended.
func (p *peers) removeNew(c *conn) {
	c.greeted.Store(true)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.counts[roleNew].Add(-1) == 0 {
		p.newcomers = nil
		return
	}
	for len(p.newcomers) > 0 && p.newcomers[0].conn.greeted.Load() {
		p.newcomers = p.newcomers[1:]
	}
}

// rejectNew closes a connection for which there is no place. It does not block.
func (m *Master) rejectNew(nc net.Conn) {
	if m.trust == nil { // otherwise the peer expects TLS
		_ = nc.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		_, _ = nc.Write((&wire.Fail{Code: wire.Busy, Detail: fmt.Sprintf("%d connections have not sent their hello yet, the maximum (limits.new)", m.peers.bounds.New)}).Append(nil))
	}
	_ = nc.Close()
	m.turnAwayLog.logDue(m, clock.Now())
}

// turnAwayLog logs at most once a minute that connections are turned away.
type turnAwayLog struct{ lastLogged atomic.Int64 }

func (t *turnAwayLog) logDue(m *Master, now balance.Instant) {
	last := t.lastLogged.Load()
	if (last == 0 || now.Sub(balance.Instant(last)) > time.Minute) && t.lastLogged.CompareAndSwap(last, int64(now)) {
		m.log.Warn("connections are refused: too many have not sent their hello", "most", m.peers.bounds.New)
	}
}
