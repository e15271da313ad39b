package sim

import (
	"math"
	"testing"
	"time"
)

// These tests hold the whole simulator against queues that are solved in closed form.
// The choice is no matter where there is one server, so any policy does.

func one(slots int, discipline string, load float64, w Work) Scenario {
	return Scenario{Requests: 150_000, Load: load, Edges: 1, Work: w, Servers: Servers{Count: 1, Discipline: discipline, Kinds: []Kind{{Slots: slots}}}}
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got/want-1) > tolerance {
		t.Errorf("%s: mean %.4f, want %.4f within %.0f %%", what, got, want, 100*tolerance)
	}
}

// M/M/1-PS: mean response = b/(1−ρ).
func TestOnePS(t *testing.T) {
	for _, load := range []float64{.3, .7} {
		s := one(1, "ps", load, Work{Distribution: "exponential", Mean: time.Second})
		near(t, "M/M/1-PS", Run(s, "edge-random", 1).Mean, 1/(1-load), .04)
	}
}

// M/G/1-PS does not feel the shape of the work: the mean is the same for all laws.
func TestPSIsInsensitive(t *testing.T) {
	for _, w := range []Work{
		{Distribution: "constant", Mean: time.Second},
		{Distribution: "lognormal", Mean: time.Second, Sigma: 1},
		{Distribution: "pareto", Mean: time.Second, Alpha: 1.5, Ratio: 100},
	} {
		near(t, "M/G/1-PS, "+w.Distribution, Run(one(1, "ps", .7, w), "edge-random", 2).Mean, 1/(1-.7), .04)
	}
}

// M/M/c: mean response = b + C(c, a)·b/(c(1−ρ)), C by Erlang. With exponential work the
// number present does not depend on the discipline, nor does the mean.
func TestManySlots(t *testing.T) {
	work := Work{Distribution: "exponential", Mean: time.Second}
	for _, c := range []int{2, 10} {
		for _, load := range []float64{.5, .8} {
			want := 1 + erlangC(c, load*float64(c))/(float64(c)*(1-load))
			for _, discipline := range []string{"fcfs", "ps"} {
				near(t, "M/M/c, "+discipline, Run(one(c, discipline, load, work), "edge-random", 3).Mean, want, .04)
			}
		}
	}
}

// The ideal over ten equal servers is one M/M/10 queue, under either discipline.
func TestIdealIsOneQueue(t *testing.T) {
	want := 1 + erlangC(10, 8)/(10*(1-.8))
	for _, discipline := range []string{"fcfs", "ps"} {
		s := one(1, discipline, .8, Work{Distribution: "exponential", Mean: time.Second})
		s.Servers.Count = 10
		near(t, "ideal, "+discipline, Run(s, Ideal, 4).Mean, want, .04)
	}
}

// With one server there is nothing to choose: a peer's run and the ideal's are alike.
func TestIdealOfOneServer(t *testing.T) {
	for _, discipline := range []string{"fcfs", "ps"} {
		s := one(3, discipline, .8, Work{Distribution: "lognormal", Mean: time.Second, Sigma: 1})
		s.Requests, s.Link = 10_000, 10*time.Millisecond
		s.Slowdown = Slowdown{Speed: .5, For: time.Second, After: 5 * time.Second}
		got, ideal := Run(s, "edge-random", 5), Run(s, Ideal, 5)
		if math.Abs(got.Mean-ideal.Mean) > 1e-6 || math.Abs(got.P99-ideal.P99) > 1e-6 {
			t.Errorf("%s: mean %v and p99 %v, the ideal's %v and %v", discipline, got.Mean, got.P99, ideal.Mean, ideal.P99)
		}
	}
}

// erlangC is the chance that an arrival finds all c servers busy at an offered load of a.
func erlangC(c int, a float64) float64 {
	b := 1.
	for k := 1; k <= c; k++ {
		b = a * b / (float64(k) + a*b)
	}
	rho := a / float64(c)
	return b / (1 - rho + rho*b)
}

func TestWorkHasItsMean(t *testing.T) {
	for _, w := range []Work{
		{Distribution: "constant"}, {Distribution: "exponential"}, {Distribution: "lognormal", Sigma: 1},
		{Distribution: "pareto", Alpha: 1.5, Ratio: 1000}, {Distribution: "pareto", Alpha: 1, Ratio: 100},
	} {
		w.Mean = 100 * time.Millisecond
		s := one(1, "ps", .5, w).WithDefaults()
		trace := newTrace(&s, s.Servers.fleet(), 6)
		sum, n := 0., 0
		last := 0.
		for a, ok := trace.next(); ok; a, ok = trace.next() {
			sum += a.work
			n++
			last = float64(a.at) / 1e9
		}
		near(t, w.Distribution, sum/float64(n), .1, .03)
		near(t, "load of "+w.Distribution, sum/last, .5, .04)
	}
}
