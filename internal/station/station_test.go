package station

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"pgregory.net/rapid"
)

type arrival struct {
	at   float64 // seconds
	work float64
}

// run feeds the arrivals and returns when each finished, in seconds.
func run(s *Station, arrivals []arrival) []float64 {
	ends := make([]float64, len(arrivals))
	next, left := 0, len(arrivals)
	for left > 0 {
		at, ok := s.Next()
		if next < len(arrivals) {
			if due := instant(arrivals[next].at); !ok || due < at {
				s.Arrive(due, uint64(next), arrivals[next].work)
				next++
				continue
			}
		}
		if !ok {
			return ends
		}
		for job, ok := s.Finish(at); ok; job, ok = s.Finish(at) {
			ends[job] = float64(at) / 1e9
			left--
		}
	}
	return ends
}

func instant(seconds float64) balance.Instant { return balance.Instant(math.Round(seconds * 1e9)) }

func TestClosedForms(t *testing.T) {
	for _, test := range []struct {
		name     string
		station  *Station
		arrivals []arrival
		want     []float64
	}{
		{"one alone", NewPS(1, 1), []arrival{{1, 2}}, []float64{3}},
		{"twice as fast", NewPS(1, 2), []arrival{{1, 2}}, []float64{2}},
		{"two share one slot", NewPS(1, 1), []arrival{{0, 1}, {0, 1}}, []float64{2, 2}},
		{"two on two slots", NewPS(2, 1), []arrival{{0, 1}, {0, 1}}, []float64{1, 1}},
		{"three on two slots", NewPS(2, 1), []arrival{{0, 1}, {0, 1}, {0, 1}}, []float64{1.5, 1.5, 1.5}},
		{"a short one overtakes", NewPS(1, 1), []arrival{{0, 3}, {1, 1}}, []float64{4, 3}},
		{"idle between", NewPS(1, 1), []arrival{{0, 1}, {5, 1}}, []float64{1, 6}},
		{"in order", NewFCFS(1, 1), []arrival{{0, 3}, {1, 1}, {1.5, 2}}, []float64{3, 4, 6}},
		{"in order on two slots", NewFCFS(2, 2), []arrival{{0, 4}, {0, 2}, {.5, 2}}, []float64{2, 1, 2}},
		{"no work", NewFCFS(1, 1), []arrival{{1, 0}}, []float64{1}},
		{"fastest slot first", NewPooled([]float64{1, 3}), []arrival{{0, 3}}, []float64{1}},
		{"sharing unequal slots", NewPooled([]float64{1, 3}), []arrival{{0, 2}, {0, 2}}, []float64{1, 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for i, got := range run(test.station, test.arrivals) {
				if math.Abs(got-test.want[i]) > 1e-8 {
					t.Errorf("job %d finished at %v, want %v", i, got, test.want[i])
				}
			}
		})
	}
}

func TestSpeedChanges(t *testing.T) {
	s := NewPS(1, 1)
	s.Arrive(0, 1, 2)
	s.SetSpeed(instant(1), 0)
	if at, ok := s.Next(); ok {
		t.Errorf("a halted station finishes at %v, want never", at)
	}
	s.SetSpeed(instant(5), .5)
	if at, ok := s.Next(); !ok || at != instant(7) {
		t.Errorf("finishes at %v, %v, want 7 s: one of two seconds was left, at half the speed", at, ok)
	}
	if got := s.Busy(instant(7)); math.Abs(got-7) > 1e-9 {
		t.Errorf("busy for %v slot-seconds, want 7: a halted request still holds its slot", got)
	}
}

func TestAbort(t *testing.T) {
	s := NewFCFS(1, 1)
	for job := range uint64(4) {
		s.Arrive(0, job, 1)
	}
	if !s.Abort(0, 2) || !s.Abort(instant(.5), 0) || s.Abort(instant(.5), 9) {
		t.Error("abort: want true for one that waits and one in work, false for a stranger")
	}
	if at, _ := s.Next(); at != instant(1.5) || s.InFlight() != 2 {
		t.Errorf("next at %v with %d present, want 1.5 s and 2", at, s.InFlight())
	}
	var order []uint64
	for job, ok := s.Finish(instant(9)); ok; job, ok = s.Finish(instant(9)) {
		order = append(order, job)
	}
	if !slices.Equal(order, []uint64{1, 3}) {
		t.Errorf("finished %v, want [1 3]", order)
	}
}

