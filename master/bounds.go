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

// Bounds are how many peers a master serves, and what they may make it keep. Zero stands for
// the default.
type Bounds struct {
	New        int   // connections that have not said hello; zero: 4096
	Edges      int   // connected edges; zero: 4096
	Agents     int   // connected agents; zero: 65,536
	Watches    int   // pools that one edge watches; zero: 1024
	EdgeBytes  int64 // of frames of edges that have not come whole, all together; zero: 64 MiB
	AgentBytes int64 // of unfinished frames of agents; zero: 64 MiB
}

const (
	defaultNew     = 4096
	defaultEdges   = 4096
	defaultAgents  = 1 << 16
	defaultWatches = 1024
	defaultBytes   = 64 << 20
	mostPeers      = 1 << 20
	mostBytes      = 1 << 40

	agentFrame = 256 << 10 // bytes of an agent's frame: it has one server to tell of
)

func (b *Bounds) validate(bad func(field, problem string)) {
	for _, n := range []struct {
		field       string
		value       int64
		least, most int64
	}{
		{"limits.new", int64(b.New), 1, mostPeers}, {"limits.edges", int64(b.Edges), 1, mostPeers}, {"limits.agents", int64(b.Agents), 1, mostPeers},
		{"limits.watches", int64(b.Watches), 1, mostPeers}, {"limits.edge_bytes", b.EdgeBytes, wire.MaxFrame, mostBytes}, {"limits.agent_bytes", b.AgentBytes, wire.MaxFrame, mostBytes},
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

// bound is one of Bounds, as metrics have it.
type bound uint8

const (
	byNumber bound = iota
	byBytes
	byWatches
	allBounds
)

var boundNames = [allBounds]string{byNumber: "number", byBytes: "bytes", byWatches: "watches"}

// over counts a peer that has met a bound, and returns what it is told.
func (p *peers) over(r role, b bound, format string, args ...any) *wire.Fail {
	p.bounded[r][b].Add(1)
	return &wire.Fail{Code: wire.Busy, Detail: fmt.Sprintf(format, args...)}
}

// account is what the peers of a role keep here of frames that have not come whole.
type account struct {
	role  role
	bytes atomic.Int64
	most  int64
	frame int // bytes of one frame, at most
}

func (p *peers) openAccounts() {
	p.accounts[roleEdge] = account{role: roleEdge, most: p.most.EdgeBytes, frame: wire.MaxFrame}
	p.accounts[roleAgent] = account{role: roleAgent, most: p.most.AgentBytes, frame: agentFrame}
}

// keeps enters how many bytes of a frame the connection keeps that has not come whole. What
// fits into the buffer of an idle connection does not count: the number of peers bounds that.
// Its reader calls it.
func (c *conn) keeps(p *peers, n int) error {
	if n <= smallBuffer {
		n = 0
	}
	if n == c.kept || c.account == nil {
		return nil // nearly always
	}
	a := c.account
	total := a.bytes.Add(int64(n - c.kept))
	c.kept = n
	switch {
	case n == 0:
		return nil
	case n > a.frame:
		return p.over(a.role, byBytes, "a frame of more than %d bytes, the most of an %s's", a.frame, roleNames[a.role])
	case total > a.most:
		return p.over(a.role, byBytes, "%d bytes of %ss' frames have not come whole, %d are the most that are kept (limits.%s_bytes)", total, roleNames[a.role], a.most, roleNames[a.role])
	}
	return nil
}

// newcomer is a connection that has not said hello.
type newcomer struct {
	conn *conn
	at   balance.Instant
}

// patienceWithNew is how long a connection may be new while others want its place.
const patienceWithNew = time.Second

// enterNew takes in a connection that was just accepted. If there are too many, the one that
// has been silent for longest has to go; false: none of them has been here for long.
func (p *peers) enterNew(now balance.Instant, c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if int(p.counts[roleNew].Load()) >= p.most.New && !p.evict(now) {
		p.bounded[roleNew][byNumber].Add(1)
		return false
	}
	p.counts[roleNew].Add(1)
	p.newcomers = append(p.newcomers, newcomer{c, now})
	return true
}

// evict ends the oldest connection that has not said hello, if it is old enough. mu is held.
func (p *peers) evict(now balance.Instant) bool {
	for len(p.newcomers) > 0 {
		first := p.newcomers[0]
		if first.conn.known.Load() {
			p.newcomers = p.newcomers[1:]
			continue
		}
		if now.Sub(first.at) < patienceWithNew {
			return false
		}
		p.newcomers = p.newcomers[1:]
		first.conn.drop(p.over(roleNew, byNumber, "no hello for %v, and %d other connections wait to say theirs, the most that may (limits.new)", now.Sub(first.at).Round(time.Millisecond), p.most.New))
		return true
	}
	return false
}

// leaveNew says that a connection has said hello, or has ended.
func (p *peers) leaveNew(c *conn) {
	c.known.Store(true)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.counts[roleNew].Add(-1) == 0 {
		p.newcomers = nil
		return
	}
	for len(p.newcomers) > 0 && p.newcomers[0].conn.known.Load() {
		p.newcomers = p.newcomers[1:]
	}
}

// turnAway closes a connection for which there is no place. It does not wait for anything.
func (m *Master) turnAway(nc net.Conn) {
	if m.trust == nil { // else the peer expects TLS
		_ = nc.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		_, _ = nc.Write((&wire.Fail{Code: wire.Busy, Detail: fmt.Sprintf("%d connections have not said hello yet, the most that may (limits.new)", m.peers.most.New)}).Append(nil))
	}
	_ = nc.Close()
	m.turned.tell(m, clock.Now())
}

// turned logs now and then that connections are turned away.
type turned struct{ last atomic.Int64 }

func (t *turned) tell(m *Master, now balance.Instant) {
	last := t.last.Load()
	if (last == 0 || now.Sub(balance.Instant(last)) > time.Minute) && t.last.CompareAndSwap(last, int64(now)) {
		m.log.Warn("connections are turned away: too many have not said hello", "most", m.peers.most.New)
	}
}
