package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// The mean over any window that is remembered is what a slow count of every event gives,
// but for what lies between two marks.
func TestUsageIsThatOfTheWindow(t *testing.T) {
	const slots = 2.
	rng := rand.New(rand.NewPCG(1, 1))
	var u usage
	u.every = 500 * time.Millisecond / marksAWindow
	u.begin(second, slots)
	type span struct {
		from, to Instant
		n        float64
	}
	var all []span
	now := second
	for range 2000 {
		n, stay := float64(rng.IntN(5)), Instant(rng.Int64N(int64(40*time.Millisecond)))
		all = append(all, span{now, now + stay, n})
		now += stay
		u.step(now, n)
		if now < second.Add(3*time.Second) {
			continue
		}
		to := now - Instant(rng.Int64N(int64(50*time.Millisecond)))
		from := to.Add(-500 * time.Millisecond)
		want := 0.
		for _, s := range all {
			if overlap := min(s.to, to) - max(s.from, from); overlap > 0 {
				want += min(1, s.n/slots) * float64(overlap) / float64(to-from)
			}
		}
		got, ok := u.mean(from, to)
		if !ok || math.Abs(got-want) > .15 {
			t.Fatalf("at %v: mean from %v to %v is %.3f, %v, want %.3f", now, from, to, got, ok, want)
		}
	}
	if _, ok := u.mean(now.Add(-10*time.Second), now); ok {
		t.Error("a mean over ten seconds is known, though the marks reach back one or two")
	}
	if _, ok := u.mean(now, now); ok {
		t.Error("a mean over no time is known")
	}
}

const second = Instant(time.Second)

func TestAgreement(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, c := range []struct {
		name   string
		told   func(f float64) float64
		want   verdict
		unlike bool
	}{
		{"the same", func(f float64) float64 { return f }, agrees, false},
		{"with noise", func(f float64) float64 { return f + .1*rng.NormFloat64() }, agrees, false},
		{"constant", func(float64) float64 { return .5 }, contradict, true},
		{"unrelated", func(float64) float64 { return rng.Float64() }, contradict, true},
		{"the other way round", func(f float64) float64 { return 1 - f }, contradict, true},
		{"twice as much", func(f float64) float64 { return 2 * f }, contradict, false},
	} {
		var a agreement
		for range 100 {
			f := rng.Float64()
			a.observe(c.told(f), f, .5)
		}
		if a.verdict != c.want || a.unlike != c.unlike {
			t.Errorf("%s: verdict %d, unlike %v, want %d, %v", c.name, a.verdict, a.unlike, c.want, c.unlike)
		}
	}
	var a agreement
	for range 100 {
		a.observe(.9, 0, .5)
	}
	if a.verdict != unheard {
		t.Errorf("verdict %d on a figure that no request could be held against, want none", a.verdict)
	}
}

// lonely returns a pool of one server that is said to have ten slots.
func lonely(t *testing.T) (*Pool, *Server) {
	t.Helper()
	p := New(Config{Name: "p"}, ByScore{nothing{}}, 1)
	if err := p.Put(second, ServerSpec{ID: "a", Address: "127.0.0.1:80", Slots: 10}, true); err != nil {
		t.Fatal(err)
	}
	return p, p.byID["a"]
}

type nothing struct{}

func (nothing) Score(now Instant, s *Server) float64 { return s.Load(now) }

func (p *Pool) answer(t *testing.T, now Instant, took time.Duration) Instant {
	t.Helper()
	g, err := p.Pick(now, &Request{})
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(took)
	p.Done(now, g.Lease, Outcome{Duration: took})
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	return now
}

func report(t *testing.T, p *Pool, now Instant, name string, value float64) {
	t.Helper()
	r := Report{Server: "a", Metrics: []Metric{{Name: name, Value: value}}}
	if err := p.Report(now, &r); err != nil {
		if _, doubt := err.(*Contradiction); !doubt {
			t.Fatal(err)
		}
	}
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
}

// One answer in the time of one request alone takes a thousand foreign requests off a server,
// whether they are counted or worked out.
func TestAnAnswerRefutesForeignRequests(t *testing.T) {
	for _, count := range []float64{1000, 1e15} {
		p, s := lonely(t)
		now := second
		for range 20 {
			now = p.answer(t, now, 100*time.Millisecond)
		}
		now += 20 * second // what is known of its speed is old
		report(t, p, now, InFlight, count)
		before := s.Load(now)
		if want := min(count, mostCounted); before < .9*want {
			t.Fatalf("%v requests are reported and nothing is known, but %v believed", count, before)
		}
		now = p.answer(t, now, 100*time.Millisecond)
		if after := s.Load(now); after > 300 {
			t.Errorf("%v foreign requests are believed after an answer in b, of %v reported", after, count)
		}
		for range 12 {
			now = p.answer(t, now, 100*time.Millisecond)
		}
		if after := s.Load(now); after > 110 {
			t.Errorf("%v foreign requests are believed after 13 answers in b, of %v reported", after, count)
		}
	}
	p, s := lonely(t)
	now := second
	for range 20 {
		now = p.answer(t, now, 100*time.Millisecond)
	}
	now += 20 * second
	for range 20 {
		now += second / 10
		report(t, p, now, ApplicationUtilization, 1)
	}
	if x := s.load.x; x < 20 {
		t.Fatalf("%v foreign requests are believed of a full server with 10 slots, want more", x)
	}
	for range 12 {
		now = p.answer(t, now, 100*time.Millisecond)
	}
	if x := s.load.x; x > s.capacity.slots*1.5 {
		t.Errorf("%v foreign requests are believed of a server with 10 slots that answers in b", x)
	}
}

