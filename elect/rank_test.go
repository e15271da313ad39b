package elect

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"
)

// A master that knows servers of a pool comes before one that edges reach, and both before the pool's own order of masters.
func TestWhichMasterComesFirst(t *testing.T) {
	ids := []string{"a", "b"}
	if weight("pool", "a") < weight("pool", "b") {
		slices.Reverse(ids) // the first is first by the pool's order
	}
	lacks := []string{"pool"}
	for what, c := range map[string]struct {
		first, second Candidate
	}{
		"by the pool's order":                          {Candidate{ID: ids[0]}, Candidate{ID: ids[1]}},
		"both lack the pool":                           {Candidate{ID: ids[0], Lacks: lacks}, Candidate{ID: ids[1], Lacks: lacks}},
		"both are short of edges":                      {Candidate{ID: ids[0], short: true}, Candidate{ID: ids[1], short: true}},
		"it lacks another pool":                        {Candidate{ID: ids[0], Lacks: []string{"other"}}, Candidate{ID: ids[1]}},
		"it knows servers":                             {Candidate{ID: ids[1]}, Candidate{ID: ids[0], Lacks: lacks}},
		"edges reach it":                               {Candidate{ID: ids[1]}, Candidate{ID: ids[0], short: true}},
		"to know servers is more than to have edges":   {Candidate{ID: ids[1], short: true}, Candidate{ID: ids[0], Lacks: lacks}},
		"a later life of the same name has its weight": {Candidate{ID: ids[0] + LifeMark + "9"}, Candidate{ID: ids[1] + LifeMark + "0"}},
		"among lives of a master the id decides":       {Candidate{ID: ids[0] + LifeMark + "0"}, Candidate{ID: ids[0] + LifeMark + "1"}},
	} {
		if compare("pool", "pool", c.first, c.second) >= 0 || compare("pool", "pool", c.second, c.first) <= 0 || compare("pool", "pool", c.first, c.first) != 0 {
			t.Errorf("%s: %s does not come before %s", what, c.first.ID, c.second.ID)
		}
		all := []Candidate{c.second, c.first}
		if got := before("pool", "pool", c.first, all); len(got) != 0 {
			t.Errorf("%s: %v come before the first", what, got)
		}
		if got := before("pool", "pool", c.second, all); len(got) != 1 || got[0].ID != c.first.ID {
			t.Errorf("%s: %v come before the second", what, got)
		}
	}
}

// Pools spread over masters of like names, those of a lost one over all others, and each has one order whichever master asks.
func TestPoolsSpreadByTheirOrder(t *testing.T) {
	const masters, pools = 5, 1000
	var all []Candidate
	for i := range masters {
		all = append(all, Candidate{ID: fmt.Sprintf("master-%d", i)})
	}
	var pairs [masters][masters]int // first and second
	for p := range pools {
		pool := fmt.Sprintf("pool-%d", p)
		last := slices.MaxFunc(all, func(a, b Candidate) int { return compare(pool, pool, a, b) })
		order := append(before(pool, pool, last, all), last)
		for i := range order {
			got := before(pool, pool, order[i], all)
			if !slices.EqualFunc(got, order[:i], func(a, b Candidate) bool { return a.ID == b.ID }) {
				t.Fatalf("%s: %v come before %s, want %v", pool, got, order[i].ID, order[:i])
			}
		}
		pairs[order[0].ID[len("master-")]-'0'][order[1].ID[len("master-")]-'0']++
	}
	for i := range pairs {
		for j, n := range pairs[i] {
			if fair := pools / masters / (masters - 1); i != j && (n < fair/2 || n > 2*fair) || i == j && n != 0 {
				t.Errorf("%d pools go from master %d to %d, want about %d", n, i, j, fair)
			}
		}
	}
}

// A master that has fewer edges than another is short once that has lasted; as soon as it has as many it is not, and the time begins again.
func TestWhichMastersEdgesDoNotReach(t *testing.T) {
	h := newHost()
	h.setEdges(2)
	e := New(Config{Self: Candidate{ID: "self"}, TTL: ttl, Pools: func() []string { return nil }, Log: slog.New(slog.DiscardHandler)}, nil, h)
	now := time.Now()
	note := func(ago time.Duration, edges int) {
		e.compareEdges(now.Add(-ago), []Candidate{{ID: "self", Edges: 9}, {ID: "other", Edges: edges}})
	}
	short := func() (ids []string) {
		for _, m := range e.judged([]Candidate{{ID: "self"}, {ID: "other"}}) {
			if m.short {
				ids = append(ids, m.ID)
			}
		}
		return ids
	}
	note(time.Minute, 1)
	if note(0, 1); !slices.Equal(short(), []string{"other"}) {
		t.Errorf("after a minute with fewer edges: %v are short", short())
	}
	note(0, 2)
	if note(-time.Hour, 1); len(short()) != 0 { // however slow the machine is, that is no time ago
		t.Errorf("it had as many a moment ago, and %v are short", short())
	}
	note(0, 2)
	note(time.Minute, 3)
	if note(0, 3); !slices.Equal(short(), []string{"self"}) {
		t.Errorf("with fewer edges than another: %v are short", short())
	}
}
