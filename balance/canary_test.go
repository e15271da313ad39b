package balance

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// split is a pool with a canary: v carries its labels, and the others, a and b, do not.
type split struct {
	t    interface{ Fatal(...any) }
	p    *Pool
	now  Instant
	open []LeaseID
}

func newSplit(t interface{ Fatal(...any) }, cfg Config, policy Policy, part float64) *split {
	cfg.Name, cfg.Canary = "web", Canary{[]Label{{"version", "2"}}, part}
	s := &split{t: t, p: New(cfg, policy, 1), now: Instant(time.Hour)}
	for _, id := range []ServerID{"a", "b", "v"} {
		s.put(id, 100)
	}
	return s
}

// put adds a server. Those whose names begin with v are canaries, and those with x backups.
func (s *split) put(id ServerID, slots float64) {
	spec := ServerSpec{ID: id, Address: "127.0.0.1:80", Slots: slots, Labels: []Label{{"version", "1"}, {"zone", "b"}}, Backup: id[0] == 'x'}
	if id[0] == 'v' {
		spec.Labels = []Label{{"zone", "b"}, {"version", "2"}}
	}
	if err := s.p.Put(s.now, spec, true); err != nil {
		s.t.Fatal(err)
	}
	s.p.warmUntil, s.p.byID[id].warmFrom = 0, 1
	s.p.rank(s.now, s.p.byID[id])
}

// pick returns the server that a request gets; empty: none.
func (s *split) pick(req Request) ServerID {
	g, err := s.p.Pick(s.now, &req)
	if err != nil {
		return ""
	}
	s.open = append(s.open, g.Lease)
	return g.Server
}

// end ends the oldest lease.
func (s *split) end(o Outcome) {
	s.p.Done(s.now, s.open[0], o)
	s.open = s.open[1:]
}

// serve has n requests of a kind answered one after another, and returns how many of them the canaries got.
func (s *split) serve(n int, outcome func(ServerID) Outcome) (got int) {
	for range n {
		id := s.pick(Request{})
		if id == "" {
			s.t.Fatal("no server")
		}
		if id[0] == 'v' {
			got++
		}
		o := outcome(id)
		s.now = s.now.Add(o.Duration)
		s.end(o)
	}
	return got
}

// answered is an answer after 10 ms.
func answered(ServerID) Outcome { return Outcome{Duration: 10 * time.Millisecond} }

// failing is an error of the canary's servers.
func failing(id ServerID) Outcome {
	if id[0] == 'v' {
		return Outcome{Result: Fault, Status: 500, Duration: time.Millisecond}
	}
	return answered(id)
}

// Of any number of requests the canary gets its part, to one. Retries are not counted, nor are requests that name its labels.
func TestACanaryGetsItsShareOfAnyNumber(t *testing.T) {
	for _, policy := range []Policy{ByScore{byLeases{}}, firstOf{}} {
		rapid.Check(t, func(t *rapid.T) {
			part := rapid.SampledFrom([]float64{0, .001, .05, 1. / 3, .5, .9, 1}).Draw(t, "part")
			s := newSplit(t, Config{QueueSize: rapid.SampledFrom([]int{0, 10}).Draw(t, "queue"), Affinity: Affinity{Hit: .5}}, policy, part)
			n, got := 0, 0
			for range 200 {
				switch rapid.IntRange(0, 5).Draw(t, "what") {
				case 0, 1:
					if len(s.open) > 0 {
						s.end(answered(""))
					}
				case 2:
					s.pick(Request{Exclude: []ServerID{"v"}})
				case 3:
					if id := s.pick(Request{Labels: []Label{{"version", "1"}}}); id == "v" {
						t.Fatal("a request for version 1 went to version 2")
					}
				default:
					n++
					if s.pick(rapid.SampledFrom([]Request{{}, {Key: "k"}, {Labels: []Label{{"zone", "b"}}}, {Tenant: "t"}, {Link: LinkRedirect}}).Draw(t, "request")) == "v" {
						got++
					}
				}
				if off := float64(got) - float64(n)*part; math.Abs(off) >= 1 {
					t.Fatalf("of %d requests the canary got %d, its part is %v", n, got, part)
				}
				if err := s.p.Check(); err != nil {
					t.Fatal(err)
				}
			}
			if v, has := s.p.CanaryView(s.now); !has || v.Requests != uint64(n) || v.Got != uint64(got) || v.Servers != 1 || v.Held || v.Why != "" {
				t.Fatalf("told is %+v, want %d of %d requests", v, got, n)
			}
		})
	}
}

