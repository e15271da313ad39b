package master

import (
	"fmt"
	"slices"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// rivalry is between processes that connect with one edge's id. A new connection takes the
// place of the old one, whose loss may not have been noticed yet. Two edges that both live
// would do that to each other for ever, and lose their leases each time.
type rivalry struct {
	exchanges int             // connections of one process that took the place of another's
	last      balance.Instant // when that happened last, or was refused
	logged    balance.Instant // when a refusal was logged last; zero: none was
}

const (
	mostExchanges = 2           // then the connection that stands is left alone
	rivalryTime   = time.Minute // for which exchanges and refusals are remembered
)

// admission is what becomes of an edge's new connection.
type admission struct {
	before  *edge      // whose place it takes; nil: the place was free
	refused *wire.Fail // nil: it is taken
	rival   bool       // the id is used by two processes
	log     bool       // and that is to be logged
}

// addEdge enters e, or refuses it.
func (p *peers) addEdge(now balance.Instant, e *edge, epoch uint64) admission {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.edges[e.id]
	switch {
	case before == nil && len(p.edges) >= p.most.Edges:
		return admission{refused: p.over(roleEdge, byNumber, "%d edges are connected, the most that may (limits.edges)", p.most.Edges)}
	case before == nil:
	case before.isProcessOf(e):
		if slices.Contains(e.connected, epoch) {
			return admission{before: before, refused: &wire.Fail{Code: wire.Connected, Detail: fmt.Sprintf("edge %s is connected to this master already, from %s: two of its addresses for masters are one master's", e.id, before.remote)}}
		}
	default:
		if a := p.challenge(now, e, before); a.refused != nil {
			return a
		}
	}
	p.edges[e.id] = e
	return admission{before: before, rival: before != nil && !before.isProcessOf(e)}
}

// isProcessOf reports whether both connections are of one process. Of an edge that does
// not tell its instance that is never known.
func (e *edge) isProcessOf(other *edge) bool {
	return e.instance != 0 && e.instance == other.instance
}

// challenge decides whether another process takes an edge's place. mu is held.
func (p *peers) challenge(now balance.Instant, e, holder *edge) admission {
	r := p.rivals[e.id]
	if r == nil || now.Sub(r.last) >= rivalryTime {
		r = new(rivalry)
		p.forgetRivals(now)
		p.rivals[e.id] = r
	}
	r.last = now
	if r.exchanges < mostExchanges {
		r.exchanges++
		return admission{}
	}
	a := admission{before: holder, rival: true, refused: &wire.Fail{Code: wire.Taken, Detail: twoEdges(e, holder)}}
	if a.log = r.logged == 0 || now.Sub(r.logged) >= rivalryTime; a.log {
		r.logged = now
	}
	return a
}

// forgetRivals drops what is over. mu is held.
func (p *peers) forgetRivals(now balance.Instant) {
	for id, r := range p.rivals {
		if now.Sub(r.last) >= rivalryTime {
			delete(p.rivals, id)
		}
	}
}

// twoEdges says in words for people that an id is used twice.
func twoEdges(newer, older *edge) string {
	return fmt.Sprintf("two edges use the id %s: one connects from %s, one is connected from %s; give each an id of its own (edge.id, or --id), or stop one of them", newer.id, newer.remote, older.remote)
}
