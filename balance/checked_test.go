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
		problem := "no answer"
		if well {
			problem = ""
		}
		if changed, err := p.SetHealth(now, "a", balance.ByMaster, problem); err != nil || changed != want {
			t.Errorf("SetHealth(%q): got %v, %v, want %v", problem, changed, err, want)
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
	now = now.Add(time.Hour) // time alone makes no server healthy
	if by := picks(500); by["a"] != 0 {
		t.Errorf("sick for long: got %v, want none on a", by)
	}
	set(true, true)
	if by := picks(500); by["a"] == 0 {
		t.Errorf("well: got %v, want some on a", by)
	}
	if _, err := p.SetHealth(now, "c", balance.ByMaster, ""); err == nil {
		t.Error("a server that is not there: got no error")
	}
}

// A server that comes back has its share back as soon as it has answered a few requests, and until then has few.
func TestAServerThatAnswersWarmsUpSoon(t *testing.T) {
	chosen, err := policy.New("")
	if err != nil {
		t.Fatal(err)
	}
	p := balance.New(balance.Config{Name: "p"}, chosen, 1)
	for _, id := range []balance.ServerID{"a", "b"} {
		if err := p.Put(1, balance.ServerSpec{ID: id, Address: string(id) + ":1", Slots: 40}, true); err != nil {
			t.Fatal(err)
		}
	}
	now := balance.Instant(time.Hour)
	place := func(n int) (on map[balance.ServerID][]balance.LeaseID) {
		t.Helper()
		on = make(map[balance.ServerID][]balance.LeaseID)
		for range n {
			now = now.Add(10 * time.Millisecond) // time for a round that counts those that are warm
			g, err := p.Pick(now, &balance.Request{})
			if err != nil {
				t.Fatal(err)
			}
			on[g.Server] = append(on[g.Server], g.Lease)
		}
		return on
	}
	set := func(problem string) {
		t.Helper()
		if _, err := p.SetHealth(now, "a", balance.ByMaster, problem); err != nil {
			t.Fatal(err)
		}
	}
	set("no answer")
	place(30)
	set("")
	for _, most := range []int{6, 9, 20} { // a tenth of what the other has, and then one more with each answer
		on := place(20)
		if has := len(on["a"]); has > most || has < most/2 {
			t.Fatalf("the server that came back has %d requests, want %d to %d", has, most/2, most)
		}
		for _, leases := range on {
			for _, id := range leases {
				p.Done(now, id, balance.Outcome{Duration: 5 * time.Millisecond})
			}
		}
	}
}

// What broke off when a server went down is not held against it when it is well again.
func TestAServerThatIsWellAgainHasNoOldFaults(t *testing.T) {
	chosen, err := policy.New("")
	if err != nil {
		t.Fatal(err)
	}
	p := balance.New(balance.Config{Name: "p"}, chosen, 1)
	if err := p.Put(1, balance.ServerSpec{ID: "a", Address: "a:1"}, true); err != nil {
		t.Fatal(err)
	}
	now := balance.Instant(time.Hour)
	for range 4 {
		g, err := p.Pick(now, &balance.Request{})
		if err != nil {
			t.Fatal(err)
		}
		p.Done(now, g.Lease, balance.Outcome{Result: balance.Broken, Error: "reset"})
	}
	for _, problem := range []string{"connection refused", ""} {
		if _, err := p.SetHealth(now, "a", balance.ByMaster, problem); err != nil {
			t.Fatal(err)
		}
	}
	if got := p.Explain(now, &balance.Request{}).Candidates[0].Success; got != 1 {
		t.Errorf("its success is %.2f, want 1", got)
	}
}

// A pool whose servers are all sick still tries, because trying is better than a certain refusal.
func TestAllSick(t *testing.T) {
	chosen, _ := policy.New("")
	p := balance.New(balance.Config{Name: "p"}, chosen, 1)
	if err := p.Put(1, balance.ServerSpec{ID: "a", Address: "a:1"}, true); err != nil {
		t.Fatal(err)
	}
	if _, err := p.SetHealth(1, "a", balance.ByMaster, "no answer"); err != nil {
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

// A server is healthy when both its agent and the master's check find it so.
func TestTwoWitnessesOfHealth(t *testing.T) {
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
	for i, step := range []struct {
		by      balance.Witness
		problem string
		changed bool
		want    string
	}{
		{balance.ByMaster, "GET /healthz answered 500", true, "the master's check: GET /healthz answered 500"},
		{balance.ByAgent, "connection refused", false, "connection refused"},
		{balance.ByMaster, "", false, "connection refused"},
		{balance.ByMaster, "no answer", false, "connection refused"},
		{balance.ByAgent, "", false, "the master's check: no answer"},
		{balance.ByMaster, "", true, ""},
	} {
		changed, err := p.SetHealth(2, "a", step.by, step.problem)
		if err != nil || changed != step.changed {
			t.Errorf("step %d: got changed %t, %v, want %t", i, changed, err, step.changed)
		}
		v, state, why := p.Views(2)[0], balance.Up, "chosen"
		if step.want != "" {
			state, why = balance.Ejected, "unhealthy: "+step.want
		}
		if v.Unhealthy != step.want || v.State != state {
			t.Errorf("step %d: got %s, %q, want %s, %q", i, v.State, v.Unhealthy, state, step.want)
		}
		for _, c := range p.Explain(2, &balance.Request{}).Candidates {
			if c.Server == "a" && step.want != "" && c.Why != why {
				t.Errorf("step %d: explained by %q, want %q", i, c.Why, why)
			}
		}
	}
}
