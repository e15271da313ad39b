package balance_test

import (
	"math"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/policy"
)

// fresh returns a pool of servers of which nothing is declared.
func fresh(t *testing.T, ids ...balance.ServerID) *balance.Pool {
	t.Helper()
	chosen, err := policy.New("")
	if err != nil {
		t.Fatal(err)
	}
	p := balance.New(balance.Config{Name: "p", QueueSize: 1000}, chosen, 1)
	putAll(t, p, ids...)
	return p
}

func putAll(t *testing.T, p *balance.Pool, ids ...balance.ServerID) {
	t.Helper()
	for _, id := range ids {
		if err := p.Put(second, balance.ServerSpec{ID: id, Address: string(id) + ":1"}, true); err != nil {
			t.Fatal(err)
		}
	}
}

func recalled(id balance.ServerID, slots, service float64, basis balance.Basis) balance.SnapshotServer {
	return balance.SnapshotServer{ID: id, Slots: slots, Service: service, Basis: basis}
}

func slotsOf(p *balance.Pool, id balance.ServerID) (c float64, known bool) {
	for _, v := range p.Views(second) {
		if v.Spec.ID == id {
			return v.Slots, v.Known
		}
	}
	return 0, false
}

// A pool that has just begun takes the first edge's word for what the master before had learnt, also of servers that come
// later, and its limits rest on it. What makes no sense is left out.
func TestAPoolRecallsWhatTheMasterBeforeHadLearnt(t *testing.T) {
	p := fresh(t, "a", "b", "none", "few", "nan", "fast", "slow", "endless")
	p.Recall(second, []balance.SnapshotServer{recalled("a", 2, .1, balance.BasisFirm), recalled("b", 5, .2, balance.BasisAnswers), recalled("later", 3, .1, balance.BasisFirm),
		recalled("none", 4, .1, balance.BasisNone), recalled("few", .5, .1, balance.BasisFirm), recalled("nan", math.NaN(), .1, balance.BasisFirm),
		recalled("fast", 4, 1e-9, balance.BasisFirm), recalled("slow", 4, 1e5, balance.BasisFirm), recalled("endless", 4, math.NaN(), balance.BasisFirm)})
	p.Recall(second, []balance.SnapshotServer{recalled("a", 50, .1, balance.BasisFirm)})
	putAll(t, p, "later")
	for id, want := range map[balance.ServerID]float64{"a": 2, "b": 5, "later": 3} {
		if c, known := slotsOf(p, id); c != want || !known {
			t.Errorf("%s has %v slots, known %v; want %v as the master before had learnt", id, c, known, want)
		}
	}
	for _, id := range []balance.ServerID{"none", "few", "nan", "fast", "slow", "endless"} {
		if c, known := slotsOf(p, id); known {
			t.Errorf("%s has %v slots, want none that are known", id, c)
		}
	}
	if err := p.Check(); err != nil {
		t.Error(err)
	}
}

// Limits hold from the first request on where they held with the master before.
func TestLimitsRestOnWhatIsRecalled(t *testing.T) {
	p := fresh(t, "a")
	p.Recall(second, []balance.SnapshotServer{recalled("a", 2, .1, balance.BasisFirm)})
	granted := 0
	for range 10 {
		if _, err := p.Pick(second, &balance.Request{}); err == nil {
			granted++
		}
	}
	if granted != 2 {
		t.Errorf("%d requests were granted, want 2", granted)
	}
}

// What was told too low or too high is corrected by answers.
func TestWhatIsRecalledIsNotForGood(t *testing.T) {
	for _, c := range []struct{ told, slots, least, most float64 }{{64, 2, 1, 8}, {1, 8, 4, 64}} {
		p, now := fresh(t, "a"), balance.Instant(time.Hour)
		p.Recall(now, []balance.SnapshotServer{recalled("a", c.told, .1, balance.BasisFirm)})
		type open struct {
			lease balance.LeaseID
			n     float64
		}
		var all []open
		for round := range 6000 { // from one to forty at a time, as far as the limit allows, and more wait
			for len(all) < 1+round%40 {
				g, err := p.Pick(now, &balance.Request{})
				if err != nil {
					if p.Waiting() < 4 {
						p.Join(now, &balance.Request{})
					}
					break
				}
				all = append(all, open{g.Lease, float64(len(all) + 1)})
			}
			first := all[0]
			took := time.Duration(1e8 * max(1, first.n/c.slots) * (1 + .1*float64(round%3)))
			now = now.Add(took / 4)
			p.Done(now, first.lease, balance.Outcome{Duration: took})
			all = all[1:]
			for _, r := range p.Serve(now, nil) {
				if r.Refusal == nil {
					all = append(all, open{r.Grant.Lease, float64(len(all) + 1)})
				}
			}
		}
		if got, _ := slotsOf(p, "a"); got < c.least || got > c.most {
			t.Errorf("%v slots of which %v had been told: %v are believed, want %v to %v", c.slots, c.told, got, c.least, c.most)
		}
		if err := p.Check(); err != nil {
			t.Error(err)
		}
	}
}

// A snapshot says what slots rest on: nothing before there are answers, then these, or what was declared.
func TestASnapshotSaysWhatSlotsRestOn(t *testing.T) {
	chosen, _ := policy.New("")
	p := balance.New(balance.Config{Name: "p", QueueSize: 10}, chosen, 1)
	if err := p.Put(second, balance.ServerSpec{ID: "declared", Address: "d:1", Slots: 2}, true); err != nil {
		t.Fatal(err)
	}
	basis := func(want balance.Basis) {
		t.Helper()
		if s := p.Snapshot(second).Servers[0]; s.Basis != want {
			t.Errorf("basis %v of %v slots, want %v", s.Basis, s.Slots, want)
		}
	}
	basis(balance.BasisNone) // of service, nothing is known
	now := second
	for range 200 {
		g, err := p.Pick(now, &balance.Request{})
		if err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Millisecond)
		p.Done(now, g.Lease, balance.Outcome{Duration: time.Millisecond})
	}
	basis(balance.BasisFirm)
}
