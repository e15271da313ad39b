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

// BenchmarkDecision is a pick and its done, with all that is learnt from it, while
// four requests are in flight at each server.
func BenchmarkDecision(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 10000, 100000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := balance.New(balance.Config{Name: "web"}, balance.ByScore{Scorer: leastLoad{}}, 1)
			for i := range n {
				s := spec(fmt.Sprint("s", i))
				s.Slots = float64(2 + i%3*2)
				if err := p.Put(second, s, true); err != nil {
					b.Fatal(err)
				}
			}
			now := second.Add(time.Minute)
			req := balance.Request{Edge: "edge-1"}
			open := make([]balance.LeaseID, 4*n)
			at := 0
			step := func() {
				now += 1000
				if open[at] != 0 {
					p.Done(now, open[at], balance.Outcome{Duration: 50*time.Millisecond + time.Duration(now%1000)*20000})
				}
				grant, err := p.Pick(now, &req)
				if err != nil {
					b.Fatal(err)
				}
				open[at] = grant.Lease
				if at++; at == len(open) {
					at = 0
				}
			}
			for range len(open) {
				step()
			}
			b.ReportAllocs()
			for b.Loop() {
				step()
			}
		})
	}
}
