package balance_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// leastLoad stands in for policy.LeastLoad, which this room may not import: the same
// terms at about the same cost.
type leastLoad struct{}

func (leastLoad) Score(now balance.Instant, s *balance.Server) float64 {
	c, _ := s.Slots()
	n, sr := s.Load(now), s.Success()
	if n+1 <= c+.3 {
		return s.Service() * (1 + .03*(n+1)/c)
	}
	return s.Service() * (2.5*n + 1) / c / (sr * sr)
}

// EdgesMayChoose says that it weighs nothing but time, so that sizes count.
func (leastLoad) EdgesMayChoose() {}

// BenchmarkDecision is a pick and its done, with all that is learnt from it, while
// four requests are in flight at each server: requests are counted, or weighed by their sizes.
func BenchmarkDecision(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 10000, 100000} {
		for name, sized := range map[string]bool{"counted": false, "sized": true} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				step := decisions(b, n, sized)
				b.ReportAllocs()
				for b.Loop() {
					step()
				}
			})
		}
	}
}

// TestDecisionsAllocateNothing holds for requests that are counted and for those that are weighed.
func TestDecisionsAllocateNothing(t *testing.T) {
	for name, sized := range map[string]bool{"counted": false, "sized": true} {
		step := decisions(t, 20, sized)
		for range 2000 {
			step()
		}
		if n := testing.AllocsPerRun(1000, step); n > 0 {
			t.Errorf("%s: a decision allocates %v times", name, n)
		}
	}
}

// decisions returns what makes one more decision in a pool of so many servers.
func decisions(t testing.TB, n int, sized bool) (step func()) {
	p := balance.New(balance.Config{Name: "web"}, balance.ByScore{Scorer: leastLoad{}}, 1)
	for i := range n {
		s := spec(fmt.Sprint("s", i))
		s.Slots = float64(2 + i%3*2)
		if err := p.Put(second, s, true); err != nil {
			t.Fatal(err)
		}
	}
	now := second.Add(time.Minute)
	req := balance.Request{Edge: "edge-1"}
	type lease struct {
		id   balance.LeaseID
		took time.Duration
	}
	open := make([]lease, 4*n)
	at := 0
	step = func() {
		now += 1000
		if open[at].id != 0 {
			p.Done(now, open[at].id, balance.Outcome{Duration: open[at].took})
		}
		open[at].took = 50*time.Millisecond + time.Duration(now%1000)*20000
		if sized {
			open[at].took = time.Millisecond << (now / 1000 % 8)
			req.Size = float64(open[at].took)
		}
		grant, err := p.Pick(now, &req)
		if err != nil {
			t.Fatal(err)
		}
		open[at].id = grant.Lease
		if at++; at == len(open) {
			at = 0
		}
	}
	for range len(open) {
		step()
	}
	return step
}
