package balance

import (
	"strings"
	"time"
)

// Tap collects what becomes of a pool's requests, for people who look: decisions when they are made, outcomes when leases end, and
// refusals. It has room for so many between two calls of TakeTapped. Of more it takes those of one lease in 2, 4, 8 …: a lease's
// decision and its outcome, or neither. The lock that guards the pool guards its taps. Nothing is chosen by them.
type Tap struct {
	filter   TapFilter
	most     int // requests that are kept until they are taken
	kept     []tapped
	matched  int    // since the last TakeTapped
	refusals uint64 // ever that the filter has let through
	sparse   uint8  // one lease in 1<<sparse is kept
}

// TapFilter says which requests a tap collects. The zero value lets all through.
type TapFilter struct {
	Server     ServerID      // only of this server; refusals have none. Empty: of any
	Edge       EdgeID        // only of this edge; empty: of any
	SlowerThan time.Duration // only outcomes and refusals that took longer; zero: all, and decisions
	Errors     bool          // only failures: outcomes but OK, ClientError and Canceled, and refusals for want of a server
}

// TapKind is what a Tapped tells of.
type TapKind uint8

const (
	TapDecision TapKind = iota
	TapOutcome
	TapRefusal
)

// Tapped is one thing that a tap has collected.
type Tapped struct {
	Kind     TapKind
	At       Instant
	Lease    LeaseID // zero: refused
	Server   ServerID
	Edge     EdgeID
	Class    string
	Decision Decision      // of a decision
	Outcome  Outcome       // of an outcome
	Took     time.Duration // of an outcome: as its edge says, else since the grant; of a refusal: how long it waited
	Refusal  *Refusal      // of a refusal
}

type tapped struct {
	Tapped
	decision *record // nil: it is none
}

// longestTapText is how many bytes of an outcome's error are kept.
const longestTapText = 300

// NewTap returns a tap that keeps so many requests, at least one, between two calls of TakeTapped.
func NewTap(filter TapFilter, most int) *Tap { return &Tap{filter: filter, most: max(1, most)} }

// Attach has a tap collect what becomes of the pool's requests, until Detach.
func (p *Pool) Attach(t *Tap) { p.recent.taps = append(p.recent.taps, t) }

// Detach ends what Attach has begun.
func (p *Pool) Detach(t *Tap) {
	var rest []*Tap
	for _, other := range p.recent.taps {
		if other != t {
			rest = append(rest, other)
		}
	}
	p.recent.taps = rest
}

// TakeTapped returns what a tap of the pool has collected since it was called last, oldest first, how many requests its filter has let
// through, and of how many leases one was kept.
func (p *Pool) TakeTapped(now Instant, t *Tap) (list []Tapped, matched, oneIn int) {
	for i := range t.kept {
		k := &t.kept[i]
		if k.decision != nil {
			k.Decision = p.told(now, k.decision)
		}
		list = append(list, k.Tapped)
	}
	clear(t.kept)
	t.kept = t.kept[:0]
	matched, oneIn = t.matched, 1<<t.sparse
	t.matched = 0
	for t.sparse > 0 && matched>>(t.sparse-1) <= t.most*3/4 { // well below, so that it does not go up and down
		t.sparse--
	}
	for matched>>t.sparse > t.most {
		t.sparse++
	}
	return list, matched, oneIn
}

// hasRoom counts what the filter has let through, and reports whether it is kept.
func (t *Tap) hasRoom(lease LeaseID) bool {
	t.matched++
	mixed := uint64(lease) * 0x9e3779b97f4a7c15 // ids follow one another
	return mixed>>(64-t.sparse) == 0 && len(t.kept) < t.most
}

// tapDecision shows a lease that was just opened to the taps.
func (p *Pool) tapDecision(now Instant, l *lease, req *Request, s *Server) {
	for _, t := range p.recent.taps {
		f := &t.filter
		if f.Errors || f.SlowerThan > 0 || f.Server != "" && f.Server != s.spec.ID || f.Edge != "" && f.Edge != req.Edge || !t.hasRoom(l.id) {
			continue
		}
		r := new(record)
		p.describe(r, now, l.id, req, s)
		t.kept = append(t.kept, tapped{Tapped{Kind: TapDecision, At: now, Lease: l.id, Server: s.spec.ID, Edge: p.edges[l.edge].id, Class: p.classes.name(l.class)}, r})
	}
}

// tapOutcome shows the end of a lease to the taps.
func (p *Pool) tapOutcome(now Instant, l *lease, s *Server, o *Outcome) {
	if p.ledger.resigning {
		return // the request goes on, in another master's ledger
	}
	took := o.Duration
	if took == 0 {
		took = now.Sub(l.started)
	}
	for _, t := range p.recent.taps {
		f := &t.filter
		if f.Errors && !o.isFailure() || took <= f.SlowerThan && f.SlowerThan > 0 || f.Server != "" && f.Server != s.spec.ID || f.Edge != "" && f.Edge != p.edges[l.edge].id || !t.hasRoom(l.id) {
			continue
		}
		k := Tapped{Kind: TapOutcome, At: now, Lease: l.id, Server: s.spec.ID, Edge: p.edges[l.edge].id, Class: p.classes.name(l.class), Outcome: *o, Took: took}
		k.Outcome.Error = strings.ToValidUTF8(strings.Clone(o.Error[:min(len(o.Error), longestTapText)]), "")
		t.kept = append(t.kept, tapped{k, nil})
	}
}

// isFailure reports whether the request did not get what it was worth, and neither it nor its client is to blame.
func (o *Outcome) isFailure() bool {
	switch o.Result {
	case OK, ClientError, Canceled:
		return false
	}
	return true
}

// Refused shows a request that got no server to the taps. edge must not lie in a buffer that is used again.
func (p *Pool) Refused(now Instant, edge EdgeID, refused *Refusal, waited time.Duration) {
	for _, t := range p.recent.taps {
		f := &t.filter
		if f.Server != "" || f.Edge != "" && f.Edge != edge || waited <= f.SlowerThan && f.SlowerThan > 0 || f.Errors && !refused.wantsServer() {
			continue
		}
		t.refusals++
		if t.hasRoom(0) && t.refusals%(1<<t.sparse) == 0 {
			t.kept = append(t.kept, tapped{Tapped{Kind: TapRefusal, At: now, Edge: edge, Refusal: refused, Took: waited}, nil})
		}
	}
}

// wantsServer reports whether the request was refused because no server was to be had, here or in another pool.
func (r *Refusal) wantsServer() bool {
	switch r.Reason {
	case Malformed, NotLeader, Overflowed:
		return false
	}
	return true
}