// What the canary has no room for goes to the others at once, and only three requests of it are made up for.
func TestAFullCanaryLeavesItsShareToTheOthers(t *testing.T) {
	for name, outOf := range map[string]func(*split, bool){
		"full": func(s *split, out bool) {
			s.p.byID["v"].cap = map[bool]int32{true: 0, false: noCap}[out]
			s.p.rank(s.now, s.p.byID["v"])
		},
		"draining": func(s *split, out bool) { s.p.Override(s.now, "v", Override{On: out}, s.now) },
		"ejected": func(s *split, out bool) {
			s.p.byID["v"].health.ejectedUntil = map[bool]Instant{true: s.now.Add(time.Hour), false: 0}[out]
			s.p.rank(s.now, s.p.byID["v"])
		},
	} {
		s := newSplit(t, Config{QueueSize: 10}, ByScore{byLeases{}}, .1)
		outOf(s, true)
		if got := s.serve(100, answered); got != 0 {
			t.Errorf("%s: the canary got %d requests", name, got)
		}
		if len(s.open)+s.p.Waiting() != 0 {
			t.Errorf("%s: a request waits for the canary", name)
		}
		outOf(s, false)
		if got := s.serve(100, answered); got != 10+mostDue {
			t.Errorf("%s: with room again it got %d of 100 requests, want its 10 and %d that are made up for", name, got, mostDue)
		}
	}
}

// A request that a canary has failed goes to the others, and so does one that others have failed: only the first try counts.
func TestARetryIsNotTheCanarys(t *testing.T) {
	s := newSplit(t, Config{}, ByScore{byLeases{}}, 1)
	if got := s.pick(Request{Exclude: []ServerID{"v"}}); got == "v" {
		t.Error("a request went again to the canary that had failed it")
	}
	if got := s.pick(Request{Exclude: []ServerID{"a"}}); got != "b" {
		t.Errorf("a request that a had failed went to %s, want b", got)
	}
	if got := s.pick(Request{Exclude: []ServerID{"a", "b"}}); got != "v" {
		t.Errorf("a request that all others had failed went to %q, want the canary", got)
	}
}

// The canary gets more than its share only if no other server is up; backups go before it.
func TestACanaryStandsInForNobodyWhoIsUp(t *testing.T) {
	s := newSplit(t, Config{}, ByScore{byLeases{}}, .1)
	s.p.Override(s.now, "a", Override{On: true}, s.now)
	s.p.Override(s.now, "b", Override{On: true}, s.now)
	if got := s.serve(20, answered); got != 20 {
		t.Errorf("with all others out the canary got %d of 20 requests", got)
	}
	s.put("x", 100)
	if got := s.serve(20, answered); got > 2 {
		t.Errorf("with a backup the canary got %d of 20 requests, want its share", got)
	}
}

// While the others are full, requests wait for them: the canary gets no more for it, neither do requests that ask for it have to wait.
func TestRequestsWaitForTheOthersBesideAFreeCanary(t *testing.T) {
	s := newSplit(t, Config{QueueSize: 100}, ByScore{byLeases{}}, .1)
	s.put("a", 1)
	s.put("b", 1)
	for range 2 {
		s.pick(Request{})
	}
	waits := 0
	for range 40 {
		if s.pick(Request{}) == "" {
			if _, _, refusal := s.p.Join(s.now, &Request{}); refusal != nil {
				t.Fatal(refusal)
			}
			waits++
		}
	}
	if waits != 40 {
		t.Errorf("%d of 40 requests wait, want all: the canary's turn comes with the tenth that is placed", waits)
	}
	if got := s.pick(Request{Labels: []Label{{"version", "2"}}}); got != "v" {
		t.Errorf("behind 40 that wait for others a request for the canary got %q", got)
	}
	got := map[ServerID]int{}
	for range 18 {
		s.end(answered(""))
		s.now = s.now.Add(10 * time.Millisecond)
		for _, r := range s.p.Serve(s.now, nil) {
			if r.Refusal != nil {
				t.Fatal(r.Refusal)
			}
			got[r.Grant.Server]++
			if r.Grant.Server != "v" {
				s.open = append(s.open, r.Grant.Lease)
			}
		}
	}
	if all := 2 + got["a"] + got["b"] + got["v"]; got["v"] == 0 || got["v"] != all/10 {
		t.Errorf("of %d requests that were placed the canary got %d, want each tenth", all, got["v"])
	}
	if err := s.p.Check(); err != nil {
		t.Error(err)
	}
}

