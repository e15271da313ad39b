package balance

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// sharers is pools that may have servers in common.
type sharers struct {
	pools []*Pool
	open  [][]LeaseID // by pool
	now   Instant
}

func newSharers(cfg Config, names ...string) *sharers {
	s := &sharers{now: Instant(time.Hour), open: make([][]LeaseID, len(names))}
	for i, name := range names {
		cfg.Name = name
		s.pools = append(s.pools, New(cfg, ByScore{nothing{}}, uint64(i+1)))
	}
	for _, p := range s.pools[1:] {
		s.pools[0].ShareWith(s.now, p)
	}
	return s
}

func (s *sharers) put(t failer, pool int, spec ServerSpec) {
	t.Helper()
	if err := s.pools[pool].Put(s.now, spec, true); err != nil {
		t.Fatal(err)
	}
}

type failer interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// putAll puts the server into all pools, by another id in each.
func (s *sharers) putAll(t failer, spec ServerSpec) {
	t.Helper()
	id := spec.ID
	for i := range s.pools {
		spec.ID = ServerID(fmt.Sprintf("%s%d", id, i))
		s.put(t, i, spec)
	}
}

func (s *sharers) pick(t failer, pool int) Grant {
	t.Helper()
	g, err := s.pools[pool].Pick(s.now, &Request{Edge: "e"})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (s *sharers) check(t failer) {
	t.Helper()
	for _, p := range s.pools {
		if err := p.Check(); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *sharers) server(pool int, id ServerID) *Server { return s.pools[pool].byID[id] }

// Each pool sees the leases of the other exactly, and its explanations tell them apart.
func TestPoolsSeeEachOthersLeases(t *testing.T) {
	s := newSharers(Config{QueueSize: 4, Decisions: 4}, "pages", "sockets")
	s.putAll(t, ServerSpec{ID: "a", Address: "10.0.0.1:80", Slots: 1})
	s.put(t, 1, ServerSpec{ID: "b", Address: "10.0.0.2:80", Slots: 1})
	first := s.pick(t, 0)
	if g := s.pick(t, 1); g.Server != "b" {
		t.Errorf("a request went to %s, which works for the other pool; want b", g.Server)
	}
	_, err := s.pools[0].Pick(s.now, &Request{Edge: "e"})
	if err == nil {
		t.Error("the only server is full, and gets a second request")
	}
	for pool, want := range []int{0, 1} {
		d := s.pools[pool].Explain(s.now, &Request{})
		i := slices.IndexFunc(d.Candidates, func(c Candidate) bool { return c.Server == ServerID(fmt.Sprintf("a%d", pool)) })
		if c := d.Candidates[i]; c.Load != 1 || c.Shared != want {
			t.Errorf("pool %d explains %v requests at the server, %v of them other pools'; want 1 and %d", pool, c.Load, c.Shared, want)
		}
	}
	if v := s.pools[1].Views(s.now)[0]; v.Leases != 0 || v.Elsewhere != 1 || v.Load != 1 || !slices.Equal(v.Pools, []string{"pages"}) {
		t.Errorf("the other pool shows %d leases of its own, %d of others, a load of %v, and pools %v", v.Leases, v.Elsewhere, v.Load, v.Pools)
	}
	s.check(t)
	s.pools[0].Done(s.now, first.Lease, Outcome{Duration: time.Millisecond})
	if n := s.server(1, "a1").Leases(); n != 0 {
		t.Errorf("the request is over, and the other pool still counts %d", n)
	}
	s.check(t)
}

// A lease that ends in one pool serves those that wait in another.
func TestAnEndServesTheOtherPoolsQueue(t *testing.T) {
	s := newSharers(Config{QueueSize: 4}, "pages", "sockets")
	s.putAll(t, ServerSpec{ID: "a", Address: "10.0.0.1:80", Slots: 1})
	g := s.pick(t, 0)
	wait, _, refusal := s.pools[1].Join(s.now, &Request{Edge: "e"})
	if refusal != nil {
		t.Fatal(refusal)
	}
	if got := s.pools[1].Serve(s.now, nil); len(got) > 0 {
		t.Fatalf("%d requests served while the server is full", len(got))
	}
	s.pools[0].Done(s.now, g.Lease, Outcome{Duration: time.Millisecond})
	if got := s.pools[1].Serve(s.now, nil); len(got) != 1 || got[0].ID != wait || got[0].Refusal != nil {
		t.Errorf("served %+v, want request %d", got, wait)
	}
	s.check(t)
}

// ServeSome gives as many servers as it is told, and the rest of the queue stays.
func TestServeSomeStops(t *testing.T) {
	s := newSharers(Config{QueueSize: 4}, "pages")
	s.put(t, 0, ServerSpec{ID: "a", Address: "10.0.0.1:80", Slots: 2})
	leases := []Grant{s.pick(t, 0), s.pick(t, 0)}
	for range 2 {
		if _, _, refusal := s.pools[0].Join(s.now, &Request{Edge: "e"}); refusal != nil {
			t.Fatal(refusal)
		}
	}
	for _, g := range leases {
		s.pools[0].Done(s.now, g.Lease, Outcome{Duration: time.Millisecond})
	}
	if got := s.pools[0].ServeSome(s.now, nil, 1); len(got) != 1 || s.pools[0].Waiting() != 1 {
		t.Errorf("%d served, %d wait, want 1 and 1", len(got), s.pools[0].Waiting())
	}
}

// Whatever happens in whichever pool, the records agree, and no cap is exceeded by all pools together.
func TestSharedServersAreCountedOnce(t *testing.T) {
	elsewhere := 0
	checkUntil(t, func() bool { return elsewhere > 0 }, func(t *rapid.T) {
		s := newSharers(Config{QueueSize: rapid.SampledFrom([]int{0, 4}).Draw(t, "queue")}, "a", "b", "c")
		address := func(n int) string { return fmt.Sprintf("10.0.0.%d:80", n) }
		caps := func(n int) int { return n } // of the server at address n
		put := func(pool, n int) {
			s.put(t, pool, ServerSpec{ID: ServerID(fmt.Sprintf("s%d", n)), Address: address(n), MaxInFlight: caps(n)})
		}
		for pool := range s.pools {
			put(pool, 1+pool%2)
		}
		draw := func(t *rapid.T) int { return rapid.IntRange(0, len(s.pools)-1).Draw(t, "pool") }
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) { put(draw(t), rapid.IntRange(1, 3).Draw(t, "server")) },
			"unname": func(t *rapid.T) {
				s.pools[draw(t)].Unname(s.now, rapid.SampledFrom([]ServerID{"s1", "s2", "s3"}).Draw(t, "server"))
			},
			"goodbye": func(t *rapid.T) { s.pools[draw(t)].Goodbye(s.now, "s2") },
			"part": func(t *rapid.T) {
				pool := draw(t)
				if s.pools[pool].Open() == 0 {
					s.pools[pool].StopSharing(s.now)
					s.pools[pool].ShareWith(s.now, s.pools[(pool+1)%len(s.pools)])
				}
			},
			"pick": func(t *rapid.T) {
				pool := draw(t)
				if g, err := s.pools[pool].Pick(s.now, &Request{Edge: rapid.SampledFrom([]EdgeID{"e", "f"}).Draw(t, "edge")}); err == nil {
					s.open[pool] = append(s.open[pool], g.Lease)
				}
			},
			"hold": func(t *rapid.T) {
				pool := draw(t)
				n := rapid.IntRange(1, 3).Draw(t, "server")
				if x := s.server(pool, ServerID(fmt.Sprintf("s%d", n))); x == nil || x.leases >= int32(caps(n)) {
					return
				}
				id := LeaseID(1<<62 + rapid.Uint64Range(1, 1<<20).Draw(t, "lease"))
				if s.pools[pool].Hold(s.now, "e", &Held{Lease: id, Server: ServerID(fmt.Sprintf("s%d", n)), Age: time.Second}) == nil && !slices.Contains(s.open[pool], id) {
					s.open[pool] = append(s.open[pool], id)
				}
			},
			"owes": func(t *rapid.T) {
				if pool := draw(t); len(s.open[pool]) > 0 {
					s.pools[pool].Owes(s.now, "e", s.open[pool][0], rapid.Bool().Draw(t, "owes"))
				}
			},
			"done": func(t *rapid.T) {
				if pool := draw(t); len(s.open[pool]) > 0 {
					s.pools[pool].Done(s.now, s.open[pool][0], Outcome{Result: Result(rapid.IntRange(0, int(Results)-1).Draw(t, "result")), Duration: time.Millisecond, Status: 503})
					s.open[pool] = s.open[pool][1:]
				}
			},
			"lost": func(t *rapid.T) {
				for _, p := range s.pools {
					p.Left(s.now, "e")
				}
				for pool, p := range s.pools {
					s.open[pool] = slices.DeleteFunc(s.open[pool], func(id LeaseID) bool { _, open := p.Lease(id); return !open })
				}
			},
			"report": func(t *rapid.T) {
				pool := draw(t)
				_ = s.pools[pool].Report(s.now, &Report{Server: "s1", Metrics: []Metric{{Name: InFlight, Value: 1}}})
			},
			"wait": func(t *rapid.T) {
				s.now = s.now.Add(time.Duration(rapid.IntRange(1, 20_000).Draw(t, "ms")) * time.Millisecond)
				for _, p := range s.pools {
					p.Expire(s.now)
				}
			},
			"": func(t *rapid.T) {
				s.check(t)
				for _, p := range s.pools {
					for _, x := range p.servers {
						elsewhere += x.Elsewhere()
						if x.cap != noCap && x.leases > int32(x.spec.MaxInFlight) {
							t.Fatalf("server %s has %d requests of all pools, its cap is %d", x.spec.ID, x.leases, x.spec.MaxInFlight)
						}
					}
				}
			},
		})
	})
}

