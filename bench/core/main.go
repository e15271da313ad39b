// Command core measures the cost of one decision: a pick and its done, with all that is learnt from it, with 10 to 100,000 servers, by
// three ways to find the server; and the speed of the simulator, which spends its time on decisions. It prints a table and writes
// build/bench/core.json.
package main

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/config"
	"github.com/evenkeel-lb/evenkeel/internal/figures"
	"github.com/evenkeel-lb/evenkeel/policy"
	"github.com/evenkeel-lb/evenkeel/sim"
)

// ways are the structures that were tried. Ordered is what pools use.
var ways = []struct {
	name   string
	policy func() balance.Policy
	most   int  // servers; beyond, it takes too long to measure
	sized  bool // requests tell their sizes
}{
	{"ordered", func() balance.Policy { return balance.ByScore{Scorer: policy.LeastLoad{}} }, 100000, false},
	{"linear", func() balance.Policy { return linear{balance.ByScore{Scorer: policy.LeastLoad{}}} }, 10000, false},
	{"sampled", func() balance.Policy { return sampled{} }, 10000, false},
	{"by work", func() balance.Policy { return balance.ByScore{Scorer: policy.LeastLoad{}} }, 100000, true},
}

const byWork = 3 // of ways

// linear hides from the pool that the policy has a score, so that it looks at all.
type linear struct{ all balance.Policy }

func (l linear) Choose(now balance.Instant, req *balance.Request, c []*balance.Server, rng *rand.Rand) int {
	return l.all.Choose(now, req, c, rng)
}

// sampled takes the lowest score of sixteen drawn.
type sampled struct{ policy.LeastLoad }

func (s sampled) Choose(now balance.Instant, _ *balance.Request, c []*balance.Server, rng *rand.Rand) int {
	best := rng.IntN(len(c))
	lowest := s.Score(now, c[best])
	for range 15 {
		if i := rng.IntN(len(c)); i != best {
			if score := s.Score(now, c[i]); score < lowest {
				best, lowest = i, score
			}
		}
	}
	return best
}

// perServer is how many requests are in flight at each server while it is measured.
const perServer = 4

// bench is a pool in which requests come and go.
type bench struct {
	pool *balance.Pool
	now  balance.Instant
	req  balance.Request
	open []balance.LeaseID
	at   int

	sized bool
	took  []time.Duration // by lease
}

func newBench(p balance.Policy, servers int, sized bool) *bench {
	b := &bench{pool: balance.New(balance.Config{Name: "bench"}, p, 1), now: 1e9, req: balance.Request{Edge: "edge-1"}, open: make([]balance.LeaseID, perServer*servers),
		sized: sized, took: make([]time.Duration, perServer*servers)}
	for i := range servers {
		must(b.pool.Put(b.now, balance.ServerSpec{ID: balance.ServerID(fmt.Sprint("s", i)), Address: "127.0.0.1:8000", Slots: float64(2 + i%3*2)}, true))
	}
	b.now = b.now.Add(time.Minute)
	for range 2 * len(b.open) {
		b.step()
	}
	if d := b.pool.Explain(b.now, &b.req); d.Work > 0 != sized {
		must(fmt.Errorf("%d servers: whether requests tell their sizes is %v, and the next choice goes by a work of %v", servers, sized, d.Work))
	}
	return b
}

func (b *bench) step() {
	b.now += 1000
	if id := b.open[b.at]; id != 0 {
		b.pool.Done(b.now, id, balance.Outcome{Duration: b.took[b.at]})
	}
	b.took[b.at] = 50*time.Millisecond + time.Duration(b.now%1000)*20*time.Microsecond
	if b.sized {
		b.took[b.at] = time.Millisecond << (b.now / 1000 % 8)
		b.req.Size = b.took[b.at].Seconds()
	}
	grant, err := b.pool.Pick(b.now, &b.req)
	must(err)
	b.open[b.at] = grant.Lease
	if b.at++; b.at == len(b.open) {
		b.at = 0
	}
}

// cost returns ns per pick and done over about the given time.
func (b *bench) cost(about time.Duration) float64 {
	return timeSteps(about, b.step)
}

