package elect

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ttl = 2 * time.Second

// registry is what all stores of a test share: keys of leases that expire.
type registry struct {
	mu       sync.Mutex
	revision uint64
	masters  map[string]time.Time // when the lease of a master ends
	lacks    map[string][]string  // by master
	edges    map[string]int       // by master
	leads    map[string]Lead
	gen      uint64
}

func newRegistry() *registry {
	return &registry{masters: make(map[string]time.Time), lacks: make(map[string][]string), edges: make(map[string]int), leads: make(map[string]Lead)}
}

// expire drops what is over. mu is held.
func (r *registry) expire() {
	for id, until := range r.masters {
		if time.Now().Before(until) {
			continue
		}
		delete(r.masters, id)
		for pool, l := range r.leads {
			if l.Leader.ID == id {
				delete(r.leads, pool)
			}
		}
	}
}

// store is one master's way to the registry.
type store struct {
	noRaise bool // the store refuses to raise the generation; set before it is used

	*registry
	self Candidate
	mu2  sync.Mutex
	cut  bool          // nothing gets through
	mute bool          // what is asked is done, but no answer comes
	slow time.Duration // for a call to be done and answered
	had  map[string]bool
}

var errCut = errors.New("cut off")

// pass lets a call through, or not. do runs with the registry locked.
func (s *store) pass(ctx context.Context, do func()) error {
	s.mu2.Lock()
	cut, mute, slow := s.cut, s.mute, s.slow
	s.mu2.Unlock()
	if cut {
		<-ctx.Done()
		return errCut
	}
	time.Sleep(slow / 2) // of the bubble's time
	s.registry.mu.Lock()
	s.expire()
	do()
	s.registry.mu.Unlock()
	if mute {
		<-ctx.Done()
		return errCut
	}
	time.Sleep(slow / 2)
	if ctx.Err() != nil {
		return errCut
	}
	return nil
}

func (s *store) set(cut, mute bool, slow time.Duration) {
	s.mu2.Lock()
	defer s.mu2.Unlock()
	s.cut, s.mute, s.slow = cut, mute, slow
}

func (s *store) Renew(ctx context.Context, lacks []string, edges int) (lost []string, err error) {
	err = s.pass(ctx, func() {
		if _, there := s.masters[s.self.ID]; !there {
			for pool := range s.had {
				lost = append(lost, pool)
			}
			clear(s.had)
		}
		s.masters[s.self.ID] = time.Now().Add(ttl)
		s.registry.lacks[s.self.ID], s.registry.edges[s.self.ID] = lacks, edges
	})
	return lost, err
}

func (s *store) Look(ctx context.Context) (View, error) {
	v := View{Leads: make(map[string]Lead)}
	err := s.pass(ctx, func() {
		v.Generation = s.gen
		for id := range s.masters {
			v.Masters = append(v.Masters, Candidate{ID: id, Address: id + ":1", Lacks: s.registry.lacks[id], Edges: s.registry.edges[id]})
		}
		for pool, l := range s.leads {
			v.Leads[pool] = l
		}
	})
	return v, err
}

func (s *store) Take(ctx context.Context, pool string) (fence uint64, err error) {
	err = s.pass(ctx, func() {
		if _, there := s.masters[s.self.ID]; !there {
			err = errCut
			return
		}
		if _, led := s.leads[pool]; led {
			return
		}
		s.revision++
		fence = Fence(s.gen, s.revision)
		s.leads[pool] = Lead{Leader: s.self, Fence: fence}
		s.had[pool] = true
	})
	return fence, err
}

func (s *store) Leave(ctx context.Context, pool string) error {
	return s.pass(ctx, func() {
		if s.leads[pool].Leader.ID == s.self.ID {
			delete(s.leads, pool)
		}
	})
}

func (s *store) Raise(ctx context.Context, generation uint64) error {
	if s.noRaise {
		return errCut
	}
	return s.pass(ctx, func() { s.gen = max(s.gen, generation) })
}

func (s *store) Quit(ctx context.Context) error {
	return s.pass(ctx, func() {
		delete(s.masters, s.self.ID)
		s.masters[s.self.ID] = time.Time{}
		s.expire()
	})
}