// A canary that fails where the others do not is held back, tried again after five minutes, then after ten. A reload that changes
// nothing does not help it, another share does.
func TestACanaryThatFailsIsHeldBack(t *testing.T) {
	s := newSplit(t, Config{}, ByScore{byLeases{}}, .1)
	s.serve(400, answered)
	if got := s.serve(200, failing); got >= 12 || s.p.CanaryPart(s.now) != 0 {
		t.Fatalf("the canary got %d of 200 requests while it failed all, want no more than a few", got)
	}
	v, _ := s.p.CanaryView(s.now)
	if want := "version=2: 10%, held back since "; !strings.HasPrefix(v.String(), want) || !strings.Contains(v.String(), "of its requests failed, of the others' 0 %") {
		t.Errorf("told is %q, want %q and why", v.String(), want)
	}
	s.p.Configure(s.now, s.p.cfg, s.p.policy)
	if got := s.serve(100, answered); got != 0 {
		t.Errorf("held back it got %d of 100 requests", got)
	}
	if got := s.pick(Request{Labels: []Label{{"version", "2"}}}); got != "v" {
		t.Errorf("a request that asks for a canary that is held back got %q", got)
	}
	s.end(answered("v"))
	slowly := func(id ServerID) Outcome { // the one server of the canary is also ejected at each failure
		o := failing(id)
		o.Duration = 200 * time.Millisecond
		return o
	}
	for _, length := range []time.Duration{firstHeld, 2 * firstHeld, 4 * firstHeld} {
		s.now = s.p.canary.since.Add(length - time.Second)
		if got := s.serve(20, answered); got != 0 {
			t.Errorf("held back it got %d of 20 requests before %v were over", got, length)
		}
		s.now = s.p.canary.since.Add(length + time.Second)
		if got := s.serve(800, slowly); got < canaryErrors || got >= 20 || s.p.CanaryPart(s.now) != 0 {
			t.Errorf("after %v it got %d of 800 requests while it failed all, want some until it is held back", length, got)
		}
	}
	s.now = s.p.canary.until
	s.serve(10*canaryWell+100, answered)
	if s.p.canary.held != "" || s.p.canary.next != firstHeld {
		t.Errorf("after %v good answers it is still remembered that it was held back: %q", canaryWell, s.p.canary.held)
	}
	s.serve(200, failing)
	s.p.cfg.Canary.Part = .5
	s.p.Configure(s.now, s.p.cfg, s.p.policy)
	if got := s.serve(10, answered); got != 5 {
		t.Errorf("with another share it got %d of 10 requests, want 5", got)
	}
}

// Errors that all servers answer, and a few that might be chance, are not held against the canary.
func TestACanaryIsNotHeldBackForWhatAllDo(t *testing.T) {
	s := newSplit(t, Config{}, ByScore{byLeases{}}, .2)
	n := 0
	s.serve(2000, func(id ServerID) Outcome {
		if n++; n%7 == 0 { // one in seven of both
			return Outcome{Result: ClientError, Status: 404, Duration: time.Millisecond}
		}
		return answered(id)
	})
	if part := s.p.CanaryPart(s.now); part != .2 {
		t.Errorf("a canary that fails as often as the others is held back: %q", s.p.canary.held)
	}
}

// times has so many requests at once answered in each round. took returns how long one takes: i is its number, and n that of the requests at
// its server in this round.
func (s *split) times(rounds, present int, took func(id ServerID, i, n int) time.Duration) {
	for i := range rounds {
		var ids []ServerID
		at := map[ServerID]int{}
		for range present {
			id := s.pick(Request{})
			ids = append(ids, id)
			at[id]++
		}
		s.now = s.now.Add(time.Second)
		for j, id := range ids {
			s.end(Outcome{Duration: took(id, i*present+j, at[id])})
		}
	}
}

// vary makes times differ by as much as requests do.
func vary(i int, usual time.Duration) time.Duration { return usual * time.Duration(2+i*i%7) / 5 }

