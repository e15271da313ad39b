package limits

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// clientModel is what Clients should say, by counts and a bucket of tokens for each client.
type clientModel struct {
	most, burst int
	rate        float64
	open        map[ClientKey]int
	taken       map[ClientKey][]time.Duration // when the bucket, seen as a queue of a leaky one, has let each entry out
}

func (m *clientModel) enter(now time.Duration, k ClientKey) Verdict {
	in := m.taken[k]
	for len(in) > 0 && in[0] <= now {
		in = in[1:]
	}
	m.taken[k] = in
	switch {
	case m.most > 0 && m.open[k] >= m.most:
		return TooMany
	case m.rate > 0 && len(in) >= m.burst:
		return TooFast
	}
	m.open[k]++
	if m.rate > 0 {
		last := now
		if len(in) > 0 {
			last = in[len(in)-1]
		}
		m.taken[k] = append(in, last+time.Duration(float64(time.Second)/m.rate))
	}
	return Admitted
}

func TestClientsAreLimitedAsTheModelSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := clientModel{most: rapid.IntRange(0, 4).Draw(t, "most"), rate: rapid.SampledFrom([]float64{0, 1, 4, 1000}).Draw(t, "rate"),
			burst: rapid.IntRange(1, 5).Draw(t, "burst"), open: make(map[ClientKey]int), taken: make(map[ClientKey][]time.Duration)}
		c := NewClients(m.most, m.rate, m.burst)
		now, all := time.Hour, 0
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			k := ClientKey(rapid.IntRange(1, 5).Draw(t, "client"))
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				now += rapid.SampledFrom([]time.Duration{1, time.Millisecond, 250 * time.Millisecond, time.Second}).Draw(t, "time")
			case 1:
				if m.open[k] > 0 {
					c.Leave(k)
					m.open[k]--
					all--
				}
			default:
				want := m.enter(now, k)
				got, wait := c.Enter(balance.Instant(now), k)
				if got != want {
					t.Fatalf("client %d at %v: got %d, want %d", k, now, got, want)
				}
				switch {
				case got == Admitted:
					all++
				case got == TooFast && (wait <= 0 || m.enter(now+wait-1, k) == Admitted):
					t.Fatalf("client %d is told to wait %v, but would have got in before", k, wait)
				case got == TooFast && m.enter(now+wait, k) == Admitted:
					if v, _ := c.Enter(balance.Instant(now+wait), k); v != Admitted {
						t.Fatalf("client %d waited as it was told, and got %d", k, v)
					}
					now += wait
					all++
				}
			}
		}
		for k, n := range m.open {
			for range n {
				c.Leave(k)
				all--
			}
		}
		for i := range c.shards { // enough that all idle ones are looked at
			for range 2 * 5 {
				c.shards[i].forgetIdle(balance.Instant(now + time.Hour))
			}
			if s := &c.shards[i]; s.others.open != 0 {
				t.Fatalf("%d of the others are open", s.others.open)
			}
		}
		if all != 0 || c.Known() != 0 {
			t.Fatalf("%d are open and %d clients known after all have left", all, c.Known())
		}
	})
}

func TestUnknownClientsAreNotLimited(t *testing.T) {
	c := NewClients(1, 1, 1)
	for range 10 {
		if v, _ := c.Enter(1000, 0); v != Admitted {
			t.Fatalf("got %d", v)
		}
	}
	c.Leave(0)
	if c.Known() != 0 {
		t.Errorf("%d known", c.Known())
	}
}

// A client that is not idle keeps what is known of it, however many others come; those for whom
// there is no room share the limits of one; and when room is there again each has its own.
func TestATableThatIsFullForgetsTheIdleAndThenHasTheRestShare(t *testing.T) {
	const most = 3
	c := NewClients(most, 1, 2)
	now := balance.Instant(time.Hour)
	s := &c.shards[0]
	var keys []ClientKey // of one shard
	for k := ClientKey(1); len(keys) < 2*shardMost+100; k++ {
		if c.shard(k) == s {
			keys = append(keys, k)
		}
	}
	enter := func(k ClientKey) Verdict {
		v, _ := c.Enter(now, k)
		return v
	}
	for _, k := range keys[:2*shardMost] { // each has been there, and its burst is not full
		if enter(k) != Admitted {
			t.Fatal("an idle one is in the way")
		}
		c.Leave(k)
	}
	if n := c.Known(); n != shardMost {
		t.Fatalf("%d are known, want %d", n, shardMost)
	}
	for _, k := range keys[:shardMost] {
		if enter(k) != Admitted {
			t.Fatal("one with nothing open is in the way")
		}
	}
	late := keys[shardMost:]
	if a, b, d := enter(late[0]), enter(late[1]), enter(late[2]); a != Admitted || b != Admitted || d != TooFast {
		t.Errorf("without room: got %d, %d, %d, want the burst of one client", a, b, d)
	}
	now = now.Add(time.Minute)
	if a, d := enter(late[2]), enter(late[3]); a != Admitted || d != TooMany {
		t.Errorf("without room: got %d, %d, want as many open as one client may have", a, d)
	}
	if enter(keys[0]) != Admitted {
		t.Error("one that is known is limited for the others")
	}
	c.Leave(keys[1])
	if enter(late[3]) != Admitted {
		t.Error("one for which there is room now is limited for the others")
	}
	for _, k := range late[:3] {
		c.Leave(k)
	}
	if s.others.open != 0 || len(s.known) > shardMost {
		t.Errorf("%d open of the others, %d known", s.others.open, len(s.known))
	}
}

func TestClientsOfManyLoops(t *testing.T) {
	c := NewClients(2, 0, 0)
	var all sync.WaitGroup
	for n := range uint64(8) {
		all.Go(func() {
			chance := rand.New(rand.NewPCG(n, 1))
			for range 20_000 {
				k := ClientKey(1 + chance.IntN(20))
				if v, _ := c.Enter(0, k); v == Admitted {
					c.Leave(k)
				}
			}
		})
	}
	all.Wait()
	if c.Known() != 0 {
		t.Errorf("%d are known though nothing is open", c.Known())
	}
}

func TestAKnownClientCostsNoMemory(t *testing.T) {
	c, now := NewClients(10, 1e6, 100), balance.Instant(time.Hour)
	if n := testing.AllocsPerRun(1000, func() {
		now += balance.Instant(time.Second)
		_, _ = c.Enter(now, 7)
		c.Leave(7)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