func (s *store) Changed() <-chan struct{} { return nil }

// host is a master as the elector sees it.
type host struct {
	mu     sync.Mutex
	until  time.Time
	fences map[string]uint64
	leader map[string]string
	low    string // a fence that did not grow
	high   map[string]uint64
	blank  bool // it knows no servers
	edges  int
	seen   uint64 // by edges and agents
	refuse uint64 // as it was told last
	forgot bool   // the registry has, so a fence may fall
}

func (h *host) Edges() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.edges
}

func (h *host) Seen(string) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seen
}

func (h *host) Refused(_ string, by uint64) { h.mu.Lock(); h.refuse = by; h.mu.Unlock() }

func (h *host) refused() uint64 { h.mu.Lock(); defer h.mu.Unlock(); return h.refuse }

func (h *host) setEdges(n int) { h.mu.Lock(); h.edges = n; h.mu.Unlock() }

func (h *host) setBlank(blank bool) { h.mu.Lock(); h.blank = blank; h.mu.Unlock() }

func newHost() *host {
	return &host{fences: make(map[string]uint64), leader: make(map[string]string), high: make(map[string]uint64)}
}

func (h *host) Ready(string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.blank
}

func (h *host) Extend(until time.Time) { h.mu.Lock(); h.until = until; h.mu.Unlock() }

func (h *host) Lead(pool string, fence uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if fence < h.high[pool] && !h.forgot {
		h.low = fmt.Sprintf("pool %s: fence %d after %d", pool, fence, h.high[pool])
	}
	h.fences[pool], h.leader[pool], h.high[pool] = fence, "", fence
}

func (h *host) Follow(pool, id, address string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if id+":1" != address && id+address != "" {
		h.low = fmt.Sprintf("pool %s: the leader is %q at %q", pool, id, address)
	}
	delete(h.fences, pool)
	h.leader[pool] = address
}

// leads returns the fence by which the host may grant from a pool now, or zero.
func (h *host) leads(pool string) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Now().Before(h.until) {
		return h.fences[pool]
	}
	return 0
}

// rally is several masters that stand for election.
type rally struct {
	t      *testing.T
	pools  []string
	common *registry
	stores []*store
	hosts  []*host
	stops  []func()
	all    []*Elector
	blank  func(master int) bool // who knows no servers; nil: all do
	group  func(pool string) string
}

func newRally(t *testing.T, masters, pools int) *rally {
	r := &rally{t: t, common: newRegistry()}
	for i := range pools {
		r.pools = append(r.pools, fmt.Sprintf("pool-%d", i))
	}
	for range masters {
		r.join()
	}
	return r
}

// join starts one master more.
func (r *rally) join() {
	i := len(r.stores)
	self := Candidate{ID: fmt.Sprintf("m%d%s%d", i+1, LifeMark, i), Address: fmt.Sprintf("m%d:1", i+1)}
	s, h := &store{registry: r.common, self: self, had: make(map[string]bool)}, newHost()
	h.blank = r.blank != nil && r.blank(i)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	e := New(Config{Self: self, TTL: ttl, Pools: func() []string { return r.pools }, Group: r.group}, s, h)
	r.all = append(r.all, e)
	done.Go(func() {
		if err := e.Run(ctx); err != nil {
			r.t.Error(err)
		}
	})
	r.stores, r.hosts = append(r.stores, s), append(r.hosts, h)
	r.stops = append(r.stops, sync.OnceFunc(func() { cancel(); done.Wait() }))
}

func (r *rally) end() {
	for i, stop := range r.stops {
		r.stores[i].set(false, false, 0)
		stop()
	}
}

// watch lets time pass and holds all along that no pool has two leaders.
func (r *rally) watch(d time.Duration) {
	r.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for _, pool := range r.pools {
			leaders := 0
			for _, h := range r.hosts {
				if h.leads(pool) != 0 {
					leaders++
				}
				if h.low != "" {
					r.t.Fatal(h.low)
				}
			}
			if leaders > 1 {
				r.t.Fatalf("pool %s has %d leaders", pool, leaders)
			}
		}
	}
}

