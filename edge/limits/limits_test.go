package limits

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

func client(addr string) balance.ClientPrefix { return balance.PrefixOf(netip.MustParseAddr(addr)) }

func TestBudgetIsNeverExceededAndOneClientLeavesRoomForOthers(t *testing.T) {
	b := Budget{Limit: 1000}
	one, other := client("192.0.2.1"), client("192.0.2.2")
	taken := int64(0)
	for b.Take(one, 100) {
		taken += 100
	}
	if taken != 500 {
		t.Errorf("one client alone took %d, want half of 1000", taken)
	}
	for b.Take(other, 100) {
		taken += 100
	}
	if taken != 700 || b.Used() != 700 {
		t.Errorf("with another client %d are taken (Used %d), want 700: its quarter, of which the half that is free counts", taken, b.Used())
	}
	for i := range 100 {
		for b.Take(balance.ClientPrefix(i+1), 10) {
		}
	}
	if b.Used() > 875 || b.Used() < 865 || !b.Scarce() {
		t.Errorf("many clients took %d (scarce: %v), want all but an eighth of 1000", b.Used(), b.Scarce())
	}
	b.Give(one, 500)
	if !b.Take(one, 200) || b.Take(one, 100) {
		t.Errorf("what was given back is not to be had again, or beyond a quarter")
	}
}

// However many bodies hold memory and need more, there is always one that has what it needs.
func TestBodiesThatHoldMemoryNeverWaitForEachOther(t *testing.T) {
	for seed := range 50 {
		rng := rand.New(rand.NewPCG(uint64(seed), 1))
		b := Budget{Limit: 1600}
		type body struct {
			c                  balance.ClientPrefix
			held, needed, rest int64
		}
		var open []body
		for range 200 {
			body := body{c: balance.ClientPrefix(rng.IntN(4) + 1), needed: int64(rng.IntN(20)+1) * 10}
			if b.Take(body.c, 10) {
				body.held = 10
				open = append(open, body)
			}
		}
		for len(open) > 0 {
			grown := false
			rng.Shuffle(len(open), func(i, k int) { open[i], open[k] = open[k], open[i] })
			for i := range open {
				o := &open[i]
				switch n := o.needed - o.held; {
				case n <= 0:
				case b.Take(o.c, 10):
					o.held += 10
					grown = true
				case !b.EverRest(n):
					t.Fatalf("%d of 1600 are not to be had at any time", n)
				case b.TakeRest(o.c, n):
					o.held, o.rest = o.needed, n
					grown = true
				}
				if b.Used() > b.Limit {
					t.Fatalf("%d bytes are taken of %d", b.Used(), b.Limit)
				}
			}
			before := len(open)
			open = slices.DeleteFunc(open, func(o body) bool {
				if o.held < o.needed || rng.IntN(2) == 0 {
					return false
				}
				if o.rest > 0 {
					b.EndRest(o.c, o.rest)
				}
				b.Give(o.c, o.held)
				return true
			})
			done := slices.ContainsFunc(open, func(o body) bool { return o.held >= o.needed })
			if !grown && !done && before == len(open) {
				t.Fatalf("seed %d: %d bodies wait for each other", seed, before)
			}
		}
		if b.Used() != 0 || len(b.clients) != 0 || len(b.rests) != 0 {
			t.Fatalf("seed %d: %d bytes, %d clients and %d rests are left", seed, b.Used(), len(b.clients), len(b.rests))
		}
	}
}

func TestOneClientLeavesRoomForRestsOfOthers(t *testing.T) {
	b := Budget{Limit: 1600}
	one, other := client("192.0.2.1"), client("192.0.2.2")
	if !b.TakeRest(one, 60) || b.TakeRest(one, 60) || !b.TakeRest(other, 100) {
		t.Errorf("a client has more than half of what is kept for rests, or another none")
	}
	b.EndRest(one, 60)
	if !b.TakeRest(one, 60) {
		t.Errorf("a rest that has been read counts")
	}
}

func TestBudgetForgetsClientsThatHoldNothing(t *testing.T) {
	b := Budget{Limit: 1 << 20}
	for i := range 1000 {
		c := balance.ClientPrefix(i + 1)
		b.Take(c, 10)
		b.Take(c, 5)
		b.Give(c, 15)
	}
	if len(b.clients) != 0 || b.Used() != 0 {
		t.Errorf("%d clients hold %d bytes after all was given back", len(b.clients), b.Used())
	}
}

func TestPaceJudgesOnlyWhatTheSenderWasWaitedFor(t *testing.T) {
	at := func(s float64) balance.Instant {
		return balance.Instant(time.Hour + time.Duration(s*float64(time.Second)))
	}
	var p Pace
	if p.Over(at(1e6)) {
		t.Fatal("a pace ends that was not started")
	}
	if due := p.Start(at(0), Window); due != at(10) || p.Start(at(5), Window) != due || p.Over(at(9.9)) || !p.Over(at(10)) {
		t.Fatalf("the window ends at %v, want 10 s after it began, however often it is started", due)
	}
	p.Took(999)
	if !p.Judge(at(10), 100) {
		t.Errorf("999 bytes in 10 s pass for 100 a second")
	}
	p.Start(at(10), Window)
	p.Took(1000)
	if p.Judge(at(20), 100) {
		t.Errorf("1000 bytes in 10 s do not pass for 100 a second")
	}
	p.Start(at(20), Window)
	p.Stop() // the server takes nothing for a minute
	if p.Over(at(80)) {
		t.Errorf("a window ends that was stopped")
	}
	if p.Start(at(80), Window) != at(90) || p.Over(at(89)) || !p.Over(at(90)) {
		t.Errorf("what was stopped does not begin anew")
	}
}

func TestStallsAreCountedByClient(t *testing.T) {
	var s Stalls
	one, other := client("2001:db8:0:100::1"), client("2001:db8:0:200::1")
	for range MostStalls {
		if !s.Enter(one) {
			t.Fatal("the first are refused")
		}
	}
	if s.Enter(one) || !s.Enter(other) {
		t.Errorf("one client has more than %d, or takes another's", MostStalls)
	}
	s.Leave(one)
	if !s.Enter(one) {
		t.Errorf("one that has left is still counted")
	}
	for range MostStalls {
		s.Leave(one)
	}
	s.Leave(other)
	if len(s.clients) != 0 {
		t.Errorf("%d clients are remembered, want none", len(s.clients))
	}
}
