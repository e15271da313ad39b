package balance_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/policy"
)

// farm is a pool of servers that answer after a time of their own, or not at all.
type farm struct {
	t    *testing.T
	p    *balance.Pool
	now  balance.Instant
	work map[balance.ServerID]time.Duration // absent: nothing comes from it
	open []farmed
	got  map[balance.ServerID]int
}

type farmed struct {
	lease balance.LeaseID
	over  balance.Instant
	of    balance.ServerID
}

func newFarm(t *testing.T, servers int, slots float64) *farm {
	t.Helper()
	chosen, err := policy.New(policy.Default)
	if err != nil {
		t.Fatal(err)
	}
	f := &farm{t: t, now: second, work: make(map[balance.ServerID]time.Duration), got: make(map[balance.ServerID]int),
		p: balance.New(balance.Config{Name: "web", QueueSize: 1000, QueueWait: time.Minute}, chosen, 1)}
	for i := range servers {
		id := balance.ServerID(fmt.Sprint("s", i))
		f.work[id] = 100 * time.Millisecond
		if err := f.p.Put(f.now, balance.ServerSpec{ID: id, Address: "10.0.0.1:80", Slots: slots}, true); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// run sends requests, so many a second, for a time.
func (f *farm) run(perSecond int, length time.Duration) {
	f.t.Helper()
	every := time.Second / time.Duration(perSecond)
	for end := f.now.Add(length); f.now < end; f.now = f.now.Add(every) {
		left := f.open[:0]
		for _, l := range f.open {
			if l.over > f.now {
				left = append(left, l)
				continue
			}
			f.p.Done(f.now, l.lease, balance.Outcome{Duration: f.work[l.of]})
		}
		f.open = left
		f.p.Expire(f.now)
		g, err := f.p.Pick(f.now, &balance.Request{})
		if err != nil {
			f.t.Fatal(err)
		}
		f.take(g)
	}
}

func (f *farm) take(g balance.Grant) {
	f.got[g.Server]++
	if took, answers := f.work[g.Server]; answers {
		f.open = append(f.open, farmed{g.Lease, f.now.Add(took), g.Server})
	}
}

// finish ends all requests that are answered.
func (f *farm) finish() {
	f.now = f.now.Add(time.Second)
	for _, l := range f.open {
		f.p.Done(f.now, l.lease, balance.Outcome{Duration: f.work[l.of]})
	}
	f.open = f.open[:0]
}

func (f *farm) view(id balance.ServerID) *balance.View {
	for _, v := range f.p.Views(f.now) {
		if v.Spec.ID == id {
			return &v
		}
	}
	f.t.Fatalf("no server %s", id)
	return nil
}

func (f *farm) silent(id balance.ServerID) bool {
	out := f.view(id).Outages
	return len(out) > 0 && out[0].Kind == balance.OutSilent
}

// A server that stands still gets nothing new after 5 s, but a request now and then, until it
// answers.
func TestAServerThatStandsStillGetsNothingNew(t *testing.T) {
	f := newFarm(t, 4, 100)
	f.run(40, 10*time.Second)
	delete(f.work, "s1")
	f.run(40, 6*time.Second)
	if !f.silent("s1") {
		t.Fatalf("s1 is %+v after 6 s of silence", f.view("s1").Outages)
	}
	if why := f.view("s1").Outages[0].String(); !strings.Contains(why, "nothing has come from it for 5.") && !strings.Contains(why, "nothing has come from it for 6") || !strings.Contains(why, fmt.Sprintf("with %d requests open", f.view("s1").Leases)) || !strings.Contains(why, "sign of life") {
		t.Errorf("it says %q", why)
	}
	before := f.got["s1"]
	f.run(40, 2*time.Minute)
	if got := f.got["s1"] - before; got < 1 || got > 3 {
		t.Errorf("%d requests went to s1 in two minutes of standing still, want one to three: after 15 s, 30 s more, and 60 s more", got)
	}
	f.p.Alive(f.now, "s1")
	f.work["s1"] = 100 * time.Millisecond
	before = f.got["s1"]
	f.run(40, time.Minute) // those that it never answered are over then
	if f.silent("s1") || f.got["s1"]-before < 100 {
		t.Errorf("after a sign of life s1 is silent: %v, and got %d", f.silent("s1"), f.got["s1"]-before)
	}
}

// Whatever shows that the server lives keeps it: a report of its application, a report without
// figures, an answered check. What an agent measures from outside does not.
func TestSignsOfLife(t *testing.T) {
	report := func(metrics ...balance.Metric) func(f *farm) {
		return func(f *farm) { _ = f.p.Report(f.now, &balance.Report{Server: "s1", Metrics: metrics}) }
	}
	for name, c := range map[string]struct {
		sign  func(f *farm)
		lives bool
	}{
		"nothing":         {func(*farm) {}, false},
		"a check":         {func(f *farm) { f.p.Alive(f.now, "s1") }, true},
		"no figures":      {report(), true},
		"the application": {report(balance.Metric{Name: balance.InFlight, Value: 3}), true},
		"the CPU":         {report(balance.Metric{Name: balance.CPUUtilization, Value: .1}), false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFarm(t, 4, 100)
			f.run(40, 10*time.Second)
			delete(f.work, "s1")
			for range 8 {
				f.run(40, time.Second)
				c.sign(f)
			}
			if f.silent("s1") == c.lives {
				t.Errorf("silent: %v after 8 s with a sign each second", f.silent("s1"))
			}
		})
	}
}

// Work that takes long is no standing still: where 99 of 100 requests take up to 20 s, a minute
// without an answer is nothing; nor is it where no other server answers either.
func TestLongWorkIsNotStandingStill(t *testing.T) {
	f := newFarm(t, 4, 100)
	for id := range f.work {
		f.work[id] = 20 * time.Second
	}
	f.run(2, 2*time.Minute)
	delete(f.work, "s1")
	f.run(2, time.Minute)
	if f.silent("s1") {
		t.Errorf("s1 is %+v", f.view("s1").Outages)
	}

	f = newFarm(t, 3, 100)
	f.run(40, 10*time.Second)
	clear(f.work) // a database that all need
	f.run(4, 30*time.Second)
	for id := range f.got {
		if f.silent(id) {
			t.Errorf("all stand still, and %s is %+v", id, f.view(id).Outages)
		}
	}
}

// long opens a request of an edge that lasts, on a server of its choice.
func (f *farm) long(id balance.ServerID, link balance.Link) balance.LeaseID {
	f.t.Helper()
	var others []balance.ServerID
	for other := range f.work {
		if other != id {
			others = append(others, other)
		}
	}
	g, err := f.p.Pick(f.now, &balance.Request{Edge: "e1", Link: link, Hold: time.Hour, Exclude: others})
	if err != nil || g.Server != id {
		f.t.Fatalf("got %s, %v", g.Server, err)
	}
	return g.Lease
}

// One request that lasts, and owes nothing or is merely slow, keeps no server that answers others out, though the
// occupied server has the worse score: at a few requests a second nothing goes there by score.
func TestOneIdleClientTakesNoServerOut(t *testing.T) {
	for name, c := range map[string]struct {
		link   balance.Link
		idle   bool // its edge says that the server owes nothing
		trials int  // requests that go to s0 in four minutes, about: one every five seconds while it is suspect
	}{
		"redirected":                                   {balance.LinkRedirect, false, 0},
		"an idle WebSocket":                            {balance.LinkRoute, true, 0},
		"a client that reads nothing":                  {balance.LinkRoute, true, 0},
		"an upload that takes its time":                {balance.LinkRoute, true, 0},
		"an answer that takes its time: one long poll": {balance.LinkRoute, false, 48},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFarm(t, 2, 0)
			for id := range f.work {
				f.work[id] = 5 * time.Millisecond
			}
			f.run(5, 10*time.Second)
			lease := f.long("s0", c.link)
			f.run(5, 2*time.Second)
			if c.idle {
				f.p.Owes(f.now, "e1", lease, false)
			}
			before, out := f.got["s0"], 0
			for range 20 * 60 {
				f.run(5, 200*time.Millisecond)
				if f.silent("s0") {
					out++
				}
			}
			if err := f.p.Check(); err != nil {
				t.Error(err)
			}
			if out > 0 {
				t.Errorf("s0 was silent in %d of 1200 looks", out)
			}
			if got := f.got["s0"] - before; got < c.trials*8/10 || got > c.trials {
				t.Errorf("s0 got %d requests in 4 minutes, want about %d", got, c.trials)
			}
		})
	}
}

