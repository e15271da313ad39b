package flight

import (
	"math/rand/v2"
	"slices"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Fallback chooses a server from a snapshot when no master answers: the one that this
// edge itself keeps least busy for its capacity, and of several such any, as often as
// its capacity says. What others keep busy is not known any more; a snapshot's old loads
// would send every edge to the same server, and two choices in place of all cost half
// as much again at the tail.
//
// It returns a reason for NoChoice if there is nothing to choose: no snapshot yet, no
// server to give, or a pool whose servers only the master can tell. inFlight returns
// what this edge has under way at a server; where edges are few, each can take the
// others to keep as much there.
func Fallback(snap *balance.Snapshot, exclude []balance.ServerID, inFlight func(balance.ServerID) int, rng *rand.Rand) (s balance.SnapshotServer, reason string) {
	if snap == nil || snap.Dispatch {
		return s, ReasonNoMaster
	}
	chosen := Least(snap, exclude, balance.Up, inFlight, rng)
	if chosen == nil { // all candidates are ejected: trying one is better than a certain refusal
		chosen = Least(snap, exclude, balance.Ejected, inFlight, rng)
	}
	if chosen == nil {
		return s, balance.NoServer.String()
	}
	return *chosen, ""
}

// Least returns the server in a state that this edge itself keeps least busy for its capacity; nil: there is none.
func Least(snap *balance.Snapshot, exclude []balance.ServerID, state balance.State, inFlight func(balance.ServerID) int, rng *rand.Rand) (chosen *balance.SnapshotServer) {
	var lowest, tied float64 // tied is the capacity of all that are as little busy
	for i := range snap.Servers {
		s := &snap.Servers[i]
		if s.State != state || slices.Contains(exclude, s.ID) {
			continue
		}
		n, rate := float64(inFlight(s.ID)), capacity(s)
		if 0 < snap.Edges && snap.Edges <= fewEdges {
			n = n*float64(snap.Edges) + 1
		}
		switch busy := n / rate; {
		case chosen == nil || busy < lowest:
			chosen, lowest, tied = s, busy, rate
		case busy == lowest:
			if tied += rate; rng.Float64()*tied < rate {
				chosen = s
			}
		}
	}
	return chosen
}

// fewEdges is up to how many edges the rest of the requests is guessed from one's own.
// Where they are many, each has so little under way that the guess is none, and all
// would go to the fastest server at once.
const fewEdges = 4

// capacity returns μ, the throughput that a server is good for.
func capacity(s *balance.SnapshotServer) float64 {
	if s.Slots > 0 && s.Service > 0 {
		return s.Slots / s.Service
	}
	return 1
}
