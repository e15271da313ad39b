package master

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// twoPools is a config of pools web and other, which have the same servers of one slot.
func twoPools(ids ...balance.ServerID) Config {
	cfg := web(ids...)
	for i := range cfg.Pools[0].Servers {
		cfg.Pools[0].Servers[i].Slots = 1
	}
	other := cfg.Pools[0]
	other.Name, other.Servers = "other", slices.Clone(other.Servers)
	for i := range other.Servers {
		other.Servers[i].ID = "other-" + other.Servers[i].ID
	}
	cfg.Pools = append(cfg.Pools, other)
	return cfg
}

// elsewhere returns how many leases of other pools each pool sees on the server that it has.
func (r *rig) elsewhere(pool string) (n int) {
	p := r.poolNamed(pool)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, v := range p.core.Views(clock.Now()) {
		n += v.Elsewhere
	}
	return n
}

// A request of one pool that ends is a free slot for those that wait in another, in turns even if the first has more that wait.
func TestPoolsThatShareAServerTakeTurns(t *testing.T) {
	r := start(t, twoPools("a"))
	e := r.dialEdge("e1")
	held := e.occupy()
	for seq, pool := range []string{"web", "web", "web", "other", "other"} {
		e.ask(wire.Ask{Seq: uint64(seq), Pool: pool})
		e.queued()
	}
	names := [...]string{"web", "web", "web", "other", "other"}
	last, got := "web", []string(nil)
	for range names {
		e.send(&wire.Done{Pool: last, Lease: held})
		g := e.granted()
		last, held = names[g.Seq], g.Grant.Lease
		got = append(got, last)
	}
	if want := []string{"other", "web", "other", "web", "web"}; !slices.Equal(got, want) {
		t.Errorf("served in the order %q, want %q", got, want)
	}
	if n := r.elsewhere("other"); n != 1 || r.elsewhere("web") != 0 {
		t.Errorf("pool other sees %d requests of others and web %d, want 1 and 0", n, r.elsewhere("web"))
	}
}

// An ask that comes with the word of an end does not go before those that wait in the other pool.
func TestAnAskDoesNotPassTheOtherPoolsQueue(t *testing.T) {
	r := start(t, twoPools("a"))
	e := r.dialEdge("e1")
	held := e.occupy()
	e.ask(wire.Ask{Seq: 1, Pool: "other"})
	e.queued()
	both := (&wire.Done{Pool: "web", Lease: held}).Append(nil)
	ask := wire.Ask{Seq: 2, Pool: "web"}
	e.write(ask.Append(both, clock.Now()))
	for {
		kind, payload, err := e.next()
		if err != nil {
			t.Fatal(err)
		}
		if kind == wire.TQueued {
			continue // ask 2 is
		}
		var g grantedNow
		if err := g.Decode(payload); err != nil || kind != wire.TGranted || g.Seq != 1 {
			t.Errorf("got a %s for ask %d, %v; want ask 1 granted, which has waited", kind, g.Seq, err)
		}
		return
	}
}

// Many goroutines ask in pools that are given one lock meanwhile; no server of one slot with a cap gets two requests.
func TestPoolsAreJoinedWhileTheyServe(t *testing.T) {
	cfg := twoPools("a", "b")
	both := cfg.Pools[1].Servers
	cfg.Pools[1].Servers = []balance.ServerSpec{{ID: "x", Address: "x.test:80"}}
	for i := range cfg.Pools {
		cfg.Pools[i].QueueSize, cfg.Pools[i].MaxInFlight, cfg.Pools[i].Grace = 100, 1, time.Millisecond
	}
	r := start(t, cfg)
	eventually(t, "requests are placed", func() bool {
		l := r.Edge("first")
		g, err := l.Pick(context.Background(), "web", &balance.Request{})
		if err == nil {
			l.Done("web", g.Lease, balance.Outcome{})
		}
		return err == nil
	})
	next := cfg
	next.Pools = slices.Clone(cfg.Pools)
	next.Pools[1].Servers = append(slices.Clone(both), cfg.Pools[1].Servers...)
	var all sync.WaitGroup
	for i := range 8 {
		pool := []string{"web", "other"}[i%2]
		all.Go(func() {
			l := r.Edge(balance.EdgeID(fmt.Sprint("e", i)))
			for range 200 {
				g, err := l.Pick(context.Background(), pool, &balance.Request{})
				if err != nil {
					t.Error(err)
					return
				}
				l.Done(pool, g.Lease, balance.Outcome{Duration: time.Microsecond})
			}
		})
	}
	for range 3 {
		if err := r.Reload(next); err != nil {
			t.Error(err)
		}
		if err := r.Reload(cfg); err != nil {
			t.Error(err)
		}
	}
	all.Wait()
	if err := r.Reload(next); err != nil {
		t.Fatal(err)
	}
	l, g := r.Edge("e"), make([]balance.Grant, 2)
	for i := range g {
		var err error
		if g[i], err = l.Pick(context.Background(), "web", &balance.Request{}); err != nil {
			t.Fatal(err)
		}
	}
	if grant, err := l.Pick(context.Background(), "other", &balance.Request{}); err != nil || grant.Server != "x" {
		t.Errorf("pool other gives %s, %v; want x, the only server that web has not filled", grant.Server, err)
	}
}