// leader returns the index of the master that leads a pool, -1 for none.
func (r *rally) leader(pool string) int {
	return slices.IndexFunc(r.hosts, func(h *host) bool { return h.leads(pool) != 0 })
}

func (r *rally) led() (n int) {
	for _, pool := range r.pools {
		if r.leader(pool) >= 0 {
			n++
		}
	}
	return n
}

func TestOneOfThreeLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRally(t, 3, 1)
		defer r.end()
		r.watch(2 * ttl)
		first := r.leader("pool-0")
		if first < 0 {
			t.Fatal("no master leads")
		}
		for i, h := range r.hosts {
			h.mu.Lock()
			if at := h.leader["pool-0"]; i != first && at != fmt.Sprintf("m%d:1", first+1) {
				t.Errorf("m%d believes the leader to be at %q, want m%d's address", i+1, at, first+1)
			}
			h.mu.Unlock()
		}
	})
}

// A master that has just been started and knows no servers leads only where no other does.
func TestWhoKnowsNoServersLeadsLast(t *testing.T) {
	for knows := range 3 {
		synctest.Test(t, func(t *testing.T) {
			r := newRally(t, 0, 1)
			defer r.end()
			r.blank = func(i int) bool { return i != knows }
			for range 3 {
				r.join()
			}
			for range 16 {
				r.watch(ttl / 8)
				if at := r.leader("pool-0"); at >= 0 && at != knows {
					t.Fatalf("m%d leads, want m%d, which alone knows servers", at+1, knows+1)
				}
			}
			if r.leader("pool-0") != knows {
				t.Fatalf("no master leads, want m%d, which knows servers", knows+1)
			}
			r.stores[knows].set(true, false, 0)
			r.watch(ttl)
			for wait := 0; r.leader("pool-0") < 0; wait++ {
				if wait == 8 {
					t.Fatal("no master leads where none knows servers")
				}
				r.watch(ttl)
			}
		})
	}
}

// A pool is not left to a master that is nearer but knows no servers, however long it has
// been there, until it does; and a leader that has come to know none leaves it to one that does.
func TestAPoolGoesToWhoKnowsItsServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRally(t, 2, 1)
		defer r.end()
		r.watch(2*settling*ttl + ttl)
		near := r.leader("pool-0") // who is nearest has it by now
		far := 1 - near
		r.hosts[near].setBlank(true)
		for wait := 0; r.leader("pool-0") != far; wait++ {
			if wait == 16 {
				t.Fatalf("m%d leads without servers, want m%d, which knows some", r.leader("pool-0")+1, far+1)
			}
			r.watch(ttl / 8)
		}
		for range 4 * settling {
			r.watch(ttl)
			if at := r.leader("pool-0"); at != far {
				t.Fatalf("m%d leads, want m%d still: the nearest knows no servers", at+1, far+1)
			}
		}
		r.hosts[near].setBlank(false)
		r.watch(4 * ttl)
		if at := r.leader("pool-0"); at != near {
			t.Errorf("m%d leads, want m%d, which is nearest and knows servers again", at+1, near+1)
		}
	})
}

// A leader that is cut off stops granting before another begins, and within the time to live
// and a little there is another.
func TestACutOffLeaderIsReplaced(t *testing.T) {
	for _, c := range []struct {
		name      string
		cut, mute bool
	}{{"nothing gets through", true, false}, {"no answers come", false, true}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRally(t, 3, 1)
				defer r.end()
				r.watch(ttl)
				old := r.leader("pool-0")
				fence := r.hosts[old].leads("pool-0")
				r.stores[old].set(c.cut, c.mute, 0)
				if c.mute {
					r.watch(2 * ttl) // it keeps its lease at the store, without knowing
					if now := r.leader("pool-0"); now >= 0 {
						t.Errorf("m%d leads, of whom the store says that another does", now+1)
					}
					return
				}
				r.watch(ttl + ttl/2)
				now := r.leader("pool-0")
				if now < 0 || now == old {
					t.Fatalf("m%d leads after the time to live and half of it, want another than m%d", now+1, old+1)
				}
				if got := r.hosts[now].leads("pool-0"); got <= fence {
					t.Errorf("fence %d, want more than %d", got, fence)
				}
				r.stores[old].set(false, false, 0)
				r.watch(ttl)
			})
		})
	}
}

func TestALeaderThatStopsIsReplacedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRally(t, 3, 1)
		defer r.end()
		r.watch(ttl)
		old := r.leader("pool-0")
		r.stops[old]()
		if r.leader("pool-0") == old {
			t.Error("it leads though it has stopped")
		}
		r.watch(ttl / 2)
		if now := r.leader("pool-0"); now < 0 || now == old {
			t.Errorf("m%d leads half a time to live later, want another than m%d", now+1, old+1)
		}
	})
}

// Pools spread over masters that were there from the start and those that come later, and
// those of one that is gone over all others.
func TestPoolsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRally(t, 2, 30)
		defer r.end()
		r.watch(ttl)
		r.join()
		r.watch(settling*ttl + 40*time.Second)
		shares := make([]int, 3)
		for _, pool := range r.pools {
			shares[r.leader(pool)]++
		}
		if slices.Min(shares) < 5 {
			t.Errorf("of 30 pools the masters lead %v, want at least 5 each", shares)
		}
		r.stops[0]()
		r.watch(ttl)
		if n := r.led(); n != 30 || r.leader(r.pools[0]) == 0 {
			t.Errorf("%d of 30 pools are led after a master has gone", n)
		}
	})
}

// Pools of a group have one leader, whichever masters come and go.
func TestPoolsOfAGroupHaveOneLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRally(t, 0, 30)
		r.group = func(pool string) string { return pool[:len("pool-0")] } // pool-1 and pool-10 to pool-19, and so on
		defer r.end()
		r.join()
		r.join()
		together := func(when string) {
			leaders := make(map[string]int)
			for _, pool := range r.pools {
				first, led := leaders[r.group(pool)]
				if leader := r.leader(pool); led && leader != first {
					t.Errorf("%s: master %d leads %s, master %d another pool of its group", when, leader, pool, first)
				}
				leaders[r.group(pool)] = r.leader(pool)
			}
		}
		r.watch(2 * ttl)
		together("at the start")
		r.join()
		r.watch(settling*ttl + 40*time.Second)
		together("with a master more")
		r.stops[0]()
		r.watch(2 * ttl)
		together("with a master less")
		if n := r.led(); n != 30 {
			t.Errorf("%d of 30 pools are led", n)
		}
	})
}

// A master that is nearest to a pool but does not take it is not waited for twice.
func TestAPoolComesBackFromAMasterThatDoesNotTakeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRally(t, 1, 8)
		defer r.end()
		r.watch(ttl)
		r.common.mu.Lock()
		r.common.masters["idle"+LifeMark] = time.Now().Add(time.Hour) // it is there, and no more
		r.common.mu.Unlock()
		r.watch(settling*ttl + 30*time.Second)
		for range 50 {
			r.watch(100 * time.Millisecond)
			if n := r.led(); n != 8 {
				t.Fatalf("%d of 8 pools are led, long after all were left to a master that takes none", n)
			}
		}
	})
}

// Whatever happens on the way to the store: never two leaders, fences grow, and when all
// is well again every pool is led.
func TestNeverTwoLeaders(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 1))
				r := newRally(t, 3, 4)
				defer r.end()
				for range 40 {
					s := r.stores[rng.IntN(3)]
					slow := time.Duration(0)
					if rng.IntN(3) == 0 {
						slow = time.Duration(rng.Int64N(int64(ttl)))
					}
					s.set(rng.IntN(3) == 0, rng.IntN(4) == 0, slow)
					r.watch(time.Duration(rng.Int64N(int64(ttl))))
				}
				for _, s := range r.stores {
					s.set(false, false, 0)
				}
				r.watch(3 * ttl)
				if n := r.led(); n != 4 {
					t.Errorf("%d of 4 pools are led", n)
				}
			})
		})
	}
}