func TestMoreSlotsLater(t *testing.T) {
	s := NewPooled([]float64{1})
	s.Arrive(0, 1, 2)
	s.Arrive(0, 2, 2)
	s.SetSlots(instant(2), []float64{1, 1})
	if at, _ := s.Next(); at != instant(3) {
		t.Errorf("finishes at %v, want 3 s", at)
	}
}

// model is the same server, obviously: small steps of time, every request looked at.
type model struct {
	inOrder bool
	slots   int
	speed   float64
	jobs    []job // in order of arrival
}

type job struct {
	id   uint64
	left float64
}

// step works for so long and returns who finished.
func (m *model) step(seconds float64) (done []uint64) {
	n := len(m.jobs)
	rate := m.speed * min(1, float64(m.slots)/float64(n))
	if m.inOrder {
		n, rate = min(n, m.slots), m.speed
	}
	for i := range m.jobs[:n] {
		m.jobs[i].left -= rate * seconds
	}
	m.jobs = slices.DeleteFunc(m.jobs, func(j job) bool {
		if j.left < 1e-9 {
			done = append(done, j.id)
		}
		return j.left < 1e-9
	})
	return done
}

// TestAgainstSlowModel feeds both the same facts at the same times. Between facts the
// model steps by a thousandth of a second, so finishing times may differ by that much
// for each time that the number present changes.
func TestAgainstSlowModel(t *testing.T) {
	const tick = .001
	rapid.Check(t, func(t *rapid.T) {
		slots := rapid.IntRange(1, 4).Draw(t, "slots")
		speed := rapid.SampledFrom([]float64{.5, 1, 2}).Draw(t, "speed")
		s, m := NewPS(slots, speed), &model{slots: slots, speed: speed}
		if rapid.Bool().Draw(t, "in order") {
			s, m = NewFCFS(slots, speed), &model{slots: slots, speed: speed, inOrder: true}
		}
		var id uint64
		mine, theirs := map[uint64]int{}, map[uint64]int{}
		note := func(now int) {
			for _, id := range m.step(tick) {
				theirs[id] = now
			}
			for id, ok := s.Finish(instant(float64(now) * tick)); ok; id, ok = s.Finish(instant(float64(now) * tick)) {
				mine[id] = now
			}
		}
		now := 0
		for range rapid.IntRange(1, 12).Draw(t, "facts") {
			for range rapid.IntRange(0, 80).Draw(t, "ticks") {
				now++
				note(now)
			}
			if rapid.IntRange(0, 4).Draw(t, "what") == 0 {
				m.speed = rapid.SampledFrom([]float64{.3, 1, 3}).Draw(t, "new speed")
				s.SetSpeed(instant(float64(now)*tick), m.speed)
				continue
			}
			id++
			work := float64(rapid.IntRange(1, 50).Draw(t, "work")) * tick
			s.Arrive(instant(float64(now)*tick), id, work)
			m.jobs = append(m.jobs, job{id, work})
		}
		for len(mine) < int(id) || len(theirs) < int(id) {
			if now++; now > 100_000 {
				t.Fatalf("of %d jobs %d finished, %d in the model", id, len(mine), len(theirs))
			}
			note(now)
		}
		for id, want := range theirs {
			if got := mine[id]; math.Abs(float64(got-want)) > 2*float64(len(theirs)) {
				t.Errorf("job %d finished in tick %d, in the model %d", id, got, want)
			}
		}
	})
}

