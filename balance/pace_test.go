package balance

import (
	"math"
	"testing"
	"time"
)

// Samples fade by e in the time of forgetting, together or bit by bit.
func TestSamplesFade(t *testing.T) {
	const rate = .1
	whole, bits := pace{weight: 8, sum: 16}, pace{weight: 8, sum: 16}
	whole.fade(10*sec, rate)
	for at := sec / 20; at <= 10*sec; at += sec / 20 {
		bits.fade(at, rate)
	}
	for name, p := range map[string]pace{"at once": whole, "bit by bit": bits} {
		if math.Abs(p.weight-8/math.E) > .01 || math.Abs(p.sum-16/math.E) > .02 || p.last != 10*sec {
			t.Errorf("%s: after the time of forgetting %+v is left of 8 samples of mean 2, want 1/e of both", name, p)
		}
	}
	if whole.observe(20*sec, 5, rate); math.Abs(whole.weight-(8/math.E/math.E+1)) > .01 || math.Abs(whole.sum-(16/math.E/math.E+5)) > .02 {
		t.Errorf("with a sample of 5 %+v", whole)
	}
}

// What is learnt of a server counts beside what is known of all as if the latter were three samples more.
func TestFewSamplesSayLittle(t *testing.T) {
	for n, want := range map[float64]float64{0: 0, 1: 1. / 4, 3: 1. / 2, 27: 9. / 10} {
		p := pace{weight: n, sum: n * 3}
		if got := p.off(2, priorWeight); !isNear(got, want) {
			t.Errorf("%v samples that are 1 off: %v is believed, want %v", n, got, want)
		}
	}
}

func TestTimesOfAPool(t *testing.T) {
	ts := times{rate: 1. / paceMemory, usual: 1, perUsual: 1}
	if got := ts.most(); got != 0 {
		t.Errorf("before any sample nearly all take less than %v s, want 0 for not known", got)
	}
	for i := range 1000 {
		took := .1
		if i%2 == 0 {
			took = .4
		}
		ts.observe(sec, took, math.Log(took))
	}
	ts.derive(1)
	if !isNear(ts.usual, .2) || !isNear(ts.perUsual, 5) || !isNear(ts.spread, 1.25) || !isNear(ts.variance(), math.Log(2)*math.Log(2)) {
		t.Errorf("times of .1 and .4: usually %v, mean %v times that, variance %v; want .2, 1.25 and %v", ts.usual, ts.spread, ts.variance(), math.Log(2)*math.Log(2))
	}
	if got := ts.most(); math.Abs(got-.8) > 1e-6 {
		t.Errorf("nearly all take less than %v, want two deviations beyond .2, .8", got)
	}
	if got := ts.likely(); got < ts.variance() || got > ts.variance()*1.01 {
		t.Errorf("a variance of %v is likely after a thousand samples of %v", got, ts.variance())
	}
	few := times{pace: pace{weight: 1}}
	if got := few.likely(); !isNear(got, priorWeight*priorVariance) {
		t.Errorf("a variance of %v is likely after one sample, want that of three samples before, %v", got, priorWeight*priorVariance)
	}
}

// What is learnt is forgotten in some seconds, where requests are long in some of these, and where they are rare not before there
// are some of each server.
func TestHowSoonTimesAreForgotten(t *testing.T) {
	learn := func(servers, n int, gap time.Duration, took float64) time.Duration {
		ts := times{rate: 1. / paceMemory, usual: 1, perUsual: 1}
		now := sec
		for range n {
			ts.observe(now, took, math.Log(took))
			ts.derive(servers)
			now = now.Add(gap)
		}
		return time.Duration(1e9 / ts.rate).Round(time.Second)
	}
	for _, c := range []struct {
		name    string
		servers int
		gap     time.Duration
		took    float64
		least   time.Duration
		most    time.Duration
	}{
		{"short and frequent", 1, time.Millisecond, .01, 5 * time.Second, 5 * time.Second},
		{"of a second", 1, time.Millisecond, 1, 20 * time.Second, 20 * time.Second},
		{"rare", 1, time.Second / 2, .01, 20 * time.Second, 30 * time.Second},
		{"rare at each of many servers", 100, time.Second / 2, .01, 60 * time.Second, 60 * time.Second},
	} {
		if got := learn(c.servers, 4000, c.gap, c.took); got < c.least || got > c.most {
			t.Errorf("%s: forgotten in %v, want %v to %v", c.name, got, c.least, c.most)
		}
	}
}

