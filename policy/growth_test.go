package policy_test

import (
	"math"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/policy"
)

// Where answers slow down from the second request on, a server with fewer requests is better by more than a trifle,
// though both are within their slots.
func TestLatenciesThatGrowCountWithinTheSlots(t *testing.T) {
	const second = balance.Instant(time.Second)
	ratio := func(grow bool) float64 {
		p := balance.New(balance.Config{Name: "p"}, balance.ByScore{Scorer: policy.LeastLoad{}}, 1)
		for _, id := range []balance.ServerID{"a", "b"} {
			if err := p.Put(second, balance.ServerSpec{ID: id, Address: "127.0.0.1:80", Slots: 64}, true); err != nil {
				t.Fatal(err)
			}
		}
		now := second
		for round := range 600 {
			open := make([]balance.Grant, 2<<(round%5))
			for i := range open {
				g, err := p.Pick(now, &balance.Request{Edge: "e"})
				if err != nil {
					t.Fatal(err)
				}
				open[i] = g
			}
			for i, g := range open {
				took := 10 * time.Millisecond
				if grow { // each met as many as it is
					took *= time.Duration(1 + i/2)
				}
				p.Done(now.Add(took), g.Lease, balance.Outcome{Duration: took})
			}
			now += second
		}
		var busy []balance.Grant
		for len(busy) < 9 {
			g, err := p.Pick(now, &balance.Request{Edge: "e", Exclude: []balance.ServerID{"b"}})
			if err != nil {
				t.Fatal(err)
			}
			busy = append(busy, g)
		}
		d := p.Explain(now, &balance.Request{})
		return d.Candidates[1].Score / d.Candidates[0].Score
	}
	if level, growing := ratio(false), ratio(true); level > 1.05 || growing < 3 {
		t.Errorf("with nine requests a server's score is %.2f of an idle one's, and %.2f where answers grow with the requests; want nearly 1, and more than 3", level, growing)
	}
}

// Where latencies grow by the root of the requests present, which no number of slots explains, declared slots stay, and the score of a
// server with nine requests grows alike.
func TestTheScoreGrowsAsLatenciesDo(t *testing.T) {
	p := balance.New(balance.Config{Name: "p"}, balance.ByScore{Scorer: policy.LeastLoad{}}, 1)
	if err := p.Put(second, server("a", 64, 0), true); err != nil {
		t.Fatal(err)
	}
	now := second
	for round := range 140 {
		open := make([]balance.Grant, 1<<(round%7))
		for i := range open {
			g, err := p.Pick(now, &balance.Request{Edge: "e"})
			if err != nil {
				t.Fatal(err)
			}
			open[i] = g
		}
		for i, g := range open { // each met as many as it is
			took := time.Duration(float64(10*time.Millisecond) * math.Sqrt(float64(i+1)))
			p.Done(now.Add(took), g.Lease, balance.Outcome{Duration: took})
		}
		now += second
	}
	score := func() (score, slots float64) {
		c := p.Explain(now, &balance.Request{}).Candidates[0]
		return c.Score, c.Slots
	}
	alone, slots := score()
	for range 9 {
		if _, err := p.Pick(now, &balance.Request{Edge: "e"}); err != nil {
			t.Fatal(err)
		}
	}
	if busy, _ := score(); slots != 64 || busy < 2*alone || busy > 4*alone {
		t.Errorf("with nine requests at %v slots the score is %.2f of an idle server's, want about the root of ten at 64", slots, busy/alone)
	}
}