// A canary that takes longer is held back, one that is as fast is not, and one is not blamed for how many requests it has.
func TestACanaryThatIsSlowerIsHeldBack(t *testing.T) {
	const usual = 100 * time.Millisecond
	for _, c := range []struct {
		name string
		part float64
		took func(id ServerID, i, n int) time.Duration
		held bool

		least, most float64 // how many times as long is told
	}{
		{"twice as long", .34, func(id ServerID, i, _ int) time.Duration {
			return vary(i, usual*time.Duration(1+int(id[0])/'v'))
		}, true, 0, 0},
		{"as long", .34, func(_ ServerID, i, _ int) time.Duration { return vary(i, usual) }, false, .95, 1.05},
		{"a tenth longer", .34, func(id ServerID, i, _ int) time.Duration {
			return vary(i, usual) * time.Duration(10+int(id[0])/'v') / 10
		}, false, 1.05, 1.15},
		{"more present", .9, func(_ ServerID, i, n int) time.Duration {
			return vary(i, usual) * time.Duration(n)
		}, false, 0, 0},
	} {
		s := newSplit(t, Config{}, ByScore{byLeases{}}, c.part)
		s.times(400, 9, c.took)
		if held := s.p.CanaryPart(s.now) == 0; held != c.held {
			t.Errorf("%s: held back: %t (%q), want %t", c.name, held, s.p.canary.held, c.held)
		}
		v, _ := s.p.CanaryView(s.now)
		if c.least > 0 && !(v.Slower > c.least && v.Slower < c.most) {
			t.Errorf("%s: told is that it takes %v times as long, want %v to %v", c.name, v.Slower, c.least, c.most)
		}
		if c.held && !strings.Contains(s.p.canary.held, "its requests took ") {
			t.Errorf("%s: held back for %q", c.name, s.p.canary.held)
		}
	}
}

