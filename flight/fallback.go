package flight

import (
	"math/rand/v2"
	"slices"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Fallback chooses a server from a snapshot when no master answers: it draws two by
// capacity and takes the one that this edge itself keeps less busy for its capacity.
// What others keep busy is not known any more, and a snapshot's old loads would send
// every edge to the same server.
//
// It returns a reason for NoChoice if there is nothing to choose: no snapshot yet, no
// server to give, or a pool whose servers only the master can tell. inFlight returns
// what this edge has under way at a server.
func Fallback(snap *balance.Snapshot, exclude []balance.ServerID, inFlight func(balance.ServerID) int, rng *rand.Rand) (s balance.SnapshotServer, reason string) {
	if snap == nil || snap.Dispatch {
		return s, ReasonNoMaster
	}
	state, total := balance.Up, weigh(snap, exclude, balance.Up)
	if total == 0 { // all that could are ejected: a refusal for certain helps nobody
		state, total = balance.Ejected, weigh(snap, exclude, balance.Ejected)
	}
	if total == 0 {
		return s, balance.NoServer.String()
	}
	a := draw(snap, exclude, state, rng.Float64()*total)
	b := draw(snap, exclude, state, rng.Float64()*total)
	if fullness(b, inFlight) < fullness(a, inFlight) {
		a = b
	}
	return *a, ""
}

// capacity returns μ, the throughput that a server is good for.
func capacity(s *balance.SnapshotServer) float64 {
	if s.Slots > 0 && s.Service > 0 {
		return s.Slots / s.Service
	}
	return 1
}

func fullness(s *balance.SnapshotServer, inFlight func(balance.ServerID) int) float64 {
	return float64(inFlight(s.ID)+1) / capacity(s)
}

func weigh(snap *balance.Snapshot, exclude []balance.ServerID, state balance.State) (total float64) {
	for i := range snap.Servers {
		if s := &snap.Servers[i]; s.State == state && !slices.Contains(exclude, s.ID) {
			total += capacity(s)
		}
	}
	return total
}

// draw returns the server in whose stretch of the summed capacities the point at lies.
func draw(snap *balance.Snapshot, exclude []balance.ServerID, state balance.State, at float64) (drawn *balance.SnapshotServer) {
	for i := range snap.Servers {
		s := &snap.Servers[i]
		if s.State != state || slices.Contains(exclude, s.ID) {
			continue
		}
		drawn = s
		if at -= capacity(s); at < 0 {
			break
		}
	}
	return drawn
}