// An order of an operator holds in all pools of the server, unless it is to hold in one.
func TestADrainHoldsInAllPools(t *testing.T) {
	r := start(t, twoPools("a", "b"))
	a := newAPI(t, r.Master)
	state := func(pool string, id balance.ServerID) balance.State {
		p := r.poolNamed(pool)
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, v := range p.core.Views(clock.Now()) {
			if v.Spec.ID == id {
				return v.State
			}
		}
		return balance.Gone
	}
	_, answer, _ := a.call("POST", "/v1/pools/other/servers/other-a/drain", `{"reason":"disk"}`)
	if got := fmt.Sprint(answer["also"]); got != "[map[pool:web server:a]]" {
		t.Errorf("also drained: %s, want server a of pool web", got)
	}
	if w, o := state("web", "a"), state("other", "other-a"); w != balance.Draining || o != balance.Draining {
		t.Errorf("the server is %s in pool web and %s in other, want drained in both", w, o)
	}
	a.call("POST", "/v1/pools/web/servers/a/undrain", `{"only_here":true}`)
	if w, o := state("web", "a"), state("other", "other-a"); w != balance.Up || o != balance.Draining {
		t.Errorf("the server is %s in pool web and %s in other, want up in web alone", w, o)
	}
}

// The API tells whose requests are at a server.
func TestTheAPITellsOtherPoolsRequests(t *testing.T) {
	r := start(t, twoPools("a"))
	if _, err := r.Edge("e").Pick(context.Background(), "web", &balance.Request{}); err != nil {
		t.Fatal(err)
	}
	_, body, _ := newAPI(t, r.Master).call("GET", "/v1/pools/other", "")
	s := body["servers"].([]any)[0].(map[string]any)
	if s["in_flight"] != 0. || s["other_pools_in_flight"] != 1. || fmt.Sprint(s["other_pools"]) != "[web]" {
		t.Errorf("the server has in_flight %v, other_pools_in_flight %v and other_pools %v, want 0, 1 and web", s["in_flight"], s["other_pools_in_flight"], s["other_pools"])
	}
	_, body, _ = newAPI(t, r.Master).call("POST", "/v1/pools/other/explain", "{}")
	if c := candidate(body, 0); c["other_pools_in_flight"] != 1. || c["load"] != 1. {
		t.Errorf("the explanation says load %v, other_pools_in_flight %v, want 1 and 1", c["load"], c["other_pools_in_flight"])
	}
}

// The edges of all pools share the cap of a server while no master answers.
func TestEdgesOfAllPoolsShareACap(t *testing.T) {
	cfg := twoPools("a")
	for i := range cfg.Pools {
		cfg.Pools[i].Servers[0].MaxInFlight, cfg.Pools[i].Grace = 1, time.Millisecond
	}
	r := start(t, cfg)
	one, two := r.dialEdge("e1"), r.dialEdge("e2")
	two.send(&wire.Watch{Pool: "other"})
	two.sync()
	one.send(&wire.Watch{Pool: "web"})
	names := []balance.EdgeID{"e1", "e2"}
	for {
		kind, payload, err := one.next()
		if err != nil {
			t.Fatal(err)
		}
		var sharers []balance.EdgeID
		switch kind {
		case wire.TSnapshot:
			var m wire.Snapshot
			err = m.Decode(payload)
			sharers = m.Snapshot.Sharers
		case wire.TChange:
			var m wire.Change
			err = m.Decode(payload)
			sharers = m.Sharers
		}
		if err != nil {
			t.Fatal(err)
		}
		if slices.Equal(sharers, names) {
			return
		}
	}
}

// A pool that has been removed does not count any more, and leaves the group of those with which it shared servers.
func TestARemovedPoolSharesNothing(t *testing.T) {
	r := start(t, twoPools("a"))
	cfg := twoPools("a")
	l := r.Edge("e")
	g, err := l.Pick(context.Background(), "other", &balance.Request{})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Pools = cfg.Pools[:1]
	if err := r.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if n := r.elsewhere("web"); n != 1 {
		t.Errorf("a pool that is being removed counts for %d requests, want 1 until it ends", n)
	}
	l.Done("other", g.Lease, balance.Outcome{})
	eventually(t, "the pool is gone", func() bool { return r.poolNamed("other") == nil })
	if n := r.elsewhere("web"); n != 0 {
		t.Errorf("a pool that is gone counts for %d requests", n)
	}
	eventually(t, "pool web is alone", func() bool { return len(r.poolNamed("web").mu.group.Load().pools) == 1 })
}

// Addresses that no pool has any more are forgotten, when there are many; those that are about to come are not.
func TestAddressesOfServersAreForgotten(t *testing.T) {
	r := start(t, twoPools("a"))
	p := r.poolNamed("web")
	s := &r.shared
	for i := range 2 * fewAddresses {
		s.add(clock.Now().Add(-2*comingFor), p, fmt.Sprintf("gone%d.test:80", i))
	}
	s.add(clock.Now(), p, "coming.test:80")
	r.sweepShared()
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.byAddress); n != 2 || s.byAddress["a.test:80"] == nil || s.byAddress["coming.test:80"] == nil {
		t.Errorf("%d addresses are kept, want that of the server and the one that is about to come", n)
	}
}

// Pools of a large file find the servers that they share, however many there are.
func TestManyServersAreShared(t *testing.T) {
	var ids []balance.ServerID
	for i := range 2 * fewAddresses {
		ids = append(ids, balance.ServerID(fmt.Sprint("s", i)))
	}
	r := start(t, twoPools(ids...))
	for _, name := range []string{"web", "other"} {
		p := r.poolNamed(name)
		p.mu.Lock()
		for _, v := range p.core.Views(clock.Now()) {
			if len(v.Pools) != 1 {
				t.Errorf("server %s of pool %s stands in pools %q, want one more", v.Spec.ID, name, v.Pools)
				break
			}
		}
		p.mu.Unlock()
	}
}
