package elect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/logtest"
)

// In these tests a master's rounds are called one by one, in a bubble whose time moves only when the test sleeps.

// askedStore is a store that records what it is asked, and fails one call if the test says so.
type askedStore struct {
	*store
	asked []string
	fails string // the call that fails; empty: none
}

var errFails = errors.New("the store fails")

func (s *askedStore) ask(call string) error {
	s.asked = append(s.asked, call)
	if s.fails != "" && strings.HasPrefix(call, s.fails) {
		return errFails
	}
	return nil
}

func (s *askedStore) Renew(ctx context.Context, lacks []string, edges int) ([]string, error) {
	if err := s.ask("renew"); err != nil {
		return nil, err
	}
	return s.store.Renew(ctx, lacks, edges)
}

func (s *askedStore) Look(ctx context.Context) (View, error) {
	if err := s.ask("look"); err != nil {
		return View{}, err
	}
	return s.store.Look(ctx)
}

func (s *askedStore) Take(ctx context.Context, pool string) (uint64, error) {
	if err := s.ask("take " + pool); err != nil {
		return 0, err
	}
	return s.store.Take(ctx, pool)
}

func (s *askedStore) Leave(ctx context.Context, pool string) error {
	if err := s.ask("leave " + pool); err != nil {
		return err
	}
	return s.store.Leave(ctx, pool)
}

// count returns how many calls of a kind it was asked.
func (s *askedStore) count(call string) (n int) {
	for _, c := range s.asked {
		if strings.HasPrefix(c, call) {
			n++
		}
	}
	return n
}

// toldHost is a host that records what it is told.
type toldHost struct {
	*host
	told []string
}

func (h *toldHost) Lead(pool string, fence uint64) {
	h.told = append(h.told, fmt.Sprintf("lead %s %d", pool, fence))
	h.host.Lead(pool, fence)
}

func (h *toldHost) Follow(pool, id, address string) {
	h.told = append(h.told, strings.TrimSpace("follow "+pool+" "+id))
	h.host.Follow(pool, id, address)
}

func (h *toldHost) Refused(pool string, by uint64) {
	h.told = append(h.told, fmt.Sprintf("refused %s %d", pool, by))
	h.host.Refused(pool, by)
}

// take returns what the host was told since take was last called.
func (h *toldHost) take() (told []string) {
	told, h.told = h.told, nil
	return told
}

// stepped is a master whose rounds the test calls.
type stepped struct {
	*Elector
	t     *testing.T
	store *askedStore
	host  *toldHost
	log   logtest.Log
	pools []string
}

const selfID = "self" + LifeMark + "0"

func step(t *testing.T, test func(s *stepped), pools ...string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &stepped{t: t, pools: pools, host: &toldHost{host: newHost()}}
		self := Candidate{ID: selfID, Address: "self:1"}
		s.store = &askedStore{store: &store{registry: newRegistry(), self: self, had: make(map[string]bool)}}
		s.Elector = New(Config{Self: self, TTL: ttl, Pools: func() []string { return s.pools }, Log: slog.New(slog.NewTextHandler(&s.log, nil))}, s.store, s.host)
		test(s)
	})
}

