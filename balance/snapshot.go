package balance

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"
)

// State says whether a server may be given work.
type State uint8

const (
	Up       State = iota // takes requests
	Draining              // finishes what it has, gets nothing new
	Ejected               // left alone for a while after failing
	Gone                  // said goodbye; forgotten once its last lease ends
)

var stateNames = [...]string{Up: "up", Draining: "draining", Ejected: "ejected", Gone: "gone"}

func (s State) String() string { return stateNames[s] }

// Snapshot is what an edge needs to choose for itself when no master answers. It is
// immutable once made.
type Snapshot struct {
	Pool      string
	Version   uint64 // grows with every change
	Dispatch  bool   // servers are told first, so an edge must not choose for itself
	Servers   []SnapshotServer
	LocalFrom time.Duration // the trip to the master from which an edge chooses by itself; zero: it asks
	Edges     int           // that the master tells of the pool; zero: not known
	Sharers   []EdgeID      // of these edges, all with an id, in order, if a server has a cap: they share it while no master answers
	Place     int           // of the edge that has the snapshot among the sharers; negative: it is none of them
	Canary    float64       // part of the requests that go to the servers that are canaries; zero: none
}

// SnapshotServer is one server of a Snapshot.
type SnapshotServer struct {
	ID      ServerID
	Address string
	At      string // as in a Grant
	Public  string
	State   State
	Slots   float64 // c: requests it works on at once; never zero
	Service float64 // b · g: time of one request where all slots are used, in seconds, or relative to the pool's mean of 1 while nothing is known
	Load    float64 // n: what is in flight, everybody's
	Cap     int     // the most requests that it may have, of all edges; zero: none
	Kind    Kind    // for which requests it is
	Basis   Basis   // what Slots and Service rest on
	Labels  []Label // that it carries
}

// Kind says for which requests a server is.
type Kind uint8

const (
	Ordinary Kind = iota
	IsCanary      // for the part of the requests that Snapshot.Canary tells; further ones only if no other server is up
	IsBackup      // for requests that no ordinary server can take
)

// kind returns the server's, for edges.
func (s *Server) kind() Kind {
	switch s.side {
	case canaries:
		return IsCanary
	case backups:
		return IsBackup
	}
	return Ordinary
}

// Allows reports whether an edge that has n requests at the server may send it one more by itself.
func (s *Snapshot) Allows(to *SnapshotServer, n int) bool {
	return to.Cap == 0 || n < Share(to.Cap, to.Address, s.Place, len(s.Sharers))
}

// Carrying returns the snapshot with the servers alone that carry all of the labels, and no canary's share: what a request that asks for labels
// may choose among. s may be nil.
func (s *Snapshot) Carrying(labels []Label) *Snapshot {
	if s == nil || len(labels) == 0 {
		return s
	}
	c := *s
	c.Canary, c.Servers = 0, slices.DeleteFunc(slices.Clone(s.Servers), func(s SnapshotServer) bool { return !carries(s.Labels, labels) })
	return &c
}

// Snapshot returns what edges need to know of the pool.
func (p *Pool) Snapshot(now Instant) *Snapshot {
	return &Snapshot{Pool: p.cfg.Name, Version: p.version, Dispatch: p.cfg.Dispatch, LocalFrom: p.LocalFrom(), Canary: p.CanaryPart(now), Servers: p.Tell(now, nil, 0, len(p.servers))}
}

// Servers returns how many servers the pool has, and the version of a Snapshot taken now.
func (p *Pool) Servers() (n int, version uint64) { return len(p.servers), p.version }

// Tell appends the servers from place from to before place to of a Snapshot taken now, as
// far as there are so many. Places change only with the version.
func (p *Pool) Tell(now Instant, dst []SnapshotServer, from, to int) []SnapshotServer {
	from, to = min(from, len(p.servers)), min(to, len(p.servers))
	dst = slices.Grow(dst, to-from)
	for _, s := range p.servers[from:to] {
		c, _ := s.Slots()
		dst = append(dst, SnapshotServer{ID: s.spec.ID, Address: s.spec.Address, At: s.answer.at(), Public: s.spec.Public,
			State: s.State(now), Slots: c, Service: s.Service() * s.Growth(c), Load: s.believed(now), Cap: s.declaredCap(), Kind: s.kind(), Basis: s.basis(), Labels: s.spec.Labels})
	}
	return dst
}

// View is all that a pool knows of one server, for people.
type View struct {
	Spec      ServerSpec // as declared, without what an operator has set
	Location  Location   // of its name; zero: its address needs no look-up
	State     State
	Unhealthy string        // what checks from outside find wrong; empty: nothing
	Fixed     bool          // the file names it
	Leases    int           // open: the pool's own
	Elsewhere int           // open leases of other pools on the server
	Pools     []string      // other pools in which it stands, in order; nil: none
	Granted   uint64        // leases ever
	Load      float64       // n, as believed also where it is time to try whether x is true
	External  float64       // x, the part of n that is not ours
	Slots     float64       // c
	Cap       int           // the most requests that it may have; zero: none is declared
	Known     bool          // c is declared, learnt, or what the others have
	Service   float64       // b
	Basis     Basis         // what Slots and Service rest on
	Success   float64       // sr
	Score     float64       // what the policy compares; NaN if it compares nothing
	Since     time.Duration // how long its first outage has lasted or, without one, how long it has been well
	Outages   []Outage      // why it gets nothing, or less, and until when, the weightiest first; nil: it is well
	Full      bool          // it says that it has no room, and is held to what it has
	Unreached int           // edges that could not reach it when they tried last
	Doubt     Doubt         // what contradicts itself in what is told of it
	Metrics   []MetricView
	Traffic   Traffic
}