func main() {
	rounds := flag.Int("rounds", 9, "rounds; the alternatives take turns in each, and the median counts")
	out := flag.String("out", "build/bench/core.json", "file for the figures")
	flag.Parse()
	var all []figures.Figure
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "servers\tordered\tlinear\tsampled\tby work\t ns per pick and done, all that is learnt included\t")
	for _, n := range []int{10, 100, 1000, 10000, 100000} {
		medians := decisions(n, *rounds)
		fmt.Fprintf(w, "%d\t", n)
		for _, m := range medians {
			if m == 0 {
				fmt.Fprint(w, "–\t")
				continue
			}
			fmt.Fprintf(w, "%.0f\t", m)
		}
		fmt.Fprintln(w, "\t")
		f := figures.Figure{Name: fmt.Sprintf("decision %d servers", n), Value: medians[0], Unit: "ns"}
		switch n {
		case 10:
			f.Goal = "<=100"
		case 10000:
			f.Goal = "<=250"
		}
		all = append(all, f, figures.Figure{Name: fmt.Sprintf("decision by work, %d servers, over one by counts", n), Value: medians[byWork] / medians[0], Unit: "ratio", Goal: "<=1.25"})
	}
	must(w.Flush())
	all = append(all, fullDecisions(*rounds)...)
	perServer, perLease := memory()
	one, sixteen := contention()
	rate := simulated()
	all = append(all,
		figures.Figure{Name: "memory a server", Value: perServer, Unit: "bytes", Goal: "<=1024"},
		figures.Figure{Name: "memory an open lease", Value: perLease, Unit: "bytes", Goal: "<=200"},
		figures.Figure{Name: "decision under one lock, 16 goroutines over 1", Value: sixteen / one, Unit: "ratio"},
		figures.Figure{Name: "simulated requests a second of one core", Value: math.Round(rate), Unit: "1/s", Goal: ">=500000"})
	fmt.Printf("\nmemory: %.0f bytes a server, %.0f an open lease\none lock: %.0f ns a decision from 1 goroutine, %.0f from 16\nsimulator: %.0f requests a second of one core, least-load and 50 servers\n", perServer, perLease, one, sixteen, rate)
	for _, f := range all {
		if !f.Met() {
			fmt.Printf("falls short: %s %.3g %s, wanted %s\n", f.Name, f.Value, f.Unit, f.Goal)
		}
	}
	must(figures.Write(*out, all))
}

// decisions returns the median cost of each way at n servers; 0 where it was not measured.
func decisions(n, rounds int) (medians []float64) {
	benches := make([]*bench, len(ways))
	costs := make([][]float64, len(ways))
	for i, way := range ways {
		if n <= way.most {
			benches[i] = newBench(way.policy(), n, way.sized)
		}
	}
	for range rounds {
		for i, b := range benches {
			if b != nil {
				costs[i] = append(costs[i], b.cost(50*time.Millisecond))
			}
		}
	}
	for _, c := range costs {
		slices.Sort(c)
		if len(c) == 0 {
			c = []float64{0}
		}
		medians = append(medians, c[len(c)/2])
	}
	return medians
}

// memory returns the heap that 10,000 servers and 100,000 leases take, each.
func memory() (server, lease float64) {
	before := heap()
	p := balance.New(balance.Config{Name: "bench"}, balance.ByScore{Scorer: policy.LeastLoad{}}, 1)
	for i := range 10000 {
		must(p.Put(1e9, balance.ServerSpec{ID: balance.ServerID(fmt.Sprint("s", i)), Address: "127.0.0.1:8000"}, true))
	}
	with := heap()
	req := balance.Request{Edge: "edge-1"}
	for range 100000 {
		_, err := p.Pick(2e9, &req)
		must(err)
	}
	full := heap()
	runtime.KeepAlive(p)
	return (with - before) / 10000, (full - with) / 100000
}

func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// contention returns the cost of a decision at 100 servers under one lock, as a master
// takes it, from one goroutine and from sixteen.
func contention() (one, sixteen float64) {
	b := newBench(ways[0].policy(), 100, false)
	var mu sync.Mutex
	measure := func(goroutines int) float64 {
		const each = 20000
		var all sync.WaitGroup
		start := time.Now()
		for range goroutines {
			all.Go(func() {
				for range each {
					mu.Lock()
					b.step()
					mu.Unlock()
				}
			})
		}
		all.Wait()
		return float64(time.Since(start).Nanoseconds()) / float64(each*goroutines)
	}
	var a, c []float64
	for range 9 {
		a, c = append(a, measure(1)), append(c, measure(16))
	}
	slices.Sort(a)
	slices.Sort(c)
	return a[4], c[4]
}

// simulated returns the requests of scenario B1 that one core simulates in a second, at
// the best of five times.
func simulated() (best float64) {
	var s sim.Scenario
	file := config.Parse("B1", sim.Canonical("b1-4")[0].YAML, nil)
	file.Decode(&s)
	must(file.Err())
	for range 5 {
		from := time.Now()
		sim.Run(s, "least-load", 1)
		best = max(best, float64(s.WithDefaults().Requests)/time.Since(from).Seconds())
	}
	return best
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench core:", err)
		os.Exit(1)
	}
}
