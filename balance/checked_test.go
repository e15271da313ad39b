package balance_test

import (
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/policy"
)

func TestASickServerGetsNothingUntilItIsWell(t *testing.T) {
	chosen, err := policy.New("")
	if err != nil {
		t.Fatal(err)
	}
	p := balance.New(balance.Config{Name: "p"}, chosen, 1)
	for _, id := range []balance.ServerID{"a", "b"} {
		if err := p.Put(1, balance.ServerSpec{ID: id, Address: string(id) + ":1"}, true); err != nil {
			t.Fatal(err)
		}
	}
	now := balance.Instant(time.Hour)
	set := func(well, want bool) {
		t.Helper()
		if changed, err := p.SetHealth(now, "a", well); err != nil || changed != want {
			t.Errorf("SetHealth(%v): got %v, %v, want %v", well, changed, err, want)
		}
	}
	picks := func(n int) map[balance.ServerID]int {
		by := make(map[balance.ServerID]int)
		for range n {
			now = now.Add(10 * time.Millisecond)
			g, err := p.Pick(now, &balance.Request{})
			if err != nil {
				t.Fatal(err)
			}
			by[g.Server]++
			p.Done(now.Add(5*time.Millisecond), g.Lease, balance.Outcome{Result: balance.OK, Duration: 5 * time.Millisecond})
			if err := p.Check(); err != nil {
				t.Fatal(err)
			}
		}
		return by
	}
	set(true, false)
	set(false, true)
	set(false, false)
	if by := picks(500); by["a"] != 0 {
		t.Errorf("sick: got %v, want none on a", by)
	}
	now = now.Add(time.Hour) // time alone makes nobody well
	if by := picks(500); by["a"] != 0 {
		t.Errorf("sick for long: got %v, want none on a", by)
	}
	set(true, true)
	if by := picks(500); by["a"] == 0 {
		t.Errorf("well: got %v, want some on a", by)
	}
	if _, err := p.SetHealth(now, "c", true); err == nil {
		t.Error("a server that is not there: got no error")
	}
}

// A pool whose servers are all sick still tries, as a refusal for certain helps nobody.
func TestAllSick(t *testing.T) {
	chosen, _ := policy.New("")
	p := balance.New(balance.Config{Name: "p"}, chosen, 1)
	if err := p.Put(1, balance.ServerSpec{ID: "a", Address: "a:1"}, true); err != nil {
		t.Fatal(err)
	}
	if _, err := p.SetHealth(1, "a", false); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Pick(2, &balance.Request{}); err != nil {
		t.Errorf("got %v, want a grant", err)
	}
}

// Where the others are idle all the time, a server that could not be reached for a while
// is given its part again when it can.
func TestAServerThatWasGoneIsTriedAgain(t *testing.T) {
	for name, gone := range map[string]balance.Result{"unreachable": balance.Unreachable, "failing": balance.Fault} {
		chosen, _ := policy.New("")
		p := balance.New(balance.Config{Name: "p"}, chosen, 1)
		for _, id := range []balance.ServerID{"a", "b", "c", "d"} {
			if err := p.Put(1, balance.ServerSpec{ID: id, Address: string(id) + ":1", Slots: 16}, true); err != nil {
				t.Fatal(err)
			}
		}
		now := balance.Instant(time.Hour)
		run := func(length time.Duration, of balance.Result) (onA, all int) {
			for end := now.Add(length); now < end; now = now.Add(10 * time.Millisecond) {
				g, err := p.Pick(now, &balance.Request{})
				if err != nil {
					t.Fatal(err)
				}
				o := balance.Outcome{Result: balance.OK, Duration: 5 * time.Millisecond}
				if all++; g.Server == "a" {
					onA++
					o.Result = of
				}
				p.Done(now.Add(5*time.Millisecond), g.Lease, o)
			}
			return onA, all
		}
		run(30*time.Second, balance.OK)
		run(30*time.Second, gone)
		run(3*time.Minute, balance.OK)
		if onA, all := run(time.Minute, balance.OK); onA < all/20 {
			t.Errorf("%s: got %d of %d requests long after its return, want about a quarter", name, onA, all)
		}
	}
}
