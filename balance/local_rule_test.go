package balance

import (
	"fmt"
	"testing"
	"time"
)

// From which trip on edges choose for themselves: where an ask costs a tenth of the work, or as much as all edges' requests being
// known wins, whichever is more.
func TestFromWhichTripEdgesChoose(t *testing.T) {
	for _, c := range []struct {
		name        string
		edges       int
		busy        float64
		slots       float64 // of each of four servers
		work        time.Duration
		least, most time.Duration
	}{
		{"one edge sees all itself", 1, .9, 1, 100 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond},
		{"nothing to win where servers are idle", 8, .01, 1, 100 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond},
		{"never below the least", 8, .01, 1, time.Millisecond, LeastLocal, LeastLocal},
		{"busy servers of one slot", 8, .9, 1, 100 * time.Millisecond, 300 * time.Millisecond, time.Second},
		{"busier than that is as busy", 8, 1, 1, 100 * time.Millisecond, 600 * time.Millisecond, 2 * time.Second},
		{"many slots", 8, .9, 64, 100 * time.Millisecond, 10 * time.Millisecond, 10 * time.Millisecond},
		{"two edges see more of it each", 2, .9, 1, 100 * time.Millisecond, 100 * time.Millisecond, 299 * time.Millisecond},
	} {
		w := newWard(t, Config{}, "a")
		for i := range c.edges {
			w.p.edge(EdgeID(fmt.Sprint("e", i)))
		}
		w.p.edge("gone")
		w.p.edges[w.p.edgeNo["gone"]].gone = true
		w.p.takes(c.work, time.Microsecond)
		w.p.local.busy = c.busy
		got := w.p.worthAsking(&localTotals{servers: 4, slots: 4 * c.slots})
		if got < c.least || got > c.most {
			t.Errorf("%s: from %v, want %v to %v", c.name, got, c.least, c.most)
		}
	}
}

// What has every edge ask: what only the master knows or promises.
func TestWhatHasEdgesAsk(t *testing.T) {
	plain := func() localTotals { return localTotals{servers: 4, present: 1, busy: 1, slots: 16, limits: 16} }
	for _, c := range []struct {
		name string
		with func(*Pool, *localTotals)
		want bool
	}{
		{"nothing", nil, true},
		{"a promise", func(p *Pool, _ *localTotals) { p.local.plain = false }, false},
		{"no server is up", func(_ *Pool, l *localTotals) { l.servers = 0 }, false},
		{"a server is special", func(_ *Pool, l *localTotals) { l.special = true }, false},
		{"too little is learnt", func(p *Pool, _ *localTotals) { p.times.weight = localAnswers - 1 }, false},
		{"requests wait", func(p *Pool, _ *localTotals) { p.queue.length = 1 }, false},
		{"nearly all room is used", func(_ *Pool, l *localTotals) { l.present = localRoom * l.limits }, false},
		{"much room is used", func(_ *Pool, l *localTotals) { l.present = localRoom*l.limits - 1 }, true},
	} {
		w := newWard(t, Config{}, "a")
		w.p.takes(100*time.Millisecond, time.Microsecond)
		w.p.times.weight = localAnswers
		w.p.local.plain = true
		totals := plain()
		if c.with != nil {
			c.with(w.p, &totals)
		}
		w.p.concludeLocal(&totals)
		if got := w.p.LocalFrom() > 0; got != c.want {
			t.Errorf("%s: edges may choose: %t, want %t", c.name, got, c.want)
		}
	}
}

// Edges are told another trip only where it is another by a fifth.
func TestTheTripIsToldWhereItChanges(t *testing.T) {
	w := newWard(t, Config{}, "a")
	w.p.edge("e")
	w.p.times.weight, w.p.times.spread, w.p.local.plain = localAnswers, 1, true
	totals := localTotals{servers: 1, slots: 4, limits: 4}
	for _, c := range []struct {
		work float64 // seconds
		want time.Duration
	}{{.1, 10 * time.Millisecond}, {.11, 10 * time.Millisecond}, {.13, 13 * time.Millisecond}, {.11, 13 * time.Millisecond}, {.1, 10 * time.Millisecond}} {
		w.p.times.usual = c.work
		if w.p.concludeLocal(&totals); w.p.LocalFrom().Round(time.Microsecond) != c.want {
			t.Errorf("work of %v s: told from %v, want %v", c.work, w.p.LocalFrom(), c.want)
		}
	}
}

// Which servers edges must not choose as their slots and service times say.
func TestWhichServersAreSpecial(t *testing.T) {
	for _, c := range []struct {
		name string
		with func(*Pool, *Server)
		want bool
	}{
		{"none", nil, false},
		{"held", func(_ *Pool, s *Server) { s.isHeld, s.held = true, hold{why: heldForFull} }, true},
		{"capped", func(_ *Pool, s *Server) { s.cap = 1000 }, true},
		{"one fault", func(_ *Pool, s *Server) { s.health.inRow = 1 }, false},
		{"two faults in a row", func(_ *Pool, s *Server) { s.health.inRow = 2 }, true},
		{"it has just said that it is full", func(_ *Pool, s *Server) { s.full = &fullness{inRow: 1} }, true},
		{"it said once that it was full", func(_ *Pool, s *Server) { s.full = new(fullness) }, false},
		{"it fails", func(_ *Pool, s *Server) { s.health.success = localSuccess - .01 }, true},
		{"it fails now and then", func(_ *Pool, s *Server) { s.health.success = localSuccess + .01 }, false},
		{"it is new", func(p *Pool, s *Server) { p.warm(s, 160*sec); p.mean = 1 }, true},
		{"it is new, and has served some already", func(p *Pool, s *Server) { p.warm(s, 160*sec); p.mean, s.granted = 1, localKnown }, false},
	} {
		w := newWard(t, Config{}, "a")
		s := w.p.byID["a"]
		if c.with != nil {
			c.with(w.p, s)
		}
		var totals localTotals
		if totals.count(w.now, w.p, s); totals.special != c.want {
			t.Errorf("%s: special %t, want %t", c.name, totals.special, c.want)
		}
	}
	w := newWard(t, Config{}, "a")
	s := w.p.byID["a"]
	s.leases, s.capacity.slots, s.limit = 6, 4, 5
	var totals localTotals
	totals.count(w.now, w.p, s)
	if totals.count(w.now, w.p, s); totals.servers != 2 || totals.present != 12 || totals.busy != 8 || totals.slots != 8 || totals.limits != 10 {
		t.Errorf("two servers with 6 requests at 4 slots and a limit of 5 are counted %+v", totals)
	}
}

func TestWhichLeasesEdgesMake(t *testing.T) {
	for id, want := range map[LeaseID]bool{0: false, 1: true, MaxOwnLease: true, MaxOwnLease + 1: false} {
		if got := id.OwnLease(); got != want {
			t.Errorf("lease %s is an edge's own: %t, want %t", id, got, want)
		}
	}
}
