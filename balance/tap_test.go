package balance_test

import (
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

func TestTapTellsDecisionsOutcomesAndRefusals(t *testing.T) {
	p := told(t, balance.Config{}, "a", "b")
	now := second.Add(time.Minute)
	before := pickAt(t, p, now, balance.Request{Edge: "e1"})
	tap := balance.NewTap(balance.TapFilter{}, 100)
	p.Attach(tap)
	p.Configure(now, balance.Config{Name: "web", Decisions: 10}, balance.ByScore{Scorer: leastLoad{}}) // keeps it
	g := pickAt(t, p, now, balance.Request{Edge: "e1", Class: "image"})
	cause := []byte(strings.Repeat("é", 200))
	p.Done(now.Add(time.Second), g.Lease, balance.Outcome{Result: balance.Broken, Error: string(cause)})
	p.Done(now.Add(2*time.Second), before.Lease, balance.Outcome{Duration: 1500 * time.Millisecond, Status: 200})
	refusal := &balance.Refusal{Reason: balance.Saturated}
	p.Refused(now.Add(3*time.Second), "e2", refusal, time.Second)
	list, matched, oneIn := p.TakeTapped(now.Add(3*time.Second), tap)
	if len(list) != 4 || matched != 4 || oneIn != 1 {
		t.Fatalf("got %+v of %d, one in %d, want four, all", list, matched, oneIn)
	}
	if d := list[0]; d.Kind != balance.TapDecision || d.Lease != g.Lease || d.Server != g.Server || d.Edge != "e1" || d.Class != "image" || d.At != now || d.Decision.Chosen != g.Server || len(d.Decision.Candidates) != 2 {
		t.Errorf("got %+v, want the decision for %s", d, g.Server)
	}
	if o := list[1]; o.Kind != balance.TapOutcome || o.Lease != g.Lease || o.Took != time.Second || o.Outcome.Result != balance.Broken || len(o.Outcome.Error) != 300 || o.Class != "image" {
		t.Errorf("got %+v, want the end of %s after a second, with 300 bytes of its error", o, g.Lease)
	}
	if o := list[2]; o.Lease != before.Lease || o.Took != 1500*time.Millisecond || o.Outcome.Status != 200 {
		t.Errorf("got %+v, want the outcome of the lease that was open before", o)
	}
	if r := list[3]; r.Kind != balance.TapRefusal || r.Edge != "e2" || r.Refusal != refusal || r.Took != time.Second {
		t.Errorf("got %+v, want the refusal", r)
	}
	p.Detach(tap)
	pickAt(t, p, now.Add(4*time.Second), balance.Request{})
	if list, matched, _ := p.TakeTapped(now.Add(4*time.Second), tap); len(list) != 0 || matched != 0 {
		t.Errorf("after Detach it has %+v", list)
	}
}

func TestTapFilters(t *testing.T) {
	p := told(t, balance.Config{}, "a", "b")
	now := second.Add(time.Minute)
	filters := map[string]balance.TapFilter{
		"server": {Server: "b"},
		"edge":   {Edge: "e2"},
		"slow":   {SlowerThan: time.Second},
		"errors": {Errors: true},
		"both":   {Errors: true, SlowerThan: time.Second},
	}
	taps := make(map[string]*balance.Tap)
	for name, f := range filters {
		taps[name] = balance.NewTap(f, 100)
		p.Attach(taps[name])
	}
	only := func(not balance.ServerID, edge balance.EdgeID, took time.Duration, r balance.Result) {
		g := pickAt(t, p, now, balance.Request{Exclude: []balance.ServerID{not}, Edge: edge})
		p.Done(now, g.Lease, balance.Outcome{Result: r, Duration: took})
	}
	only("b", "e1", 2*time.Millisecond, balance.OK)
	only("a", "e2", time.Second, balance.Canceled)
	only("a", "e1", 900*time.Millisecond, balance.Fault)
	only("b", "e2", 999*time.Millisecond, balance.ClientError)
	for _, r := range []struct {
		reason balance.Reason
		edge   balance.EdgeID
		waited time.Duration
	}{{balance.NotLeader, "e1", 0}, {balance.Shed, "e2", time.Minute}, {balance.NoServer, "e1", 0}} {
		p.Refused(now, r.edge, &balance.Refusal{Reason: r.reason}, r.waited)
	}
	// A duration that an edge tells is believed up to a second beyond the lease's own.
	want := map[string]string{
		"server": "b+ b:canceled b+ b:fault",
		"edge":   "b+ b:canceled a+ a:client-error !shed",
		"slow":   "!shed",
		"errors": "b:fault !shed !no-server",
		"both":   "!shed",
	}
	for name, tap := range taps {
		list, matched, _ := p.TakeTapped(now, tap)
		var words []string
		for _, one := range list {
			switch one.Kind {
			case balance.TapDecision:
				words = append(words, string(one.Server)+"+")
			case balance.TapOutcome:
				words = append(words, string(one.Server)+":"+one.Outcome.Result.String())
			case balance.TapRefusal:
				words = append(words, "!"+one.Refusal.Reason.String())
			}
		}
		if got := strings.Join(words, " "); got != want[name] || matched != len(list) {
			t.Errorf("%s: got %s of %d, want %s", name, got, matched, want[name])
		}
	}
	slow := balance.NewTap(balance.TapFilter{SlowerThan: time.Second}, 1)
	p.Attach(slow)
	for _, took := range []time.Duration{time.Second, time.Second + 1} {
		g := pickAt(t, p, now, balance.Request{})
		p.Done(now.Add(took), g.Lease, balance.Outcome{Duration: took})
	}
	if list, _, _ := p.TakeTapped(now, slow); len(list) != 1 || list[0].Took != time.Second+1 {
		t.Errorf("got %+v, want the one that took longer than a second", list)
	}
}

// Of more requests than there is room for, those of some leases are told, with decision and outcome.
func TestTapIsBounded(t *testing.T) {
	const most = 50
	p := told(t, balance.Config{}, "a", "b")
	now := second.Add(time.Minute)
	tap := balance.NewTap(balance.TapFilter{}, most)
	p.Attach(tap)
	load := func(requests int) (list []balance.Tapped, matched, oneIn int) {
		for range requests {
			g := pickAt(t, p, now, balance.Request{})
			p.Done(now, g.Lease, balance.Outcome{})
			p.Refused(now, "", &balance.Refusal{Reason: balance.Saturated}, 0)
		}
		return p.TakeTapped(now, tap)
	}
	if list, matched, oneIn := load(1000); len(list) != most || matched != 3000 || oneIn != 1 {
		t.Errorf("at first %d of %d, one in %d, are told, want %d of 3000", len(list), matched, oneIn, most)
	}
	for range 5 {
		list, matched, oneIn := load(1000)
		open, whole, refused := make(map[balance.LeaseID]bool), 0, 0
		for _, one := range list {
			switch one.Kind {
			case balance.TapDecision:
				open[one.Lease] = true
			case balance.TapOutcome:
				if open[one.Lease] {
					whole++
				}
			case balance.TapRefusal:
				refused++
			}
		}
		if matched != 3000 || oneIn != 64 || len(list) > most || whole != len(open) || whole < 5 || refused < 10 {
			t.Errorf("%d decisions, %d with their outcomes, %d refusals of %d, one in %d; want about 16 of each, one in 64", len(open), whole, refused, matched, oneIn)
		}
	}
	load(10)
	if list, _, oneIn := load(10); len(list) != 30 || oneIn != 1 {
		t.Errorf("of few %d are told, one in %d, want all 30", len(list), oneIn)
	}
}

// What is looked at does not change what is chosen.
func TestTapChoosesNothing(t *testing.T) {
	run := func(tapped bool) (all []balance.ServerID) {
		p := told(t, balance.Config{Decisions: 10}, "a", "b", "c")
		if tapped {
			p.Attach(balance.NewTap(balance.TapFilter{}, 1000))
		}
		var open []balance.LeaseID
		for i := range 300 {
			now := second.Add(time.Minute + time.Duration(i)*time.Millisecond)
			g := pickAt(t, p, now, balance.Request{Key: strings.Repeat("k", i%7)})
			all, open = append(all, g.Server), append(open, g.Lease)
			if i%3 > 0 {
				p.Done(now, open[0], balance.Outcome{Result: balance.Result(i % 2), Duration: time.Millisecond})
				open = open[1:]
			}
		}
		return all
	}
	with, without := run(true), run(false)
	for i := range with {
		if with[i] != without[i] {
			t.Fatalf("request %d goes to %s, without a tap to %s", i, with[i], without[i])
		}
	}
}

func TestTapIgnoresLeasesThatMove(t *testing.T) {
	p := told(t, balance.Config{}, "a")
	now := second.Add(time.Minute)
	pickAt(t, p, now, balance.Request{Edge: "e1"})
	tap := balance.NewTap(balance.TapFilter{}, 10)
	p.Attach(tap)
	p.Resign(now)
	if list, _, _ := p.TakeTapped(now, tap); len(list) > 0 {
		t.Errorf("got %+v, though the request goes on in another ledger", list)
	}
}