// A cap or slots that one pool declares hold in the others; the least cap counts.
func TestWhatIsDeclaredHoldsInAllPools(t *testing.T) {
	s := newSharers(Config{QueueSize: 4}, "pages", "sockets")
	s.put(t, 0, ServerSpec{ID: "a", Address: "10.0.0.1:80", Slots: 3, MaxInFlight: 2})
	s.put(t, 1, ServerSpec{ID: "a", Address: "https://10.0.0.1:80"})
	b := s.server(1, "a")
	if slots, known := b.Slots(); slots != 3 || !known || b.declaredCap() != 2 {
		t.Errorf("the other pool takes the server to have %v slots and a cap of %d, want 3 and 2", slots, b.declaredCap())
	}
	s.put(t, 1, ServerSpec{ID: "a", Address: "10.0.0.1:80", MaxInFlight: 1})
	s.pick(t, 0)
	if _, err := s.pools[0].Pick(s.now, &Request{}); err == nil {
		t.Error("the pool with the larger cap exceeds the smaller one")
	}
	s.put(t, 1, ServerSpec{ID: "a", Address: "10.0.0.9:80"})
	if b.declaredCap() != 0 || b.Elsewhere() != 0 {
		t.Errorf("the server has another address now, and still has a cap of %d and %d requests of the other pool", b.declaredCap(), b.Elsewhere())
	}
	s.pick(t, 0)
	s.pools[0].Configure(s.now, Config{Name: "pages", QueueSize: 4}, ByScore{nothing{}})
	s.check(t)
}

