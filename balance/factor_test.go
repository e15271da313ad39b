package balance

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// teach has the factor observe n answers of each level, the logarithms of whose times are spread normally.
func teach(f *factor, n int, deviation float64, means map[string]float64) {
	rng := rand.New(rand.NewPCG(1, 2))
	names := slices.Sorted(maps.Keys(means))
	for range n {
		for _, name := range names {
			f.observe(f.number(sec, name), means[name]+deviation*rng.NormFloat64())
		}
	}
	f.conclude()
}

func TestClassesSayWhatTheirTimesDifferBy(t *testing.T) {
	var f factor
	teach(&f, 2000, 1, map[string]float64{"page": 0, "report": math.Log(10)})
	page, report := f.number(sec, "page"), f.number(sec, "report")
	if !f.tells || math.Abs(f.effect(report)-f.effect(page)-math.Log(10)) > .2 || math.Abs(f.effect(report)+f.effect(page)) > .2 {
		t.Errorf("effects %v and %v, want them log 10 apart around zero", f.effect(page), f.effect(report))
	}
	if got := f.spread(page); math.Abs(got-math.Exp(.5)) > .2 {
		t.Errorf("the mean is %v times the median, want %v", got, math.Exp(.5))
	}
	if f.effect(0) != 0 || f.spread(0) != 1 {
		t.Error("a request of no class has an effect")
	}
}

func TestClassesThatDifferByChanceSayNothing(t *testing.T) {
	for name, means := range map[string]map[string]float64{
		"one":         {"page": 3},
		"alike":       {"page": 1, "report": 1, "batch": 1},
		"nearly":      {"page": 1, "report": 1.1},
		"few answers": {"page": 0, "report": 5},
	} {
		var f factor
		n := 1000
		if name == "few answers" {
			n = int(levelEnough) - 1
		}
		if teach(&f, n, 1, means); f.tells {
			t.Errorf("%s: levels say something", name)
		}
	}
}

// TestAClassOfFewAnswersIsBelievedLittle: beside two classes that differ, one of ten answers.
func TestAClassOfFewAnswersIsBelievedLittle(t *testing.T) {
	var f factor
	teach(&f, 500, 2, map[string]float64{"a": -.5, "b": .5})
	rare := f.number(sec, "rare")
	for range 3 {
		f.observe(rare, 4)
	}
	f.conclude()
	if e := f.effect(rare); !(e > .1 && e < 2.5) {
		t.Errorf("three answers four times above the mean have an effect of %v, want a part of it", e)
	}
}

func TestClassesForget(t *testing.T) {
	var f factor
	teach(&f, 1000, 1, map[string]float64{"a": 0, "b": 3})
	teach(&f, 2000, 1, map[string]float64{"a": 3, "b": 0})
	if a, b := f.effect(f.number(sec, "a")), f.effect(f.number(sec, "b")); a-b < 2 {
		t.Errorf("effects %v and %v after the classes have changed places, want the first larger by three", a, b)
	}
}

// TestClassesTakeBoundedMemory: names beyond mostLevels share the last level, until one has not been used for classIdle.
func TestClassesTakeBoundedMemory(t *testing.T) {
	var f factor
	for i := range 5 * mostLevels {
		n := f.number(sec, fmt.Sprint(i))
		if want := min(i+1, mostLevels); int(n) != want {
			t.Fatalf("name %d has number %d, want %d", i, n, want)
		}
	}
	if len(f.levels) != mostLevels || len(f.numbers) != mostLevels-1 {
		t.Errorf("%d levels, %d names", len(f.levels), len(f.numbers))
	}
	now := sec.Add(classIdle - time.Second)
	f.number(now, "0") // is used
	now = now.Add(time.Second)
	if n := f.number(now, "new"); n != 2 || f.levels[1].name != "new" || f.levels[1].n != 0 {
		t.Errorf("a new name has number %d, want that of the level that has not been used for longest, empty", n)
	}
	if f.number(now, "0") != 1 || f.number(now, "new") != 2 {
		t.Error("names do not keep their numbers")
	}
	if n := f.number(now, "1"); n != 3 {
		t.Errorf("the name that has lost its level has number %d, want another's that is idle", n)
	}
}

// TestWhatAClassSaysIsItsWork: requests of a pool of two servers, of which one is twice as fast; one class takes ten times as long as the other, and goes to the slow one alone.
func TestWhatAClassSaysIsItsWork(t *testing.T) {
	p := New(Config{Name: "web", QueueSize: 20, QueueWait: leastWait}, ByScore{unitScore{}}, 1)
	speeds := map[ServerID]float64{"slow": 1, "fast": 2}
	for _, id := range []ServerID{"slow", "fast"} {
		if err := p.Put(sec, ServerSpec{ID: id, Address: "127.0.0.1:1", Slots: 4}, true); err != nil {
			t.Fatal(err)
		}
	}
	now := sec
	for i := range 600 {
		req, work := Request{Class: "page"}, 10*time.Millisecond
		if i%10 == 0 {
			req, work = Request{Class: "batch"}, 100*time.Millisecond
		}
		if req.Exclude = []ServerID{"fast"}; i%2 > 0 {
			req.Exclude[0] = "slow"
		}
		g, err := p.Pick(now, &req)
		if err != nil {
			t.Fatal(err)
		}
		took := time.Duration(float64(work) / speeds[g.Server])
		now = now.Add(took)
		p.Done(now, g.Lease, Outcome{Result: OK, Duration: took})
		if err := p.Check(); err != nil {
			t.Fatal(err)
		}
	}
	z := &p.sizes
	page, batch := z.workOf(p.kindOf(now, &Request{Class: "page"})), z.workOf(p.kindOf(now, &Request{Class: "batch"}))
	if !z.pay() || math.Abs(batch/page-10) > 1 {
		t.Errorf("works %v and %v, want one ten times the other, and choices by them", page, batch)
	}
	if slow, fast := p.byID["slow"].Service(), p.byID["fast"].Service(); math.Abs(slow/fast-2) > .3 {
		t.Errorf("the servers' b are %v and %v, want one twice the other, whatever classes each has had", slow, fast)
	}
	if got, mean := z.workOf(p.kindOf(now, &Request{})), z.meanWork(); got != mean {
		t.Errorf("a request of no class has the work %v, want the mean %v", got, mean)
	}
	if !z.ages(kind{class: 1}) {
		t.Error("what is left of a request whose class takes always alike long does not fall")
	}
	z.class.levels[0].variance = 1
	if z.ages(kind{class: 1}) {
		t.Error("what is left of a request falls, though times of its class are as unequal as those of exponential work")
	}
}

// TestClassesThatDifferLittleAreCounted: where the known work differs little a choice by it would make means longer and win nothing.
func TestClassesThatDifferLittleAreCounted(t *testing.T) {
	var z sizes
	teach(&z.class, 500, .1, map[string]float64{"get": 0, "post": 1})
	for range 100 {
		z.counts(z.workOf(kind{class: 1}))
		z.counts(z.workOf(kind{class: 2}))
	}
	if z.conclude(); !z.tell() || z.pay() {
		t.Errorf("classes of 1 and e: tell %v, pay %v; want them known and not paying", z.tell(), z.pay())
	}
	teach(&z.class, 500, .1, map[string]float64{"get": 0, "post": 4})
	for range int(sizesMemory) {
		z.counts(z.workOf(kind{class: 1}))
		z.counts(z.workOf(kind{class: 2}))
	}
	if z.conclude(); !z.pay() {
		t.Error("classes of 1 and 50: a choice by work pays")
	}
}