// A server that answers nothing is found also where its clients give up, each before it could be found by
// that one's silence: in as much time as they waited. It then costs one request a trial.
func TestAServerIsSilentThoughClientsGiveUp(t *testing.T) {
	f := newFarm(t, 2, 0)
	f.run(20, 10*time.Second)
	delete(f.work, "s1")
	caught := 0
	f.now = f.now.Add(time.Second)
	wait := func(length time.Duration) {
		for end := f.now.Add(length); f.now < end; {
			g, err := f.p.Pick(f.now, &balance.Request{Edge: "e1"})
			if err != nil {
				t.Fatal(err)
			}
			if g.Server != "s1" {
				f.now = f.now.Add(100 * time.Millisecond)
				f.p.Done(f.now, g.Lease, balance.Outcome{Duration: 100 * time.Millisecond})
				continue
			}
			caught++
			f.now = f.now.Add(time.Second)
			f.p.Done(f.now, g.Lease, balance.Outcome{Result: balance.Canceled})
		}
	}
	wait(20 * time.Second)
	if !f.silent("s1") || caught > 8 {
		t.Errorf("s1 is %+v, and %d requests were caught there, want 8 at most", f.view("s1").Outages, caught)
	}
	caught = 0
	if wait(2 * time.Minute); caught < 2 || caught > 4 {
		t.Errorf("%d requests were caught in 2 minutes, want those of 2 to 4 trials", caught)
	}
	if err := f.p.Check(); err != nil {
		t.Error(err)
	}
}