// While one of its pools may have leases that are not known yet, a server with a cap gets nothing in any.
func TestACapWaitsForTheLeasesOfAllPools(t *testing.T) {
	s := newSharers(Config{QueueSize: 4}, "pages", "sockets")
	s.putAll(t, ServerSpec{ID: "a", Address: "10.0.0.1:80", MaxInFlight: 1})
	s.pools[1].Await(s.now, s.now.Add(time.Second))
	if _, err := s.pools[0].Pick(s.now, &Request{}); err == nil {
		t.Error("a request of one pool is placed although those of the other are not known")
	}
	if err := s.pools[1].Hold(s.now, "e", &Held{Lease: 1 << 62, Server: "a1", Age: time.Second}); err != nil {
		t.Fatal(err)
	}
	s.now = s.now.Add(time.Second)
	if _, err := s.pools[0].Pick(s.now, &Request{}); err == nil {
		t.Error("the cap is exceeded by a request that the other pool has had brought")
	}
	s.pools[1].Done(s.now, 1<<62, Outcome{})
	s.pick(t, 0)
	s.check(t)
}

// What requests of one pool show of the server's health counts in the others.
func TestHealthIsOfTheServer(t *testing.T) {
	s := newSharers(Config{}, "pages", "sockets")
	s.putAll(t, ServerSpec{ID: "a", Address: "10.0.0.1:80"})
	s.putAll(t, ServerSpec{ID: "b", Address: "10.0.0.2:80"})
	for range faultsInRow {
		g, err := s.pools[0].Pick(s.now, &Request{Exclude: []ServerID{"b0"}})
		if err != nil {
			t.Fatal(err)
		}
		s.pools[0].Done(s.now, g.Lease, Outcome{Result: Fault, Status: 500})
	}
	for pool, id := range []ServerID{"a0", "a1"} {
		if state := s.server(pool, id).State(s.now); state != Ejected {
			t.Errorf("pool %d has the failing server %v, want ejected", pool, state)
		}
	}
	if _, err := s.pools[0].SetHealth(s.now, "b0", ByMaster, "connection refused"); err != nil {
		t.Fatal(err)
	}
	if b := s.server(1, "b1"); b.State(s.now) != Ejected || b.Unhealthy() != "in pool pages: the master's check: connection refused" {
		t.Errorf("the other pool has the server %v: %q", b.State(s.now), b.Unhealthy())
	}
	if _, err := s.pools[0].SetHealth(s.now, "b0", ByMaster, ""); err != nil {
		t.Fatal(err)
	}
	if b := s.server(1, "b1"); b.State(s.now) != Up || b.Unhealthy() != "" {
		t.Errorf("the check succeeds again, and the other pool has the server %v: %q", b.State(s.now), b.Unhealthy())
	}
	g := s.pick(t, 0)
	s.pools[0].Done(s.now, g.Lease, Outcome{Result: ClientError, Status: 404})
	if n := s.server(1, "b1").answers.errors; n != 0 {
		t.Errorf("%d errors of the one pool's clients count against the server in the other", n)
	}
	s.check(t)
}

