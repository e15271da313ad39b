package flight

import (
	"math"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// shares is how an edge spreads its requests that hears from the master what all servers have: not by what the servers are good for, but so that
// requests take least time at the load that there is. Where few slots are used, slow servers get nothing.
type shares struct {
	of   *balance.Snapshot // that they are worked out from; nil: none yet
	busy float64           // moving average of the part of the servers' throughput that is used
	rate []float64         // requests a second of each server of the snapshot, as they compare; empty: nothing is known
}

const (
	shareWeight = .3   // of a server's slots, for how much others wait where requests come at random: from 1 (as many slots) to .1 were tried
	shareGain   = .3   // by which a snapshot moves the average
	shareSteps  = 24   // of halving
	shareBusy   = .7   // of the servers' throughput; above it capacities count, as shares by a load that is a second old were worse there
	shareMost   = 1000 // servers; of more the shares would take too long
)

// update works out the shares by the snapshot, unless they are. It reports whether there are any.
func (s *shares) update(snap *balance.Snapshot) bool {
	if s.of == snap {
		return len(s.rate) > 0
	}
	first := s.of == nil || s.busy == 0
	s.of, s.rate = snap, s.rate[:0]
	can, does, fastest, slowest := 0., 0., math.Inf(1), 0.
	for i := range snap.Servers {
		if server := &snap.Servers[i]; takesShare(server) {
			can += capacity(server)
			does += min(server.Load, server.Slots) / server.Service
			fastest, slowest = min(fastest, server.Service), max(slowest, server.Service)
		}
	}
	if can <= 0 || len(snap.Servers) > shareMost {
		return false
	}
	if first {
		s.busy = does / can
	}
	s.busy += shareGain * (does/can - s.busy)
	if s.busy > shareBusy {
		return false
	}
	s.spread(snap, s.busy*can, fastest, slowest)
	return true
}

// spread sets the rates, of so many requests a second in all, such that one more request costs the same at each server that has some.
func (s *shares) spread(snap *balance.Snapshot, wanted, fastest, slowest float64) {
	low, high := 0., math.Log(slowest/fastest*(1+1/(shareWeight*(1-shareBusy)*(1-shareBusy)))) // of the logarithm of that cost, over the fastest's time
	for range shareSteps {
		middle, total := (low+high)/2, 0.
		for i := range snap.Servers {
			total += rateAt(&snap.Servers[i], fastest*math.Exp(middle))
		}
		if total < wanted {
			low = middle
		} else {
			high = middle
		}
	}
	for i := range snap.Servers {
		s.rate = append(s.rate, rateAt(&snap.Servers[i], fastest*math.Exp(high)))
	}
}

// takesShare reports whether a server is to get requests.
func takesShare(s *balance.SnapshotServer) bool {
	return s.State == balance.Up && s.Kind == balance.Ordinary && s.Slots > 0 && s.Service > 0
}

// rateAt returns the requests a second at which one more costs a server and those that it delays so many seconds together. With one slot and
// a weight of 1 it is that of a queue with random arrivals, service / (1 − busy)².
func rateAt(s *balance.SnapshotServer, cost float64) float64 {
	if !takesShare(s) || cost <= s.Service {
		return 0
	}
	return capacity(s) * (1 - 1/math.Sqrt(1+shareWeight*s.Slots*(cost/s.Service-1)))
}

// busyness returns how busy the edge keeps the snapshot's server i, with n of its requests there, for its share, and that share. A server without one
// comes last.
func (s *shares) busyness(i int, n float64) (busy, rate float64) {
	if rate = s.rate[i]; rate <= 0 {
		return math.MaxFloat64, 1
	}
	return n / rate, rate
}