// Servers are equal where chance explains how far apart they are, less and less equal where they differ more, and not at all where
// chance cannot.
func TestHowEqualServersAre(t *testing.T) {
	for odds, want := range map[float64]float64{0: 1, 10 + equalSlack: 1, 1.25 * (10 + equalSlack): .5, 1.5 * (10 + equalSlack): 0, 1000: 0} {
		var ts times
		if ts.conclude(&poolTotals{odds: odds, timed: 10}); !isNear(ts.equal, equalErrors*want) {
			t.Errorf("ten servers, %v squared errors apart in all: within %v they are equal, want %v", odds, ts.equal, equalErrors*want)
		}
	}
	var ts times
	if ts.conclude(&poolTotals{}); ts.equal != equalErrors {
		t.Errorf("without any that is timed: within %v", ts.equal)
	}
}

// b is exactly the pool's where a server is off by no more than chance explains, and nearly what was learnt where it is far off.
func TestServiceTimeOfAServer(t *testing.T) {
	const weight = 97 // and three from before
	deviation := math.Sqrt(equalErrors * .25 / 100)
	for _, c := range []struct {
		name  string
		off   float64 // of the mean logarithm
		speed float64
		x     float64
		least float64 // of its b over the pool's
		most  float64
	}{
		{"as all", 0, 1, 0, 1, 1},
		{"by chance", .99 * deviation * 100 / weight, 1, 0, 1, 1},
		{"by chance the other way", -.99 * deviation * 100 / weight, 1, 0, 1, 1},
		{"twice as fast as declared", 0, 2, 0, .5, .5},
		{"by chance, beside others' requests", .99 * deviation, 1, 3, 1.05, 1.2},
		{"twice as slow", math.Log(2), 1, 0, 1.7, 2},
		{"twice as fast", -math.Log(2), 1, 0, .5, .6},
	} {
		p, s := limits(t, Config{}, 4)
		p.times.equal = equalErrors
		p.times.pace = pace{weight: 1e6, sum: 0}
		p.times.square, p.times.total = 1e6*.25, 1e6
		p.times.derive(1)
		s.speed = c.speed
		s.pace = pace{weight: weight, sum: weight * (c.off - math.Log(c.speed))}
		s.load = external{x: c.x, reported: sec, interval: time.Second}
		p.assess(s)
		if got := s.Service() / p.times.usual; got < c.least-1e-12 || got > c.most+1e-12 {
			t.Errorf("%s: b is %v of the pool's, want %v to %v", c.name, got, c.least, c.most)
		}
	}
}

// Of a server that has given many answers one each few milliseconds is looked at, and all of one that has given few.
func TestNotEveryAnswerOfABusyServerIsLookedAt(t *testing.T) {
	p, s := limits(t, Config{}, 4)
	p.learn(sec, s, &lease{crowd: 1}, &Outcome{Duration: time.Millisecond})
	for range 10 {
		p.learn(sec, s, &lease{crowd: 1}, &Outcome{Duration: time.Millisecond})
	}
	if !isNear(s.pace.weight, 11) {
		t.Errorf("of 11 answers %v are learnt from, want all", s.pace.weight)
	}
	s.pace.weight = paceEnough + 1
	before := s.pace.weight
	if p.learn(sec+Instant(paceEvery)-1, s, &lease{crowd: 1}, &Outcome{Duration: time.Millisecond}); s.pace.weight > before {
		t.Error("an answer is learnt from that came at once after the last")
	}
	if p.learn(sec+Instant(paceEvery), s, &lease{crowd: 1}, &Outcome{Duration: time.Millisecond}); s.pace.weight < before+.5 {
		t.Errorf("of weight %v after one more, want one more than %v", s.pace.weight, before)
	}
}

// What a request would have taken alone: beyond the slots all are slower alike.
func TestTimeAlone(t *testing.T) {
	_, s := limits(t, Config{}, 4)
	for crowd, want := range map[float64]float64{1: .1, 4: .1, 8: .05, 16: .025} {
		if got := s.alone(crowd, 100*time.Millisecond); !isNear(got, want) {
			t.Errorf("100 ms beside %v requests at 4 slots are %v s alone, want %v", crowd-1, got, want)
		}
	}
}