// What edges have chosen by themselves counts for the share.
func TestChoicesOfEdgesCountForTheShare(t *testing.T) {
	s := newSplit(t, Config{}, ByScore{byLeases{}}, .1)
	for i := range 10 {
		if err := s.p.Chosen(s.now, &Request{Edge: "e"}, LeaseID(i+1), "a"); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.pick(Request{}); got != "v" {
		t.Errorf("after ten requests for which edges chose others the next went to %s", got)
	}
	if snap := s.p.Snapshot(s.now); snap.Canary != .1 || snap.Servers[0].Kind != Ordinary || snap.Servers[2].Kind != IsCanary {
		t.Errorf("edges are told %+v", snap)
	}
}

// It is told why a server of another side is no candidate, what was special about a choice, and why a server gets little.
func TestSidesAreExplained(t *testing.T) {
	s := newSplit(t, Config{Decisions: 10}, ByScore{byLeases{}}, .5)
	s.put("x", 100)
	whys := func() string {
		text := ""
		for _, id := range []ServerID{"a", "v", "x"} {
			for _, c := range s.p.Explain(s.now, &Request{}).Candidates {
				if c.Server == id {
					text += fmt.Sprintf("%s: %s; ", id, c.Why)
				}
			}
		}
		return text + s.p.Explain(s.now, &Request{}).Note
	}
	if got, want := whys(), "a: chosen; v: a canary: not its turn; x: a backup: others can take it; "; got != want {
		t.Errorf("explained is %q, want %q", got, want)
	}
	s.pick(Request{})
	if got, want := whys(), "a: not a canary, whose turn it is; v: chosen; x: a backup: others can take it; "+byShare; got != want {
		t.Errorf("explained is %q, want %q", got, want)
	}
	s.pick(Request{})
	d := s.p.Decisions(s.now, 1)[0]
	if d.Chosen != "v" || d.Note != byShare {
		t.Errorf("kept is %+v, want the canary's turn", d)
	}
	for _, c := range d.Candidates {
		if c.Server == "a" && c.Why != "not a canary, whose turn it is" || c.Server == "x" && c.Why != "a backup: others can take it" {
			t.Errorf("kept is that %s was not chosen because: %s", c.Server, c.Why)
		}
	}
	s.p.holdCanary(s.now, "it is no good")
	if got, want := whys(), "a: chosen; v: a canary that is held back: it is no good; x: a backup: others can take it; "; !strings.HasSuffix(got, want) && got != strings.Replace(want, "chosen", "higher score", 1) {
		t.Errorf("explained is %q, want %q", got, want)
	}
	s.serve(4, answered)
	for id, want := range map[ServerID]string{"v": lossWords[lostByHolding], "x": lossWords[lostByBackup]} {
		l, _ := s.p.Losses(s.now, id)
		if !strings.Contains(fmt.Sprint(l.Lost), want) {
			t.Errorf("server %s lost %v, want some for: %s", id, l.Lost, want)
		}
	}
	if v := s.p.Views(s.now)[2]; len(v.Outages) == 0 || v.Outages[0].Kind != OutCanary {
		t.Errorf("server v has the outages %v, want that it is held back", v.Outages)
	}
	if words := OutageWords(s.p.Views(s.now)[2].Outages); !strings.Contains(words, "by the share of version=2: it is no good; tried next in ") {
		t.Errorf("told of server v is %q", words)
	}
}

// What is too little to tell anything holds no canary back.
func TestWhenACanaryIsWorse(t *testing.T) {
	answers := func(n int, log float64) (all [canaryCrowds]logs) { // alternately a little more and less
		for i := range n {
			all[2].add(log + .1*float64(i%2))
		}
		return all
	}
	for _, c := range []struct {
		name        string
		own, others results
		worse       bool
	}{
		{"all fail, the others do not", results{ended: 4, errors: 4}, results{ended: othersEnough}, true},
		{"the others are too few", results{ended: 4, errors: 4}, results{ended: othersEnough - 1}, false},
		{"three errors", results{ended: 3, errors: 3}, results{ended: 1000}, false},
		{"all fail alike", results{ended: 100, errors: 100}, results{ended: 1000, errors: 1000}, false},
		{"it fails less", results{ended: 1000, errors: 10}, results{ended: 1000, errors: 500}, false},
		{"a few more than the others", results{ended: 100, errors: 8}, results{ended: 1000, errors: 40}, false},
		{"many more than the others", results{ended: 100, errors: 20}, results{ended: 1000, errors: 40}, true},
		{"slower", results{ended: canaryTimed, times: answers(canaryTimed, 1)}, results{ended: 1000, times: answers(100, 0)}, true},
		{"slower, of one answer less", results{ended: 100, times: answers(canaryTimed-1, 1)}, results{ended: 1000, times: answers(100, 0)}, false},
		{"slower than a few", results{ended: 100, times: answers(canaryTimed, 1)}, results{ended: 1000, times: answers(likeEnough-1, 0)}, false},
		{"slower than enough", results{ended: 100, times: answers(canaryTimed, 1)}, results{ended: 1000, times: answers(likeEnough, 0)}, true},
		{"a fifth slower", results{ended: 1000, times: answers(1000, .18)}, results{ended: 1000, times: answers(1000, 0)}, false},
		{"faster", results{ended: 100, times: answers(100, -1)}, results{ended: 1000, times: answers(100, 0)}, false},
	} {
		k := canary{own: c.own, others: c.others}
		if why := k.worse(); (why != "") != c.worse {
			t.Errorf("%s: it is worse because %q, want %t", c.name, why, c.worse)
		}
	}
	busier := canary{own: results{ended: 100, times: answers(100, 1)}, others: results{ended: 1000}}
	if busier.others.times[1].n = 100; busier.worse() != "" {
		t.Error("a canary is compared with servers that had fewer requests present")
	}
	if busier.others.times = [canaryCrowds]logs{5: answers(100, 0)[2]}; busier.worse() == "" {
		t.Error("a canary is not compared with servers that had more requests present")
	}
}

func TestCrowdsOfACanary(t *testing.T) {
	for crowd, want := range map[float64]int{.5: 0, 1: 0, 1.5: 1, 2: 1, 3: 2, 4: 2, 5: 3, 64: 6, 65: 7, 1e6: 7} {
		if got := canaryCrowd(crowd); got != want {
			t.Errorf("%v requests are counted at %d, want %d", crowd, got, want)
		}
	}
}

// Times are compared at the declared speed, and beyond the declared slots by the share of them.
func TestTimesOfACanaryAreComparable(t *testing.T) {
	s := newSplit(t, Config{}, ByScore{byLeases{}}, .5)
	for _, c := range []struct {
		slots, speed, crowd float64
		want                float64
	}{{0, 0, 8, 1}, {0, 2, 8, 2}, {4, 0, 4, 1}, {4, 0, 8, .5}, {4, 2, 16, .5}} {
		spec := ServerSpec{ID: "a", Address: "127.0.0.1:80", Slots: c.slots, Speed: c.speed}
		if err := s.p.Put(s.now, spec, true); err != nil {
			t.Fatal(err)
		}
		if got := s.p.byID["a"].comparable(c.crowd, time.Second); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%+v: a second compares as %v", c, got)
		}
	}
}
