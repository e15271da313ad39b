package balance

import "fmt"

// Drain is what an operator last said of a server: to drain it, or to give it work again.
// It outlives the master that was told: edges and agents keep it and tell the next one.
type Drain struct {
	On     bool   `json:"on"`
	At     int64  `json:"at"`               // when it was said, in microseconds since 1970 by the clock of the master that was told
	By     string `json:"by,omitempty"`     // who said it; empty: not told
	Reason string `json:"reason,omitempty"` // why; empty: not told
	Proof  []byte `json:"proof,omitempty"`  // that a master was told so, for other masters; nil: none, as where there are no certificates
}

// After reports whether d was said later than other, and so replaces it. Of two that were
// said in the same microsecond the one that drains is the later.
func (d Drain) After(other Drain) bool {
	return d.At > other.At || d.At == other.At && d.On && !other.On
}

// drained is a drain that is in force.
type drained struct {
	since  Instant
	by     string // empty: not told
	reason string // empty: not told
}

// Drain stops or, with d.On false, resumes giving work to a server. since is d.At as an Instant.
func (p *Pool) Drain(now Instant, id ServerID, d Drain, since Instant) error {
	s := p.byID[id]
	if s == nil {
		return fmt.Errorf("pool %s has no server %q", p.cfg.Name, id)
	}
	p.version++
	p.account(now, s)
	if s.draining = d.On; d.On {
		s.since.drained = &drained{since: since, by: d.By, reason: d.Reason}
	} else {
		s.since.drained = nil
	}
	p.rank(now, s)
	return nil
}

// Has reports whether the pool has a server, also one that has said goodbye and has leases still.
func (p *Pool) Has(id ServerID) bool { return p.byID[id] != nil }

// outage says that the server is drained, by whom and why.
func (d *drained) outage(now Instant) Outage {
	o := Outage{Kind: OutDraining, Since: max(0, now.Sub(d.since)), By: "an operator", Next: "until it is undrained"}
	if d.by != "" {
		o.By = d.by
	}
	if d.reason != "" {
		o.What = fmt.Sprintf("%q", d.reason)
	}
	return o
}
