package sim

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/evenkeel-lb/evenkeel/balance"
)

func TestRaceAgainstSearch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 20).Draw(t, "n")
		r := newRace(n)
		times := make([]balance.Instant, n)
		for i := range times {
			times[i] = never
		}
		for range rapid.IntRange(1, 60).Draw(t, "changes") {
			i := rapid.IntRange(0, n-1).Draw(t, "i")
			times[i] = balance.Instant(rapid.IntRange(1, 9).Draw(t, "at"))
			if rapid.Bool().Draw(t, "never") {
				times[i] = never
			}
			r.set(i, times[i])
			first, at := r.first()
			if want := slices.Min(times); at != want || times[first] != want {
				t.Fatalf("%d at %d is first, want at %d", first, at, want)
			}
		}
	})
}

func TestTimersAgainstSort(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all timers
		var want []timer
		for i := range rapid.IntRange(1, 40).Draw(t, "n") {
			at := balance.Instant(rapid.IntRange(1, 9).Draw(t, "at"))
			all.set(at, sampleServer, i)
			want = append(want, timer{at: at, index: i})
		}
		slices.SortStableFunc(want, func(a, b timer) int { return int(a.at - b.at) })
		for _, w := range want {
			if got := all.take(); got.at != w.at || got.index != w.index {
				t.Fatalf("took %d at %d, want %d at %d", got.index, got.at, w.index, w.at)
			}
		}
		if all.first() != never {
			t.Error("timers are left")
		}
	})
}

func TestLane(t *testing.T) {
	l := newLane[int](5)
	next, took := 0, 0
	for now := range balance.Instant(1000) {
		for range now % 7 {
			l.send(now, next)
			next++
		}
		for l.first() <= now {
			if got := l.take(); got != took {
				t.Fatalf("took %d, want %d", got, took)
			}
			took++
		}
	}
	if l.count != next-took || took == 0 {
		t.Errorf("%d are on the way, want %d", l.count, next-took)
	}
}

func TestLRUAgainstList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 5).Draw(t, "size")
		l := newLRU(9, size)
		var kept []int32
		for _, key := range rapid.SliceOf(rapid.Int32Range(0, 8)).Draw(t, "keys") {
			at := slices.Index(kept, key)
			if got := l.touch(key); got != (at >= 0) {
				t.Fatalf("key %d: hit %v, want %v", key, got, at >= 0)
			}
			if at >= 0 {
				kept = slices.Delete(kept, at, at+1)
			}
			kept = append(kept, key)
			if len(kept) > size {
				kept = kept[1:]
			}
		}
	})
}

func TestFleetIsMixed(t *testing.T) {
	s := scenario(t, "b1-4").WithDefaults()
	fleet := s.Servers.fleet()
	count := map[Kind]int{}
	for _, k := range fleet[:20] {
		count[k]++
	}
	for _, k := range s.Servers.Kinds {
		if count[k] != 2*k.Of {
			t.Errorf("%d of twenty are %+v, want %d", count[k], k, 2*k.Of)
		}
	}
	if got := s.capacity(fleet); got != 190 {
		t.Errorf("the fleet does %v s of work a second, want 190", got)
	}
}

func TestSlowdownShare(t *testing.T) {
	s := scenario(t, "b3")
	if got := s.Slowdown.remains(); got < .766 || got > .767 {
		t.Errorf("antagonists leave %v, want (3 + .3·1.5)/4.5", got)
	}
}

// edgeOf makes a world of one edge for a peer's rules.
func edgeOf(t *testing.T, kinds ...Kind) *world {
	t.Helper()
	s := scenario(t, "b1-4").WithDefaults()
	s.Edges, s.Servers.Count, s.Servers.Kinds = 1, len(kinds), kinds
	w := newWorld(&s, 1)
	w.fleet = kinds // in this order
	return w
}

// picks lets a peer choose n times with nothing ending.
func picks(w *world, c chooser, n int) (servers []int32) {
	for range n {
		r := &request{}
		r.server = c.choose(start, 0, r)
		w.inFlight[0][r.server]++
		servers = append(servers, r.server)
	}
	return servers
}

func TestPeersRules(t *testing.T) {
	kinds := []Kind{{Of: 1, Slots: 1, Speed: 1}, {Of: 1, Slots: 2, Speed: 1}, {Of: 1, Slots: 3, Speed: 1}}
	for _, test := range []struct {
		name string
		want []int32 // how often each of the servers of weight 1, 2, 3 is chosen
		n    int
	}{
		{"haproxy-leastconn", []int32{1, 2, 3}, 6},
		{"haproxy-leastconn-unweighted", []int32{2, 2, 2}, 6},
		{"nginx-least-conn", []int32{2, 4, 6}, 12},
		{"envoy-full-scan", []int32{4, 4, 4}, 12},
		{"edge-weighted-round-robin", []int32{2, 4, 6}, 12},
		{"edge-round-robin", []int32{4, 4, 4}, 12},
	} {
		w := edgeOf(t, kinds...)
		w.choosing(test.name, 1)
		got := make([]int32, 3)
		for _, server := range picks(w, w.chooser, test.n) {
			got[server]++
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: chosen %v times, want %v", test.name, got, test.want)
		}
	}
}

// TestLeastConnTakesTiesInTurn: a server whose key changed goes behind its equals.
func TestLeastConnTakesTiesInTurn(t *testing.T) {
	w := edgeOf(t, Kind{Of: 1, Slots: 1, Speed: 1}, Kind{Of: 1, Slots: 1, Speed: 1}, Kind{Of: 1, Slots: 1, Speed: 1})
	w.choosing("haproxy-leastconn", 1)
	var order []int32
	for range 6 {
		r := &request{}
		r.server = w.chooser.choose(start, 0, r)
		order = append(order, r.server)
		w.chooser.done(start, r) // at once: all keys are equal again
	}
	if want := []int32{0, 1, 2, 0, 1, 2}; !slices.Equal(order, want) {
		t.Errorf("idle servers are taken in the order %v, want %v", order, want)
	}
}

func TestORCAWeights(t *testing.T) {
	w := edgeOf(t, Kind{Of: 1, Slots: 1, Speed: 1}, Kind{Of: 1, Slots: 1, Speed: 1})
	w.choosing("orca-round-robin", 1)
	for i := range balance.Instant(1000) {
		w.chooser.report(start, load{server: 0, rate: 10, utilization: .5, taken: i * 1e8})
		w.chooser.report(start, load{server: 1, rate: 10, utilization: .1, taken: i * 1e8})
	}
	count := [2]int{}
	for range 60 {
		count[w.chooser.choose(start+2*orcaUpdate, 0, &request{})]++
	}
	if count != [2]int{10, 50} {
		t.Errorf("chosen %v times, want [10 50]: the second does five times as much for its utilisation", count)
	}
}