// MetricView is one metric of a View.
type MetricView struct {
	Metric
	Age time.Duration
}

// Views returns all servers, in order of their ids.
func (p *Pool) Views(now Instant) []View {
	views := p.Look(now, nil, 0, len(p.servers))
	slices.SortFunc(views, func(a, b View) int { return cmp.Compare(a.Spec.ID, b.Spec.ID) })
	return views
}

// Look appends views of the servers from place from to before place to, as far as there
// are so many, in no order that means anything. It writes over what lies behind dst, and
// uses the Metrics there again.
func (p *Pool) Look(now Instant, dst []View, from, to int) []View {
	from, to = min(from, len(p.servers)), min(to, len(p.servers))
	dst = slices.Grow(dst, to-from)
	for _, s := range p.servers[from:to] {
		dst = dst[:len(dst)+1]
		v := &dst[len(dst)-1]
		c, known := s.Slots()
		*v = View{Spec: s.declaredSpec(), Location: s.located(), State: s.State(now), Unhealthy: s.Unhealthy(), Fixed: s.fixed, Leases: int(s.ownLeases()), Elsewhere: s.Elsewhere(), Granted: s.granted, Load: s.believed(now),
			External: s.load.at(now), Slots: c, Cap: s.declaredCap(), Known: known, Service: s.Service(), Basis: s.basis(), Success: s.Success(), Score: math.NaN(), Outages: p.outages(now, s), Full: s.isHeld && s.held.why == heldForFull && now < s.held.until, Unreached: int(s.unreached), Doubt: s.Doubt(), Metrics: v.Metrics[:0], Traffic: s.traffic.view(now)}
		if s.sharing() != nil {
			v.Pools = s.SharedWith(nil)
		}
		v.Since = s.steadyFor(now, v.Outages)
		if p.scorer != nil {
			v.Score = p.scorer.Score(now, s)
		}
		for _, m := range s.metrics {
			v.Metrics = append(v.Metrics, MetricView{m.Metric, now.Sub(m.at)})
		}
	}
	return dst
}

// Check states the pool's invariants and returns the first that does not hold. Tests
// and the simulator call it after every event.
func (p *Pool) Check() error {
	if err := p.checkClients(); err != nil {
		return err
	}
	if err := p.checkWork(); err != nil {
		return err
	}
	held, idle := make(map[*Server]int32), make(map[*Server]int32)
	open, untold, standIns := 0, 0, 0
	for i := range p.ledger.leases {
		if l := &p.ledger.leases[i]; l.id != 0 {
			open++
			held[l.server]++
			if l.idle {
				idle[l.server]++
			}
		}
	}
	if open != p.ledger.open {
		return fmt.Errorf("pool %s: %d leases are open, the ledger counts %d", p.cfg.Name, open, p.ledger.open)
	}
	for i, s := range p.servers {
		if s.since.departure == byLease {
			untold++
		}
		if s.side == backups {
			standIns++
		}
		switch {
		case s.side != p.sideOf(&s.spec):
			return fmt.Errorf("server %s: is taken to be of kind %d, and is of %d", s.spec.ID, s.side, p.sideOf(&s.spec))
		case s.ownLeases() != held[s]:
			return fmt.Errorf("server %s: holds %d leases, counts %d", s.spec.ID, held[s], s.ownLeases())
		case s.ownIdle() != idle[s]:
			return fmt.Errorf("server %s: owes nothing on %d leases, counts %d", s.spec.ID, idle[s], s.ownIdle())
		case int(s.index) != i || p.byID[s.spec.ID] != s:
			return fmt.Errorf("server %s: is not where it says it stands", s.spec.ID)
		case s.gone && s.ownLeases() == 0 && !s.fixed:
			return fmt.Errorf("server %s: has left and is idle, yet is remembered", s.spec.ID)
		}
		if err := s.check(); err != nil {
			return err
		}
		if err := s.checkShared(); err != nil {
			return err
		}
		delete(held, s)
		if first := p.order.first(); p.scorer != nil && p.order.of(int32(i)) < never && (first < 0 || p.order.of(int32(i)) < p.order.of(first)) {
			return fmt.Errorf("server %s: stands before the first in order", s.spec.ID)
		}
	}
	for s := range held {
		return fmt.Errorf("server %s: has open leases, yet was forgotten", s.spec.ID)
	}
	if err := p.checkRoom(); err != nil {
		return err
	}
	if standIns != p.backups {
		return fmt.Errorf("pool %s: %d servers are backups, %d are counted", p.cfg.Name, standIns, p.backups)
	}
	if untold != p.untold {
		return fmt.Errorf("pool %s: %d servers are known by leases alone, %d are counted", p.cfg.Name, untold, p.untold)
	}
	return nil
}
