package elect

import (
	"testing"
	"testing/synctest"
	"time"
)

// A store that has lost all that it knew gives fences that were given before. Those who lead
// by them are told that they are refused; when the generation is raised all leads have
// fences that are larger than any before.
func TestAStoreThatForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRally(t, 3, 4)
		defer r.end()
		r.watch(ttl)
		highest := uint64(0)
		for range 5 { // leads move about, so that fences grow
			for _, s := range r.stores {
				s.set(true, false, 0)
				r.watch(ttl)
				s.set(false, false, 0)
			}
			r.watch(ttl)
		}
		for _, pool := range r.pools {
			highest = max(highest, r.hosts[r.leader(pool)].leads(pool))
		}
		for _, h := range r.hosts {
			if by := h.refused(); by != 0 {
				t.Errorf("refused by fence %d before anything was lost", by)
			}
			h.mu.Lock()
			h.forgot = true
			h.mu.Unlock()
		}
		r.common.mu.Lock()
		clear(r.common.masters)
		clear(r.common.leads)
		r.common.revision = 0
		r.common.mu.Unlock()
		time.Sleep(2 * ttl) // for a moment there are two leaders: of those, edges follow the one with the larger fence
		if n := r.led(); n != 4 {
			t.Fatalf("%d of 4 pools are led after the loss", n)
		}
		for _, h := range r.hosts { // their edges refuse, and say why
			h.mu.Lock()
			h.seen = highest
			h.mu.Unlock()
		}
		r.watch(ttl)
		for _, pool := range r.pools {
			if h := r.hosts[r.leader(pool)]; h.leads(pool) < highest && h.refused() != highest {
				t.Errorf("%s is led with fence %d, lower than %d, and its master is told that %d refuses it", pool, h.leads(pool), highest, h.refused())
			}
		}

		if err := r.all[0].Raise(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.watch(3 * ttl)
		for i, h := range r.hosts {
			if by := h.refused(); by != 0 {
				t.Errorf("m%d is refused by %d still", i+1, by)
			}
		}
		for _, pool := range r.pools {
			at := r.leader(pool)
			if at < 0 || r.hosts[at].leads(pool) <= highest {
				t.Errorf("%s is led by m%d, want a fence larger than %d", pool, at+1, highest)
			}
		}
	})
}

// A raise that cannot be carried out returns an error.
func TestRaiseWithoutAStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRally(t, 1, 1)
		defer r.end()
		r.watch(ttl)
		r.stores[0].set(true, false, 0)
		if err := r.all[0].Raise(t.Context()); err == nil {
			t.Error("want an error: nothing gets through to the store")
		}
	})
}

// A leader that edges cannot reach leaves its pools to one that they can, and gets none
// while that is so; a master that is the only one left leads all the same.
func TestAPoolGoesToWhomEdgesReach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRally(t, 3, 12)
		defer r.end()
		for _, h := range r.hosts {
			h.setEdges(5)
		}
		r.watch(settling*ttl + 20e9)
		lost := r.leader(r.pools[0])
		r.hosts[lost].setEdges(4)
		r.watch(shortAfter / 2)
		if r.leader(r.pools[0]) != lost {
			t.Error("the pool was left at once: an edge that reconnects would move all")
		}
		r.watch(shortAfter + 20e9) // a pool a second
		for _, pool := range r.pools {
			if at := r.leader(pool); at < 0 || at == lost {
				t.Errorf("%s is led by m%d, want another than m%d, which an edge cannot reach", pool, at+1, lost+1)
			}
		}
		for i := range r.stops {
			if i != lost {
				r.stops[i]()
			}
		}
		r.watch(3 * ttl)
		if n := r.led(); n != len(r.pools) {
			t.Errorf("the one that is left leads %d of %d pools", n, len(r.pools))
		}
	})
}