// A suspect gets the next request at once, in spite of its score, and is back with the answer; it is told to be silent
// only once that has shown nothing.
func TestASuspectIsTriedByTheNextRequest(t *testing.T) {
	f := newFarm(t, 2, 0)
	f.run(20, 10*time.Second)
	f.finish()
	f.long("s0", balance.LinkRoute)
	f.work["s1"] = 0
	suspect := func() balance.Grant {
		for range 200 {
			f.now = f.now.Add(100 * time.Millisecond)
			if g, err := f.p.Pick(f.now, &balance.Request{Exclude: []balance.ServerID{"s0"}}); err == nil {
				f.p.Done(f.now, g.Lease, balance.Outcome{Duration: time.Millisecond})
			}
			d := f.p.Explain(f.now, &balance.Request{})
			g, err := f.p.Pick(f.now, &balance.Request{})
			if err != nil {
				t.Fatal(err)
			}
			if g.Server == "s0" {
				if d.Chosen != "s0" || !strings.Contains(d.Note, "it is tried: nothing had come from it for") || !strings.Contains(d.Note, fmt.Sprintf("with %d request", f.view("s0").Leases-1)) {
					t.Errorf("it was explained by %q and %q", d.Chosen, d.Note)
				}
				return g
			}
			f.p.Done(f.now, g.Lease, balance.Outcome{Duration: time.Millisecond})
		}
		t.Fatal("in 20 s no request went to s0")
		return balance.Grant{}
	}
	began := f.now
	g := suspect()
	if took := f.now.Sub(began); took < 4500*time.Millisecond || took > 6*time.Second {
		t.Errorf("it was tried after %v", took)
	}
	if f.now = f.now.Add(100 * time.Millisecond); f.silent("s0") {
		t.Error("it is silent before the trial could show anything")
	}
	if again, _ := f.p.Pick(f.now, &balance.Request{}); again.Server != "s1" {
		t.Error("two requests went there at once")
	}
	f.p.Done(f.now, g.Lease, balance.Outcome{Duration: time.Millisecond})
	if f.now = f.now.Add(time.Second); f.silent("s0") {
		t.Error("it is silent though it has answered")
	}
	suspect() // and answers nothing
	if f.now = f.now.Add(time.Second); !f.silent("s0") {
		t.Error("it is not silent after a trial that showed nothing")
	}
	// Bytes that came before the trial say nothing of it; those that came since do.
	report := func(age time.Duration) { _ = f.p.Report(f.now, &balance.Report{Server: "s0", Age: age}) }
	if report(3 * time.Second); !f.silent("s0") {
		t.Error("an old byte ended it")
	}
	if report(500 * time.Millisecond); f.silent("s0") {
		t.Error("a byte of the trial did not end it")
	}
}