// A server that is believed to be full and gets nothing is tried after a while, and not again
// at once while it has that request.
func TestAFullServerIsTried(t *testing.T) {
	p, s := lonely(t)
	now := second
	for range 20 {
		now = p.answer(t, now, 100*time.Millisecond)
	}
	now += 20 * second
	full := func() {
		for range 10 {
			now += second / 10
			report(t, p, now, ApplicationUtilization, 1)
		}
	}
	full()
	if s.Load(now) < 10 {
		t.Fatalf("a full server has %v requests", s.Load(now))
	}
	now += Instant(probeAfter*float64(second)) / 2
	report(t, p, now, ApplicationUtilization, 1)
	full()
	if n := s.Load(now); n != 0 {
		t.Errorf("after more than a second without a request of ours %v requests are believed, want none: it is to be tried", n)
	}
	g, err := p.Pick(now, &Request{})
	if err != nil {
		t.Fatal(err)
	}
	if n := s.Load(now); n < 10 {
		t.Errorf("while it is tried %v requests are believed, want as many as are told", n)
	}
	p.Done(now+second, g.Lease, Outcome{Duration: time.Second}) // it was true
	if n := s.Load(now + second); n < 5 {
		t.Errorf("after a slow answer %v requests are believed, want what is told", n)
	}
}

// Slots are learnt from our own leases: what is not ours does not lift them.
func TestForeignRequestsDoNotMakeSlots(t *testing.T) {
	p, s := lonely(t)
	s.spec.Slots = 0
	p.survey(s)
	now := second
	rng := rand.New(rand.NewPCG(1, 1))
	for range 600 { // one request at a time, half of the time, on a server with one slot
		busy := 0.
		for range 5 {
			if rng.IntN(2) == 0 {
				now = p.answer(t, now, 20*time.Millisecond)
				busy += .2
			} else {
				now += second / 50
			}
		}
		report(t, p, now, CPUUtilization, busy+.3*rng.Float64())
	}
	if c, x := s.capacity.slots, s.load.x; c > 2 || x > 2 {
		t.Errorf("%v slots and %v foreign requests are believed, want one slot and next to none", c, x)
	}
}

func TestDoubtsAreToldOnceAMinute(t *testing.T) {
	p, _ := lonely(t)
	now := second
	var told []string
	for range 1300 {
		now = p.answer(t, now, 100*time.Millisecond)
		r := Report{Server: "a", Metrics: []Metric{{Name: InFlight, Value: 1e6}}}
		if err := p.Report(now, &r); err != nil {
			told = append(told, fmt.Sprint(err))
		}
	}
	if len(told) != 3 {
		t.Errorf("in 130 s %d contradictions are told, want 3: %v", len(told), told)
	}
	if d := p.Views(now)[0].Doubt; d.What != DoubtedCount || d.Told < 9e5 || d.Believed > 1000 {
		t.Errorf("the view has the doubt %+v", d)
	}
	if d := p.Explain(now, &Request{}).Candidates[0].Doubt; d.What != DoubtedCount {
		t.Errorf("the explanation has the doubt %+v", d)
	}
}

// Where our requests are few, a server that is truly full is not tried by each of them.
func TestATrulyFullServerIsTriedLessAndLess(t *testing.T) {
	p := New(Config{Name: "p"}, ByScore{nothing{}}, 1)
	for _, id := range []ServerID{"a", "b"} {
		if err := p.Put(second, ServerSpec{ID: id, Address: "127.0.0.1:80", Slots: 4}, true); err != nil {
			t.Fatal(err)
		}
	}
	now, tried := second, 0
	for range 100 { // one request in three seconds, for five minutes
		for range 6 {
			now += second / 2
			report(t, p, now, InFlight, 12)
		}
		g, err := p.Pick(now, &Request{})
		if err != nil {
			t.Fatal(err)
		}
		took := 100 * time.Millisecond
		if g.Server == "a" {
			took *= 3
			tried++
		}
		p.Done(now.Add(took), g.Lease, Outcome{Duration: took})
	}
	if tried < 2 || tried > 15 {
		t.Errorf("%d of 100 requests went to the server that others fill, want a few", tried)
	}
}