// A report that one pool is sent counts in all.
func TestReportsAreOfTheServer(t *testing.T) {
	s := newSharers(Config{}, "pages", "sockets")
	s.putAll(t, ServerSpec{ID: "a", Address: "10.0.0.1:80"})
	s.pick(t, 0)
	if err := s.pools[1].Report(s.now, &Report{Server: "a1", Metrics: []Metric{{Name: InFlight, Value: 4}}}); err != nil {
		t.Fatal(err)
	}
	for pool, id := range []ServerID{"a0", "a1"} {
		if a := s.server(pool, id); a.load.x != 3 {
			t.Errorf("pool %d takes %v requests to be others', want 3 beside the one that is ours", pool, a.load.x)
		}
	}
}

// A pool that gets a server which others have knows of it what they know.
func TestALateRecordInherits(t *testing.T) {
	s := newSharers(Config{}, "pages", "sockets")
	s.put(t, 0, ServerSpec{ID: "a", Address: "10.0.0.1:80"})
	s.put(t, 0, ServerSpec{ID: "b", Address: "10.0.0.2:80"})
	for range faultsInRow {
		g, err := s.pools[0].Pick(s.now, &Request{Exclude: []ServerID{"b"}})
		if err != nil {
			t.Fatal(err)
		}
		s.pools[0].Done(s.now, g.Lease, Outcome{Result: Fault, Status: 500})
	}
	s.pick(t, 0)
	s.put(t, 1, ServerSpec{ID: "a", Address: "10.0.0.1:80"})
	s.put(t, 1, ServerSpec{ID: "b", Address: "10.0.0.2:80"})
	if a, b := s.server(1, "a"), s.server(1, "b"); a.State(s.now) != Ejected || b.Leases() != 1 {
		t.Errorf("the pool that has just got the servers has the failing one %v, and the other with %d requests; want ejected, and 1", a.State(s.now), b.Leases())
	}
	s.check(t)
}

// Edges do not choose by themselves where they would not see what other pools place.
func TestEdgesAskForSharedServers(t *testing.T) {
	s := newSharers(Config{}, "pages", "sockets")
	var alone, shared localTotals
	s.put(t, 0, ServerSpec{ID: "a", Address: "10.0.0.1:80"})
	a := s.server(0, "a")
	later := s.now.Add(time.Minute)
	alone.count(later, s.pools[0], a)
	s.put(t, 1, ServerSpec{ID: "a", Address: "10.0.0.1:80"})
	shared.count(later, s.pools[0], a)
	if alone.special || !shared.special {
		t.Errorf("special: %v for a server in one pool, %v for one in two; want false and true", alone.special, shared.special)
	}
}