// round calls a round, which must not fail.
func (s *stepped) round() {
	s.t.Helper()
	if err := s.Elector.round(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// roundFails calls a round in which a call of the store fails, and returns its error.
func (s *stepped) roundFails(call string) error {
	s.t.Helper()
	s.store.fails = call
	err := s.Elector.round(s.t.Context())
	if s.store.fails = ""; !errors.Is(err, errFails) {
		s.t.Errorf("%s fails: the round returns %v", call, err)
	}
	return err
}

// wait lets time pass.
func (s *stepped) wait(d time.Duration) { time.Sleep(d) }

// joins has another master be there for a long time, as the store shows it, and returns its id. It comes before us for the pool, or behind.
func (s *stepped) joins(pool string, before bool) (id string) {
	for i := 0; ; i++ {
		name := fmt.Sprintf("other%d", i)
		id = name + LifeMark + "0"
		if _, taken := s.store.masters[id]; !taken && (weight(s.group(pool), id) > weight(s.group(pool), selfID)) == before {
			s.store.masters[id] = time.Now().Add(time.Hour)
			return id
		}
	}
}

// leads has another master lead a pool.
func (s *stepped) leads(id, pool string) {
	s.store.revision++
	s.store.leads[pool] = Lead{Leader: Candidate{ID: id, Address: name(id) + ":1"}, Fence: Fence(s.store.gen, s.store.revision)}
}

func name(id string) string {
	c := Candidate{ID: id}
	return c.name()
}

// holds reports whether we lead exactly these pools, at the host and at the store.
func (s *stepped) holds(what string, pools ...string) {
	s.t.Helper()
	var here, there []string
	for _, pool := range s.pools {
		if s.host.fences[pool] != 0 {
			here = append(here, pool)
		}
		if s.store.registry.leads[pool].Leader.ID == selfID {
			there = append(there, pool)
		}
	}
	if !slices.Equal(here, pools) || !slices.Equal(there, pools) {
		s.t.Errorf("%s: the host leads %v, by the store %v, want %v", what, here, there, pools)
	}
}

func TestAMasterThatIsFirstTakesAtOnce(t *testing.T) {
	step(t, func(s *stepped) {
		other := s.joins("web", false)
		s.round()
		s.holds("a pool that is free", "web")
		if told := s.host.take(); !slices.Equal(told, []string{"follow web", "lead web 1"}) {
			t.Errorf("the host is told %q", told)
		}
		if s.log.Count("leading the pool") != 1 || len(s.vacant) != 0 {
			t.Errorf("%d times in the log, %d pools are vacant", s.log.Count("leading the pool"), len(s.vacant))
		}
		s.wait(ttl / 2)
		s.round()
		if told := s.host.take(); len(told) != 0 {
			t.Errorf("nothing has changed, and the host is told %q", told)
		}
		s.leads(other, "web")
		s.round()
		if told := s.host.take(); !slices.Equal(told, []string{"follow web", "follow web " + name(other)}) {
			t.Errorf("another leads: the host is told %q", told)
		}
		if s.log.Count("not leading the pool any more") != 1 {
			t.Errorf("%d times in the log that the lead is over", s.log.Count("not leading the pool any more"))
		}
		s.round()
		if told := s.host.take(); len(told) != 0 {
			t.Errorf("the leader is the same, and the host is told %q", told)
		}
	}, "web")
}

// The answer to a Take may be lost: the next look shows that the lead is ours.
func TestALeadWhoseAnswerWasLostIsFound(t *testing.T) {
	step(t, func(s *stepped) {
		s.leads(selfID, "web")
		s.round()
		s.round()
		if told := s.host.take(); !slices.Equal(told, []string{"lead web 1"}) {
			t.Errorf("the host is told %q", told)
		}
		if s.store.count("take") != 0 {
			t.Error("what is ours was taken again")
		}
	}, "web")
}

// A master that others precede leaves each of them its time, which is exact in a bubble.
func TestAMasterWaitsForThoseBeforeIt(t *testing.T) {
	const turn = ttl / patience
	for what, c := range map[string]struct {
		before int
		blank  bool
		turns  int
	}{
		"it is first":                           {0, false, 0},
		"another is before it":                  {1, false, 1},
		"two are before it":                     {2, false, 2},
		"it knows no servers":                   {0, true, 1},
		"it knows no servers, others know some": {2, true, 3},
	} {
		step(t, func(s *stepped) {
			for range c.before {
				s.joins("web", true)
			}
			s.host.setBlank(c.blank)
			s.round()
			if c.turns > 0 {
				s.wait(time.Duration(c.turns)*turn - 1)
				s.round()
				if s.store.count("take") != 0 {
					t.Errorf("%s: the pool is taken before its turn", what)
				}
				s.wait(1)
				s.round()
			}
			if s.store.count("take web") != 1 {
				t.Errorf("%s: the pool is not taken at its turn", what)
			}
		}, "web")
	}
}

// A pool whose group another leads is taken later than otherwise, one whose group we lead at once.
func TestAPoolIsTakenByWhoLeadsItsGroup(t *testing.T) {
	grouped := func(pool string) string { return pool[:1] }
	for _, ours := range []bool{true, false} {
		step(t, func(s *stepped) {
			s.cfg.Group = grouped
			other := s.joins("a2", ours) // whose order would say the opposite
			leader := other
			if ours {
				leader = selfID
			}
			s.leads(leader, "a1")
			s.round()
			if ours {
				s.holds("we lead the group", "a1", "a2")
				return
			}
			s.holds("another leads the group")
			s.wait(ttl/patience - 1)
			s.round()
			s.holds("another leads the group, and has had less than its time")
			s.wait(1)
			s.round()
			if s.store.count("take a2") != 1 {
				t.Error("the other does not take the pool in its time, and nor do we")
			}
		}, "a1", "a2")
	}
}

// What we hold of a group that another leads is left to it, what it has spurned is not.
func TestPoolsAreLeftToTheLeaderOfTheirGroup(t *testing.T) {
	step(t, func(s *stepped) {
		s.cfg.Group = func(pool string) string { return pool[:1] }
		other := s.joins("a1", false)
		s.leads(other, "a1")
		s.leads(selfID, "a2")
		s.leads(selfID, "b1")
		s.round()
		s.holds("another leads the first pool of the group", "b1")
		if s.left["a2"] != other || s.log.Count("leads another which shares servers") != 1 {
			t.Errorf("it is left to %q, %d times in the log", s.left["a2"], s.log.Count("leads another which shares servers"))
		}
		s.wait(ttl)
		s.round()
		s.holds("the other has not taken it", "a2", "b1")
		s.round()
		s.holds("it is not left to that master again", "a2", "b1")
		s.leads("gone"+LifeMark, "b0")
		s.pools = append(s.pools, "b0")
		s.round()
		s.holds("who leads the group is not there", "a2", "b1")
	}, "a1", "a2", "b1")
}

// A master that comes before us gets its pool when it has been there for a while, one a second.
func TestPoolsAreHandedOver(t *testing.T) {
	step(t, func(s *stepped) {
		s.round()
		s.holds("alone", "p", "q")
		var first string // before us for both pools
		for i := 0; first == ""; i++ {
			if id := fmt.Sprintf("other%d%s0", i, LifeMark); weight("p", id) > weight("p", selfID) && weight("q", id) > weight("q", selfID) {
				first = id
			}
		}
		s.wait(ttl)
		s.store.masters[first] = time.Now().Add(time.Hour)
		s.round()
		for range settling*rounds - 1 {
			s.wait(ttl / rounds)
			s.round()
		}
		s.holds("the other has come a moment ago", "p", "q")
		s.wait(ttl / rounds)
		s.round()
		s.holds("the other has been there for a while", "q")
		if s.left["p"] != first || s.log.Count("comes first for it") != 1 {
			t.Errorf("it is left to %q, %d times in the log", s.left["p"], s.log.Count("comes first for it"))
		}
		s.leads(first, "p")
		s.wait(time.Second - 1)
		s.store.masters[selfID] = time.Now().Add(ttl)
		s.round()
		s.holds("less than a second later", "q")
		s.wait(1)
		s.round()
		s.holds("a second later")
	}, "p", "q")
}

// A master that edges do not reach, or that knows no servers, does not wait until the other has been there for a while.
func TestAMasterThatIsOfNoUseHandsOverAtOnce(t *testing.T) {
	for what, spoil := range map[string]func(s *stepped, other string){
		"it knows no servers": func(s *stepped, other string) { s.host.setBlank(true) },
		"edges do not reach it": func(s *stepped, other string) {
			s.store.edges[other] = 1
			s.short[selfID] = time.Now().Add(-shortAfter)
		},
	} {
		step(t, func(s *stepped) {
			s.round()
			other := s.joins("web", false)
			s.round()
			s.holds(what+", not yet", "web")
			spoil(s, other)
			s.round()
			s.holds(what)
			if s.left["web"] != other {
				t.Errorf("%s: it is left to %q, want %q", what, s.left["web"], other)
			}
		}, "web")
	}
}

// A pool that a master did not take when it was left to it stays with us as long as that master is there.
func TestAMasterThatSpurnedAPoolIsAskedAgainWhenItComesBack(t *testing.T) {
	step(t, func(s *stepped) {
		other := s.joins("web", true)
		s.leads(selfID, "web")
		s.spurned["web"] = other
		s.round()
		for range settling*rounds + 1 {
			s.wait(ttl / rounds)
			s.round()
		}
		s.holds("it has spurned the pool", "web")
		delete(s.store.masters, other)
		s.round()
		if len(s.spurned) != 0 || len(s.seen) != 1 {
			t.Errorf("it is gone, and known: spurned %v, seen %v", s.spurned, s.seen)
		}
		s.store.masters[other] = time.Now().Add(time.Hour)
		for range settling*rounds + 1 {
			s.wait(ttl / rounds)
			s.round()
		}
		s.holds("it has come back")
	}, "web")
}

// Pools of a group are handed over together, others stay.
func TestAGroupIsHandedOverTogether(t *testing.T) {
	step(t, func(s *stepped) {
		s.cfg.Group = func(pool string) string { return pool[:1] }
		s.round()
		other := s.joins("a1", true)
		s.host.setBlank(true)
		s.store.lacks[other] = []string{"b1"}
		if weight("b", other) > weight("b", selfID) {
			s.spurned["b1"] = other
		}
		s.round()
		s.holds("the other comes before us for one group", "b1")
		if s.left["a1"] != other || s.left["a2"] != other || s.left["b1"] != "" {
			t.Errorf("left: %v", s.left)
		}
	}, "a1", "a2", "b1")
}

// A store that fails says so, and what is asked for is not believed to be done.
func TestARoundTellsOfAStoreThatFails(t *testing.T) {
	step(t, func(s *stepped) {
		for _, call := range []string{"renew", "look", "take"} {
			err := s.roundFails(call)
			if len(s.host.fences) != 0 {
				t.Errorf("%s failed, and the host leads", call)
			}
			if call == "take" && err != nil && !strings.Contains(err.Error(), "pool web") {
				t.Errorf("got %v, want the pool named", err)
			}
		}
		s.round()
		s.holds("the store works again", "web")
	}, "web")
}

// A lead that is to be left is over at the host, also if the store does not hear of it.
func TestALeaveThatFailsEndsTheLeadAtTheHost(t *testing.T) {
	for what, c := range map[string]struct {
		group func(pool string) string
		want  func(s *stepped)
	}{
		"a new generation":                       {nil, func(s *stepped) { s.store.gen = 1 }},
		"a pool that is no longer named":         {nil, func(s *stepped) { s.pools = []string{"pay"} }},
		"another that comes first":               {nil, func(s *stepped) { s.joins("web", true); s.host.setBlank(true) }},
		"another that leads a pool of the group": {func(string) string { return "all" }, func(s *stepped) { s.leads(s.joins("web", false), "first"); s.pools = append(s.pools, "first") }},
	} {
		step(t, func(s *stepped) {
			s.cfg.Group = c.group
			s.round()
			s.holds(what, "web")
			c.want(s)
			s.roundFails("leave")
			if s.host.fences["web"] != 0 || s.store.count("leave") != 1 {
				t.Errorf("%s: the host leads with fence %d, %d calls", what, s.host.fences["web"], s.store.count("leave"))
			}
		}, "web")
	}
}

// What is not led cannot be lost.
func TestALostLeadThatIsNotOursIsNotTold(t *testing.T) {
	step(t, func(s *stepped) {
		s.round()
		s.host.take()
		s.drop("other", "web")
		if told := s.host.take(); !slices.Equal(told, []string{"follow web"}) {
			t.Errorf("the host is told %q", told)
		}
	}, "web")
}

// Leads are renewed when a round's time has passed since the last renewal, and what the store says is lost is lost at the host at once.
func TestLeadsAreRenewedEachRound(t *testing.T) {
	step(t, func(s *stepped) {
		s.round()
		until := s.until
		if !s.host.until.Equal(until) || time.Until(until) >= ttl || time.Until(until) <= ttl/rounds {
			t.Errorf("the leads last until %v, %v from now, of %v", until, time.Until(until), ttl)
		}
		s.wait(ttl/rounds - 1)
		s.round()
		if s.store.count("renew") != 1 || s.until != until {
			t.Errorf("renewed %d times before it was time to", s.store.count("renew"))
		}
		s.wait(1)
		s.round()
		if s.store.count("renew") != 2 || s.until.Sub(until) != ttl/rounds {
			t.Errorf("renewed %d times, for %v more", s.store.count("renew"), s.until.Sub(until))
		}
		delete(s.store.masters, selfID) // the lease is over
		delete(s.store.registry.leads, "web")
		s.host.take()
		s.wait(ttl / rounds)
		s.roundFails("look")
		if told := s.host.take(); !slices.Equal(told, []string{"follow web"}) {
			t.Errorf("the lease was lost, and the host is told %q", told)
		}
	}, "web")
}

// A round follows sooner while a pool is without a leader, and never in a rush.
func TestWhenTheNextRoundIs(t *testing.T) {
	step(t, func(s *stepped) {
		s.round()
		if got := s.next(); got != ttl/rounds {
			t.Errorf("all pools are led: the next round is in %v", got)
		}
		s.vacant["web"] = time.Now()
		if got := s.next(); got != ttl/glance {
			t.Errorf("a pool is vacant: the next round is in %v", got)
		}
		s.wait(ttl)
		if got := s.next(); got <= 0 || got >= ttl/glance {
			t.Errorf("a round is overdue: the next is in %v", got)
		}
	}, "web")
}

// What others are told that we lack is bounded, and names only pools of which the host knows no servers.
func TestWhatAMasterLacks(t *testing.T) {
	step(t, func(s *stepped) {
		for i := range mostLacks + 1 {
			s.pools = append(s.pools, fmt.Sprintf("pool-%d", i))
		}
		if got := s.lacks(); len(got) != 0 {
			t.Errorf("it knows servers of all, and lacks %d pools", len(got))
		}
		s.host.setBlank(true)
		if got := s.lacks(); !slices.Equal(got, s.pools[:mostLacks]) {
			t.Errorf("it lacks %d of %d pools, want %d", len(got), len(s.pools), mostLacks)
		}
	})
}

// Once it is told to stop, an elector asks the store for nothing but its end.
func TestAStoppedElectorAsksForNothing(t *testing.T) {
	step(t, func(s *stepped) {
		ctx, cancel := context.WithCancel(s.t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		s.wait(ttl + ttl/100) // between two rounds
		synctest.Wait()
		asked := len(s.store.asked)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if more := s.store.asked[asked:]; asked == 0 || len(more) != 0 {
			t.Errorf("after its end it asks for %q", more)
		}
		s.holds("it has stopped")
	}, "web")
}

// A call that the end of the elector breaks off is no trouble of the election.
func TestACallThatTheEndBreaksOffIsNotTold(t *testing.T) {
	step(t, func(s *stepped) {
		ctx, cancel := context.WithCancel(s.t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		s.wait(ttl / rounds / 2)
		s.store.set(true, false, 0)
		s.wait(ttl / rounds) // the call after that waits for its answer
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if s.log.Count("the election does not work") != 0 || s.log.Count("leaving the election") != 1 {
			t.Errorf("the log is:\n%s", s.log.String())
		}
	}, "web")
}

// A fence that edges have seen refuses a smaller one of ours, and no other.
func TestWhichFencesRefuseOurs(t *testing.T) {
	step(t, func(s *stepped) {
		s.round()
		s.host.take()
		own := s.host.fences["web"]
		for _, c := range []struct {
			seen uint64
			told []string
		}{
			{own - 1, nil},
			{own, nil},
			{own + 1, []string{fmt.Sprintf("refused web %d", own+1)}},
			{own + 1, nil},
			{own + 2, []string{fmt.Sprintf("refused web %d", own+2)}},
			{own, []string{"refused web 0"}},
		} {
			s.host.seen = c.seen
			s.round()
			if told := s.host.take(); !slices.Equal(told, c.told) {
				t.Errorf("our fence is %d, %d was seen: the host is told %q, want %q", own, c.seen, told, c.told)
			}
		}
		if s.log.Count("has lost data") != 2 || s.log.Count("is not refused any more") != 1 {
			t.Errorf("in the log: refused %d times, over %d times", s.log.Count("has lost data"), s.log.Count("is not refused any more"))
		}
		// A lead of an older generation is given up without being told as refused.
		s.host.seen, s.store.gen = own+1, 1
		s.round()
		if s.log.Count("has lost data") != 2 {
			t.Error("a lead that is given up is told as refused")
		}
		s.round()
		if got := s.host.fences["web"]; Generation(got) != 1 {
			t.Errorf("taken again with fence %d, want one of generation 1", got)
		}
	}, "web")
}

// What was refused is not when the lead is over.
func TestALeadThatIsOverIsRefusedNoMore(t *testing.T) {
	step(t, func(s *stepped) {
		s.round()
		s.host.seen = s.host.fences["web"] + 1
		s.round()
		if s.host.refused() == 0 {
			t.Fatal("a lower fence is not refused")
		}
		s.leads(s.joins("web", true), "web")
		s.round()
		if by := s.host.refused(); by != 0 || len(s.Elector.refused) != 0 {
			t.Errorf("another leads, and our lead is refused by %d, known of %v", by, s.Elector.refused)
		}
	}, "web")
}

// A raise goes beyond all generations that the store, the edges or our own leads have, and not beyond the last.
func TestHowFarAGenerationIsRaised(t *testing.T) {
	for what, c := range map[string]struct {
		store, seen, held, want uint64
	}{
		"nothing is known":    {0, 0, 0, 1},
		"the store's":         {5, 0, 3, 6},
		"what edges have":     {2, 7, 3, 8},
		"our lead's":          {2, 3, 9, 10},
		"the last but one":    {0, LastGeneration - 1, 0, LastGeneration},
		"the last that it is": {0, LastGeneration, 0, 0},
		"the store's last":    {LastGeneration, 0, 0, LastGeneration},
	} {
		step(t, func(s *stepped) {
			s.store.gen, s.host.seen, s.held["web"] = c.store, Fence(c.seen, 1), Fence(c.held, 1)
			refused := c.want == c.store || c.want == 0
			if err := s.raiseNow(s.t.Context()); (err != nil) != refused || s.store.gen != c.want {
				t.Errorf("%s: got %d, %v, want %d", what, s.store.gen, err, c.want)
			}
			if got := s.log.Count("is raised"); (got == 1) == refused {
				t.Errorf("%s: %d times in the log", what, got)
			}
		}, "web")
	}
}

// Masters of two releases must agree on the order of masters, so that what it is computed from is fixed.
func TestTheOrderOfMastersIsTheSameInAllReleases(t *testing.T) {
	for pool, order := range map[string]string{"web": "m4 m2 m5 m3 m6 m1", "pay": "m1 m6 m5 m3 m4 m2", "jobs": "m2 m4 m1 m3 m6 m5"} {
		all := []string{"m1", "m2", "m3", "m4", "m5", "m6"}
		slices.SortFunc(all, func(a, b string) int { return compare(pool, pool, Candidate{ID: a}, Candidate{ID: b}) })
		if got := strings.Join(all, " "); got != order {
			t.Errorf("%s: got %s, want %s", pool, got, order)
		}
	}
}
