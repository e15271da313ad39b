package flight

import (
	"math/rand/v2"
	"slices"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Turns has the servers of a pool that an edge keeps equally little busy taken in turn, as often as their capacities
// say (smooth weighted round robin). Edges that drew such servers at random would leave some idle for long and meet
// at others. The zero value is ready; it is the edge's own.
type Turns struct {
	credit map[balance.ServerID]float64
	due    float64 // requests that the pool's canary is to get of this edge
	shares shares
	shared bool // the shares count
}

// Fallback chooses a server from a snapshot when no master answers: the one that this
// edge itself keeps least busy for its capacity, and of several such the one whose turn it
// is. What others keep busy is not known any more; a snapshot's old loads
// would send every edge to the same server, and two choices in place of all cost half
// as much again at the tail.
//
// It returns a reason for NoChoice if there is nothing to choose: no snapshot yet, no
// server to give, or a pool whose servers only the master can tell. inFlight returns
// what this edge has under way at a server, and the same as long as the call lasts. A server with
// a cap gets no more than this edge's share of it.
func Fallback(snap *balance.Snapshot, exclude []balance.ServerID, inFlight func(balance.ServerID) int, turns *Turns, rng *rand.Rand) (s balance.SnapshotServer, reason string) {
	if snap == nil || snap.Dispatch {
		return s, ReasonNoMaster
	}
	chosen := turns.Least(snap, exclude, balance.Up, inFlight, rng)
	if chosen == nil { // all candidates are ejected: trying one is better than a certain refusal
		chosen = turns.Least(snap, exclude, balance.Ejected, inFlight, rng)
	}
	switch {
	case chosen != nil:
		return *chosen, ""
	case slices.ContainsFunc(snap.Servers, func(s balance.SnapshotServer) bool { return s.Cap > 0 && s.State == balance.Up }):
		return s, balance.Saturated.String()
	}
	return s, balance.NoServer.String()
}

// kinds is in which order servers are looked at, kind by kind: as a master does.
var kinds = [...]balance.Kind{balance.Ordinary, balance.IsBackup, balance.IsCanary}

// Least returns the server in a state that this edge itself keeps least busy for its capacity; nil: there is none. Of the requests of
// each edge the canary gets its part, and of the others servers of the first kind of which there is one.
func (t *Turns) Least(snap *balance.Snapshot, exclude []balance.ServerID, state balance.State, inFlight func(balance.ServerID) int, rng *rand.Rand) (chosen *balance.SnapshotServer) {
	if t.due+snap.Canary >= 1-dueSlack {
		chosen = t.leastOf(balance.IsCanary, snap, exclude, state, inFlight, rng)
	}
	for _, kind := range kinds {
		if chosen != nil || kind == balance.IsCanary && hasOther(snap, exclude, state) {
			break
		}
		chosen = t.leastOf(kind, snap, exclude, state, inFlight, rng)
	}
	if chosen == nil || snap.Canary == 0 {
		return chosen
	}
	t.due += snap.Canary
	if chosen.Kind == balance.IsCanary {
		t.due--
	}
	t.due = max(-1, min(t.due, mostDue))
	return chosen
}

// LeastByShare returns the server that an edge chooses while the master only hears of it: like Least of those that are up, but by shares where the edge knows little of
// the others' requests.
func (t *Turns) LeastByShare(snap *balance.Snapshot, exclude []balance.ServerID, inFlight func(balance.ServerID) int, rng *rand.Rand) *balance.SnapshotServer {
	t.shared = true
	defer func() { t.shared = false }()
	return t.Least(snap, exclude, balance.Up, inFlight, rng)
}

// hasOther reports whether a server other than the canary's is in a state, be it full.
func hasOther(snap *balance.Snapshot, exclude []balance.ServerID, state balance.State) bool {
	return slices.ContainsFunc(snap.Servers, func(s balance.SnapshotServer) bool {
		return s.Kind != balance.IsCanary && s.State == state && !slices.Contains(exclude, s.ID)
	})
}

const (
	mostDue  = 3 // requests that the canary could not take and that are made up for
	dueSlack = 1e-9
)

// leastOf is Least of one kind of server.
func (t *Turns) leastOf(kind balance.Kind, snap *balance.Snapshot, exclude []balance.ServerID, state balance.State, inFlight func(balance.ServerID) int, rng *rand.Rand) (chosen *balance.SnapshotServer) {
	takesPart := func(s *balance.SnapshotServer) bool {
		return s.Kind == kind && s.State == state && !slices.Contains(exclude, s.ID) && snap.Allows(s, inFlight(s.ID))
	}
	var lowest, tied, chosenRate float64 // tied is the capacity of all that are as little busy
	first, few := len(snap.Servers), knowsOthers(snap)
	shared := t.shared && kind == balance.Ordinary && !few && t.shares.update(snap)
	busyness := func(i int, s *balance.SnapshotServer) (busy, rate float64) {
		n := float64(inFlight(s.ID))
		if shared {
			return t.shares.busyness(i, n)
		}
		if few {
			n = n*float64(snap.Edges) + 1
		}
		rate = capacity(s)
		return n / rate, rate
	}
	for i := range snap.Servers {
		s := &snap.Servers[i]
		if !takesPart(s) {
			continue
		}
		switch busy, rate := busyness(i, s); {
		case chosen == nil || busy < lowest:
			chosen, first, lowest, tied, chosenRate = s, i, busy, rate, rate
		case busy == lowest:
			tied += rate
		}
	}
	if chosen == nil || tied == chosenRate {
		return chosen
	}
	return t.next(snap, first, tied, func(i int, s *balance.SnapshotServer) (rate float64, isTied bool) {
		if !takesPart(s) {
			return 0, false
		}
		busy, rate := busyness(i, s)
		return rate, busy == lowest
	}, rng)
}

// knowsOthers reports whether an edge may take the others to keep as much at each server as it does: where edges are few and servers have
// several slots each. Elsewhere each edge has so little at a server that it is none to go by, and all would go to the fastest at once.
func knowsOthers(snap *balance.Snapshot) bool {
	if snap.Edges <= 1 || snap.Edges > fewEdges {
		return snap.Edges == 1
	}
	slots := 0.
	for i := range snap.Servers {
		slots += snap.Servers[i].Slots
	}
	return slots >= someSlots*float64(len(snap.Servers))
}

const (
	fewEdges  = 4
	someSlots = 2.5
)

// next takes a turn among those of the servers from the first on that take part, whose capacities are tied together.
func (t *Turns) next(snap *balance.Snapshot, first int, tied float64, of func(i int, s *balance.SnapshotServer) (rate float64, takesPart bool), rng *rand.Rand) (chosen *balance.SnapshotServer) {
	if t.credit == nil || len(t.credit) > 2*len(snap.Servers)+mostCredits {
		t.credit = make(map[balance.ServerID]float64)
	}
	most := 0.
	for i := first; i < len(snap.Servers); i++ {
		s := &snap.Servers[i]
		rate, takesPart := of(i, s)
		if !takesPart {
			continue
		}
		credit, known := t.credit[s.ID]
		if !known {
			credit = rng.Float64() * rate // edges do not start in step
		}
		credit += rate
		t.credit[s.ID] = credit
		if chosen == nil || credit > most {
			chosen, most = s, credit
		}
	}
	t.credit[chosen.ID] -= tied
	return chosen
}

// mostCredits is how many servers that are gone may be remembered.
const mostCredits = 64

// capacity returns μ, the throughput that a server is good for.
func capacity(s *balance.SnapshotServer) float64 {
	if s.Slots > 0 && s.Service > 0 {
		return s.Slots / s.Service
	}
	return 1
}