// TestWorkIsConserved: as long as anybody is present, a one-slot station of speed 1
// does a second of work a second, whatever the discipline.
func TestWorkIsConserved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ps, fcfs := NewPS(1, 1), NewFCFS(1, 1)
		at, clear := 0., 0.
		total := 0.
		for id := range uint64(rapid.IntRange(1, 40).Draw(t, "jobs")) {
			at += rapid.Float64Range(0, 2).Draw(t, "gap")
			work := rapid.Float64Range(.001, 2).Draw(t, "work")
			clear = max(clear, at) + work
			total += work
			ps.Arrive(instant(at), id, work)
			fcfs.Arrive(instant(at), id, work)
		}
		for _, s := range []*Station{ps, fcfs} {
			end := balance.Instant(0)
			for at, ok := s.Next(); ok; at, ok = s.Next() {
				end = at
				s.Finish(at)
			}
			if got := float64(end) / 1e9; math.Abs(got-clear) > 1e-6 {
				t.Errorf("all done at %v s, want %v", got, clear)
			}
			if got := s.Busy(end); math.Abs(got-total) > 1e-6 {
				t.Errorf("busy for %v s, want %v", got, total)
			}
		}
	})
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	for _, s := range []*Station{NewPS(4, 1), NewFCFS(4, 1)} {
		work := churn(s, 64)
		if got := testing.AllocsPerRun(1000, work); got != 0 {
			t.Errorf("%v allocations for each request, want 0", got)
		}
	}
}

// churn keeps n requests present and returns what replaces one.
func churn(s *Station, n int) func() {
	rng := rand.New(rand.NewPCG(1, 2))
	id := uint64(0)
	for range n {
		id++
		s.Arrive(0, id, rng.ExpFloat64())
	}
	return func() {
		at, _ := s.Next()
		s.Finish(at)
		id++
		s.Arrive(at, id, rng.ExpFloat64())
	}
}

func BenchmarkRequest(b *testing.B) {
	for _, n := range []int{4, 64, 4096} {
		b.Run(fmt.Sprintf("ps/%d", n), func(b *testing.B) {
			replace := churn(NewPS(4, 1), n)
			for b.Loop() {
				replace()
			}
		})
	}
}

func ExampleStation() {
	s := NewPS(1, 1)
	s.Arrive(0, 7, 1)
	s.Arrive(balance.Instant(500*time.Millisecond), 8, 1)
	for at, ok := s.Next(); ok; at, ok = s.Next() {
		for job, ok := s.Finish(at); ok; job, ok = s.Finish(at) {
			fmt.Println(job, time.Duration(at))
		}
	}
	// Output:
	// 7 1.5s
	// 8 2s
}

func limited(s *Station) *Station {
	s.SetQuota(0, 100*time.Millisecond, 2, instant(.1))
	return s
}

func TestQuotaComesInLumps(t *testing.T) {
	for _, test := range []struct {
		name     string
		station  *Station
		arrivals []arrival
		want     []float64
	}{
		{"twice as fast, half of the time", limited(NewPS(1, 1)), []arrival{{0, 1}}, []float64{.95}},
		{"a short one sees no limit", limited(NewPS(1, 1)), []arrival{{.3, .08}}, []float64{.34}},
		{"the share is of all slots", limited(NewPS(2, 1)), []arrival{{0, .2}}, []float64{.1}},
		{"two use it up together", limited(NewPS(2, 1)), []arrival{{0, .15}, {0, .15}}, []float64{.125, .125}},
		{"in order", limited(NewFCFS(1, 1)), []arrival{{.05, .2}, {.05, .1}}, []float64{.15, .25}},
		{"idle through whole periods", limited(NewPS(1, 1)), []arrival{{0, .1}, {1.03, .1}}, []float64{.05, 1.08}},
	} {
		got := run(test.station, test.arrivals)
		for i := range got {
			if math.Abs(got[i]-test.want[i]) > 1e-6 {
				t.Errorf("%s: got %v, want %v", test.name, got, test.want)
				break
			}
		}
	}
	s := limited(NewPS(2, 1))
	for job := range 5 {
		s.Arrive(0, uint64(job), 1)
	}
	for i, want := range []float64{0, .2, .2, .4, .4} {
		if got := s.CPU(instant(.05 * float64(i))); math.Abs(got-want) > 1e-6 {
			t.Errorf("CPU time at %d ms: %v, want %v", 50*i, got, want)
		}
	}
}
