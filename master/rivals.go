package master

import (
	"fmt"
	"slices"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// rivalry counts how often processes with the same edge id replaced each other. A new connection replaces the
// old one, whose loss may not have been noticed yet. Two live edges with one id would replace each other for
// ever and lose their leases each time.
type rivalry struct {
	exchanges int             // how often a connection replaced one of another process
	last      balance.Instant // when that happened last, or was refused
	logged    balance.Instant // when a refusal was logged last; zero: never
}

const (
	maxExchanges  = 2           // then the existing connection stays
	rivalryMemory = time.Minute // how long replacements and refusals are remembered
)

// admission is the decision about an edge's new connection.
type admission struct {
	before  *edge      // the connection that it replaces; nil: none
	refused *wire.Fail // nil: it is accepted
	rival   bool       // two processes use the id
	log     bool       // log the refusal
}

// addEdge registers e, or refuses it.
func (p *peers) addEdge(now balance.Instant, e *edge, epoch uint64) admission {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.edges[e.id]
	switch {
	case before == nil && len(p.edges) >= p.bounds.Edges:
		return admission{refused: p.overLimit(roleEdge, byNumber, "%d edges are connected, the most that may (limits.edges)", p.bounds.Edges)}
	case before == nil:
	case before.isProcessOf(e):
		if slices.Contains(e.connected, epoch) {
			return admission{before: before, refused: &wire.Fail{Code: wire.Connected, Detail: fmt.Sprintf("edge %s is connected to this master already, from %s: two of its addresses for masters are one master's", e.id, before.remote)}}
		}
	default:
		if a := p.decideRivalLocked(now, e, before); a.refused != nil {
			return a
		}
	}
	p.edges[e.id] = e
	return admission{before: before, rival: before != nil && !before.isProcessOf(e)}
}

// isProcessOf reports whether both connections are of one process. It is false for an edge that sends no
// instance.
func (e *edge) isProcessOf(other *edge) bool {
	return e.instance != 0 && e.instance == other.instance
}

// decideRivalLocked decides whether another process replaces an edge.
func (p *peers) decideRivalLocked(now balance.Instant, e, holder *edge) admission {
	r := p.rivals[e.id]
	if r == nil || now.Sub(r.last) >= rivalryMemory {
		r = new(rivalry)
		p.forgetRivalsLocked(now)
		p.rivals[e.id] = r
	}
	r.last = now
	if r.exchanges < maxExchanges {
		r.exchanges++
		return admission{}
	}
	a := admission{before: holder, rival: true, refused: &wire.Fail{Code: wire.Taken, Detail: twoEdges(e, holder)}}
	if a.log = r.logged == 0 || now.Sub(r.logged) >= rivalryMemory; a.log {
		r.logged = now
	}
	return a
}

// forgetRivalsLocked forgets old rivalries.
func (p *peers) forgetRivalsLocked(now balance.Instant) {
	for id, r := range p.rivals {
		if now.Sub(r.last) >= rivalryMemory {
			delete(p.rivals, id)
		}
	}
}

// twoEdges explains to people that an id is used twice.
func twoEdges(newer, older *edge) string {
	return fmt.Sprintf("two edges use the id %s: one connects from %s, one is connected from %s; give each an id of its own (edge.id, or --id), or stop one of them", newer.id, newer.remote, older.remote)
}
