package sim

import (
	"slices"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

const (
	faultEvery = 60 * time.Second // a server is killed
	faultFor   = 10 * time.Second // and started again
	after      = 20 * time.Second // that are looked at
)

// restarted is what became of the requests that arrived in the 20 s after a server had been started again,
// over many restarts, and how its share of them compares with the one that it had before it was killed.
type restarted struct {
	mean, p95 float64
	share     []float64 // by second after the restart, over what it had before
	errors    float64
}

func restarts(s Scenario, server int, policy string, seed uint64) (r restarted) {
	s = s.WithDefaults()
	s.Faults = nil
	n := int(s.length() / faultEvery)
	for i := range n - 1 {
		s.Faults = append(s.Faults, Fault{What: "down", At: faultEvery * time.Duration(i+1), For: faultFor, Servers: []int{server}})
	}
	w := newWorld(&s, seed)
	w.choosing(policy, seed)
	var took []float64
	var usual [2]int
	seconds := make([][2]int, after/time.Second)
	w.watch = func(now balance.Instant, q *request) {
		at := time.Duration(q.at-start) % faultEvery
		if q.faulty || time.Duration(q.at-start) < faultEvery-after {
			return
		}
		won := index(q.server == int32(server))
		switch since := at - faultFor; {
		case time.Duration(q.at-start) >= faultEvery && since >= 0 && since < after:
			took = append(took, now.Sub(q.at).Seconds())
			seconds[since/time.Second][0]++
			seconds[since/time.Second][1] += won
		case at > faultEvery-after:
			usual[0]++
			usual[1] += won
		}
	}
	w.run()
	slices.Sort(took)
	for _, v := range took {
		r.mean += v / float64(len(took))
	}
	r.p95 = quantile(took, .95)
	for _, n := range seconds {
		r.share = append(r.share, float64(n[1])/float64(max(1, n[0]))/(float64(usual[1])/float64(usual[0])))
	}
	r.errors = float64(w.tally.errors[0]+w.tally.errors[1]) / float64(s.Requests)
	return r
}

// length is how long a run takes on average.
func (s *Scenario) length() time.Duration {
	return time.Duration(float64(s.Requests) * s.gap(s.Servers.fleet()) * 1e9)
}

func (r *restarted) add(o restarted, n int) {
	r.mean += o.mean / float64(n)
	r.p95 += o.p95 / float64(n)
	r.errors += o.errors / float64(n)
	if r.share == nil {
		r.share = make([]float64, len(o.share))
	}
	for i := range o.share {
		r.share[i] += o.share[i] / float64(n)
	}
}

var restartScenarios = []struct {
	name   string
	server int
	s      Scenario
}{
	{"four services under quotas", 2, Scenario{
		Requests: 12_000, Load: .63, Edges: 2, Ask: 300 * time.Microsecond, Link: 200 * time.Microsecond, Blind: true,
		Servers: Servers{Count: 4, Kinds: []Kind{{Slots: 1, Speed: .4}, {Slots: 1, Speed: .15}, {Slots: 1, Speed: .3}, {Slots: 1, Speed: .2}}, Quota: Quota{Period: 100 * time.Millisecond}},
		Work:    Work{Distribution: "lognormal", Mean: 83 * time.Millisecond, Sigma: .8},
		Reports: Reports{Every: 500 * time.Millisecond, By: byAgent}, Checks: Checks{time.Second},
	}},
	{"six equal servers of four slots, nothing reported", 0, Scenario{
		Requests: 100_000, Load: .6, Edges: 4, Ask: 300 * time.Microsecond, Link: 200 * time.Microsecond, Blind: true,
		Servers: Servers{Count: 6, Kinds: []Kind{{Slots: 4}}},
		Work:    Work{Distribution: "exponential", Mean: 100 * time.Millisecond}, Checks: Checks{time.Second},
	}},
	{"three servers of one slot", 1, Scenario{
		Requests: 15_000, Load: .5, Edges: 2, Ask: 300 * time.Microsecond, Link: 200 * time.Microsecond, Blind: true,
		Servers: Servers{Count: 3, Discipline: "fcfs", Kinds: []Kind{{Slots: 1}}},
		Work:    Work{Distribution: "exponential", Mean: 100 * time.Millisecond}, Checks: Checks{time.Second},
	}},
	{"four servers, without checks", 1, Scenario{
		Requests: 50_000, Load: .6, Edges: 2, Ask: 300 * time.Microsecond, Link: 200 * time.Microsecond, Blind: true,
		Servers: Servers{Count: 4, Kinds: []Kind{{Slots: 4}}},
		Work:    Work{Distribution: "exponential", Mean: 100 * time.Millisecond},
	}},
}

// A server that was killed and started again has its share back as soon as a check has passed twice, or a try has
// shown it; and those who ask meanwhile wait no longer than with HAProxy's leastconn and the same checks.
func TestAServerThatIsStartedAgainHasItsShareBack(t *testing.T) {
	const seeds = 6
	for _, c := range restartScenarios {
		t.Run(c.name, func(t *testing.T) {
			var ours, leastconn restarted
			for seed := range uint64(seeds) {
				ours.add(restarts(c.s, c.server, "least-load", seed+1), seeds)
				leastconn.add(restarts(c.s, c.server, "haproxy-leastconn", seed+1), seeds)
			}
			t.Logf("mean and p95 over leastconn's %.3f, %.3f; share by second %.2f, leastconn's %.2f", ours.mean/leastconn.mean, ours.p95/leastconn.p95, ours.share, leastconn.share)
			if ours.mean > 1.05*leastconn.mean || ours.p95 > 1.05*leastconn.p95 {
				t.Errorf("in the 20 s after a restart mean %.4f s and p95 %.4f s, with leastconn %.4f and %.4f, want at most 1.05 times", ours.mean, ours.p95, leastconn.mean, leastconn.p95)
			}
			const back = 3 // seconds
			for second, share := range ours.share[back:] {
				if share < .9 {
					t.Errorf("in second %d after the restart the server got %.2f of its share, want at least .9", back+second, share)
				}
			}
			if ours.errors > 0 {
				t.Errorf("%.5f of the requests failed, want none", ours.errors)
			}
		})
	}
}