// The slots of a server are worked out sooner where its limit is in question: it has none and many requests, or requests wait for one that may be too low.
func TestWhenSlotsAreWorkedOutSooner(t *testing.T) {
	for _, c := range []struct {
		name  string
		set   func(p *Pool, s *Server)
		every float64
	}{
		{"usually", func(*Pool, *Server) {}, kneeEvery},
		{"no limit, some requests", func(_ *Pool, s *Server) { s.limit, s.leases = float32(math.Inf(1)), kneeCrowded-1 }, kneeEvery},
		{"no limit, many requests", func(_ *Pool, s *Server) { s.limit, s.leases = float32(math.Inf(1)), kneeCrowded }, kneeSoon},
		{"a limit, many requests", func(_ *Pool, s *Server) { s.limit, s.leases = 1000, kneeCrowded }, kneeEvery},
		{"no limit, many requests, no queue", func(p *Pool, s *Server) { s.limit, s.leases, p.queue.size = float32(math.Inf(1)), kneeCrowded, 0 }, kneeEvery},
		{"requests wait", func(p *Pool, s *Server) { s.capacity.firm, p.queue.length = true, 1 }, .5 * kneeTells},
		{"they wait for a guess", func(p *Pool, _ *Server) { p.queue.length = 1 }, kneeEvery},
		{"they wait, and times are equal", func(p *Pool, s *Server) { s.capacity.firm, p.queue.length, p.times.square = true, 1, 0 }, kneeSoon},
		{"they wait, and few times are very long", func(p *Pool, s *Server) { s.capacity.firm, p.queue.length, p.times.spread = true, 1, 100 }, kneeEvery},
	} {
		w := newWard(t, Config{QueueSize: 1}, "a")
		s := w.p.byID["a"]
		s.limit, w.p.times.weight, w.p.times.sum, w.p.times.square, w.p.times.spread = 4, 1, 0, .5, 1
		if c.set(w.p, s); !isNear(w.p.samplesToSolve(s), c.every) {
			t.Errorf("%s: after %v samples, want %v", c.name, w.p.samplesToSolve(s), c.every)
		}
	}
}

// Where servers differ far more than the samples of one do, few of its own say more than the mean of all.
func TestWhatTheMeanOfAllIsWorth(t *testing.T) {
	for _, c := range []struct {
		name           string
		squares, noise float64 // of eight servers together
		want           float64
	}{
		{"servers differ as chance would", 8, 8, priorWeight},
		{"servers may differ by chance", 15, 8, priorWeight},
		{"servers differ less than samples", 18, 8, priorWeight},
		{"servers differ three times as much as samples", 24 + 2*.8, .8, 1},
		{"servers differ six times as much", 48 + 2*.8, .8, .5},
		{"servers differ far more", 800, .8, leastWorth},
		{"equal to the last", 0, 0, priorWeight},
	} {
		ts := times{pace: pace{weight: 1e9}, square: 1e9}
		if ts.conclude(&poolTotals{squares: c.squares, noise: c.noise, paced: 8}); math.Abs(ts.worth-c.want) > 1e-6 {
			t.Errorf("%s: the mean of all is worth %v samples, want %v", c.name, ts.worth, c.want)
		}
	}
	w := newWard(t, Config{}, "a", "b")
	w.p.times.worth = 1
	if off, _ := w.p.deviation(w.p.byID["a"]); off != 0 {
		t.Fatalf("without samples a server is %v off, want 0", off)
	}
	w.p.byID["a"].pace = pace{weight: 1, sum: w.p.times.log + 2}
	if off, _ := w.p.deviation(w.p.byID["a"]); !isNear(off, 1) {
		t.Errorf("a sample that is 2 off makes a server %v off, want 1 where the mean of all is worth one sample", off)
	}
}

// A server is counted among those that differ as soon as it has samples worth counting.
func TestWhoCountsAmongThoseThatDiffer(t *testing.T) {
	w := newWard(t, Config{}, "a", "b", "c")
	w.p.times.weight, w.p.times.square, w.p.totals = 1e9, 1e9, poolTotals{}
	for id, weight := range map[ServerID]float64{"a": 4, "b": leastWorth, "c": leastWorth / 2} {
		s := w.p.byID[id]
		s.pace = pace{weight: weight, sum: 2 * weight}
		w.p.count(w.now, s)
	}
	if c := w.p.totals; c.paced != 2 || !isNear(c.squares, 8) || math.Abs(c.noise-(1./4+1/leastWorth)) > 1e-6 {
		t.Errorf("%d servers count, with squares of %v and noise of %v; want 2, 8 and %v", c.paced, c.squares, c.noise, 1./4+1/leastWorth)
	}
}
