package balance

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A server is thought to remember the keys that it has served last, no more of them than so many, and none that it has served four times as
// many requests ago: as a list of all that it has served tells.
func TestAServerRemembersTheKeysItServedLast(t *testing.T) {
	const limit = 5
	many, old := false, false
	checkUntil(t, func() bool { return many && old }, func(t *rapid.T) {
		var m memory
		var served []uint64
		remembered := func() (keys []uint64) {
			for at := len(served) - 1; at >= 0; at-- {
				switch key := served[at]; {
				case slices.Contains(keys, key):
				case len(keys) == limit:
					many = true
					return keys
				case at < len(served)-4*limit:
					old = true
					return keys
				default:
					keys = append(keys, key)
				}
			}
			return keys
		}
		for range rapid.IntRange(1, 100).Draw(t, "requests") {
			key := uint64(rapid.IntRange(1, 9).Draw(t, "key"))
			if rapid.Bool().Draw(t, "the usual one") {
				key = 1
			}
			m.use(key, limit)
			served = append(served, key)
			want := remembered()
			for key := range uint64(10) {
				if got := m.knows(key); got != slices.Contains(want, key) {
					t.Fatalf("key %d is remembered: %t, want those of %v: %v", key, got, served, want)
				}
			}
		}
	})
}

// One key that is used all the time takes the place of no others.
func TestAKeyThatIsUsedOftenDisplacesNone(t *testing.T) {
	var m memory
	for key := range uint64(5) {
		m.use(key+1, 5)
	}
	for range 1000 {
		m.use(3, 5)
	}
	if !m.knows(3) || len(m.place) > 5 || len(m.uses) != 20 {
		t.Errorf("remembered are %v, in a ring of %d", m.place, len(m.uses))
	}
}

func affine(t *testing.T, cfg Config) *ward {
	w := newWard(t, cfg)
	w.p.Configure(w.now, w.p.cfg, ByScore{leastOf{}})
	for _, spec := range []ServerSpec{{ID: "a", Location: "here"}, {ID: "b", Location: "there"}, {ID: "c", Location: "there"}} {
		spec.Address, spec.Slots = "127.0.0.1:1", 4
		if err := w.p.Put(w.now, spec, true); err != nil {
			t.Fatal(err)
		}
	}
	w.now += 60 * sec
	return w
}

// Requests of a key go to the server that knows it, until so many are there that another one's whole work is done sooner.
func TestAKeyGoesWhereItIsKnown(t *testing.T) {
	w := affine(t, Config{Affinity: Affinity{Hit: .25}})
	ask := func(key string) ServerID {
		g, err := w.p.Pick(w.now, &Request{Edge: "e", Key: key})
		if err != nil {
			t.Fatal(err)
		}
		return g.Server
	}
	home := ask("k")
	// (n + ½)·.25 there is less than ½ at the others, which are idle, for n = 1; they are equal for n = 1½.
	if got := ask("k"); got != home {
		t.Errorf("the second request of a key went to %s, want %s, which knows it", got, home)
	}
	other := ask("k")
	if other == home {
		t.Errorf("the third request of a key went to %s too, want another, which is idle", other)
	}
	for key := range 3 {
		if got := ask(fmt.Sprint("new ", key)); key == 0 && got == home {
			t.Errorf("a key that none knows went to %s, want one that has fewer requests", got)
		}
	}
}

// A server far from the client costs as much more as the table says.
func TestDistanceCosts(t *testing.T) {
	w := affine(t, Config{Distances: map[string]map[string]float64{"here": {"there": .5}}})
	var got []ServerID
	for range 4 {
		g, err := w.p.Pick(w.now, &Request{Edge: "e", Location: "here"})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, g.Server)
	}
	// Scores (n + 1)/4: at hand ¼ and 2/4, elsewhere 1.5/4.
	if want := []ServerID{"a", "b", "c", "a"}; !slices.Equal(got, want) {
		t.Errorf("requests from here went to %v, want %v: one is at hand, then those there cost less than a second at hand", got, want)
	}
	for _, c := range []struct {
		client, server string
		want           float64
	}{{"here", "there", .5}, {"here", "here", 0}, {"", "there", 0}, {"there", "here", 0}, {"nowhere", "there", 0}} {
		if got := w.p.distance(c.client, c.server); got != c.want {
			t.Errorf("from %q to %q costs %v more, want %v", c.client, c.server, got, c.want)
		}
	}
}

// A request is personal only where the pool has something to tell servers apart by.
func TestWhichRequestsArePersonal(t *testing.T) {
	keyed, placed := Config{Affinity: Affinity{Hit: .5}}, Config{Distances: map[string]map[string]float64{"a": {"b": 1}}}
	for _, c := range []struct {
		cfg  Config
		req  Request
		want bool
	}{
		{keyed, Request{Key: "k"}, true}, {keyed, Request{}, false}, {keyed, Request{Location: "a"}, false},
		{placed, Request{Location: "a"}, true}, {placed, Request{Key: "k"}, false}, {Config{}, Request{Key: "k", Location: "a"}, false},
	} {
		p := New(c.cfg, ByScore{leastOf{}}, 1)
		if got := p.personal(&c.req); got != c.want {
			t.Errorf("%+v of a pool with %+v: %t, want %t", c.req, c.cfg, got, c.want)
		}
		if got, want := p.hash(c.req.Key) != 0, c.req.Key != "" && c.cfg.Affinity.Hit > 0; got != want {
			t.Errorf("key %q of a pool with %+v counts: %t, want %t", c.req.Key, c.cfg.Affinity, got, want)
		}
	}
}

// Failures count against the server that knows a key as against any other.
func TestAServerThatFailsLosesItsKeys(t *testing.T) {
	w := affine(t, Config{Affinity: Affinity{Hit: .5}})
	ask := func() (g Grant) {
		g, err := w.p.Pick(w.now, &Request{Edge: "e", Key: "k"})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	g := ask()
	home := w.p.byID[g.Server]
	w.p.Done(w.now, g.Lease, fine)
	home.health.success = .75 // squared more than a half
	g = ask()
	if g.Server != home.spec.ID {
		t.Errorf("a server that fails one in four was left for %s: its key is worth more", g.Server)
	}
	w.p.Done(w.now, g.Lease, fine)
	home.health.success = .65
	if g = ask(); g.Server == home.spec.ID {
		t.Error("a server that fails one in three kept its key, which is worth half of the work")
	}
}