// A redirected request tries nothing, for nothing of its answer passes an edge; nor is it sent to a silent server.
func TestARedirectedRequestIsNoTrial(t *testing.T) {
	f := newFarm(t, 2, 0)
	f.run(20, 10*time.Second)
	delete(f.work, "s1")
	f.run(20, 10*time.Second)
	if !f.silent("s1") {
		t.Fatalf("s1 is %+v", f.view("s1").Outages)
	}
	f.now = f.now.Add(16 * time.Second) // a trial is due
	for range 10 {
		if g, err := f.p.Pick(f.now, &balance.Request{Edge: "e1", Link: balance.LinkRedirect}); err != nil || g.Server != "s0" {
			t.Errorf("a redirected request went to %s, %v", g.Server, err)
		}
	}
	if g, err := f.p.Pick(f.now, &balance.Request{Edge: "e1"}); err != nil || g.Server != "s1" {
		t.Errorf("the trial went to %s, %v", g.Server, err)
	}
}

// A server without a free slot gets nothing new in any case and is not called silent; when a slot comes free
// without an answer, the next request tries it, and no more.
func TestAFullServerIsNotSilent(t *testing.T) {
	f := newFarm(t, 3, 2)
	f.run(20, 10*time.Second)
	f.finish()
	first := f.long("s0", balance.LinkRoute)
	f.long("s0", balance.LinkRoute)
	for range 20 {
		if f.run(20, time.Second); f.silent("s0") {
			t.Fatalf("s0, whose slots are taken, is %+v", f.view("s0").Outages)
		}
	}
	delete(f.work, "s0")
	f.p.Done(f.now, first, balance.Outcome{Result: balance.Canceled})
	before := f.got["s0"]
	f.run(20, time.Second)
	if got := f.got["s0"] - before; got != 1 {
		t.Errorf("%d requests went to the slot that came free, want one", got)
	}
}

// What a server does not owe hides nothing: beside it, one request that it owes is enough for it to be found.
func TestIdleLeasesHideNoSilence(t *testing.T) {
	f := newFarm(t, 2, 0)
	f.run(20, 10*time.Second)
	delete(f.work, "s0")
	for range 3 {
		f.p.Owes(f.now, "e1", f.long("s0", balance.LinkRoute), false)
	}
	f.p.Owes(f.now, "e2", f.long("s0", balance.LinkRoute), false) // of another edge, which has no say
	for range 80 {
		idle := f.long("s1", balance.LinkRoute)
		f.p.Owes(f.now, "e1", idle, false)
		f.run(20, 100*time.Millisecond)
		f.p.Owes(f.now, "e1", idle, true)
		f.p.Done(f.now, idle, balance.Outcome{Duration: time.Millisecond})
	}
	if !f.silent("s0") {
		t.Errorf("s0 is %+v", f.view("s0").Outages)
	}
	if err := f.p.Check(); err != nil {
		t.Error(err)
	}
}
