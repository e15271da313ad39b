package policy_test

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/policy"
)

// The example of docs/choosing.md, by the code: three servers, a request that is explained,
// and one that is placed.
func TestTheExampleInTheDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/choosing.md")
	if err != nil {
		t.Fatal(err)
	}
	chosen, err := policy.New("least-load")
	if err != nil {
		t.Fatal(err)
	}
	p := balance.New(balance.Config{Name: "p"}, chosen, 1)
	ids := []balance.ServerID{"r1", "r2", "r3"}
	for _, id := range ids {
		spec := balance.ServerSpec{ID: id, Address: string(id) + ":1", Slots: 4}
		if id == "r2" {
			spec.Slots, spec.Speed = 2, 2
		}
		if err := p.Put(1, spec, true); err != nil {
			t.Fatal(err)
		}
	}
	now := balance.Instant(time.Minute)
	give := func(id balance.ServerID) balance.LeaseID {
		t.Helper()
		var others []balance.ServerID
		for _, other := range ids {
			if other != id {
				others = append(others, other)
			}
		}
		g, err := p.Pick(now, &balance.Request{Exclude: others})
		if err != nil || g.Server != id {
			t.Fatalf("got %+v, %v, want %s", g, err, id)
		}
		return g.Lease
	}
	for _, id := range []balance.ServerID{"r1", "r1", "r1", "r2", "r2"} {
		give(id)
	}
	p.Done(now, give("r3"), balance.Outcome{Result: balance.Fault})
	rows := ""
	for _, c := range p.Explain(now, &balance.Request{}).Candidates {
		rows += fmt.Sprintf("| %s | %.3g | %.3g | %.3g | %.3g | %.4g |\n", c.Server, c.Load, c.Slots, c.Service, c.Success, c.Score)
		if c.Learnt.Slots != "declared" || c.Learnt.Age >= 0 || c.Learnt.Samples != 0 {
			t.Errorf("%s: what is known is told to rest on %+v, want declared slots and no sample", c.Server, c.Learnt)
		}
	}
	if !strings.Contains(string(text), rows) {
		t.Errorf("docs/choosing.md lacks the rows\n%s", rows)
	}
	for _, want := range []balance.ServerID{"r1", "r3"} {
		if g, err := p.Pick(now, &balance.Request{}); err != nil || g.Server != want {
			t.Errorf("got %v, %v, want %s", g.Server, err, want)
		}
	}
}

// formula is the score as docs/choosing.md has it, of the terms that explain shows.
func formula(n, c, b, g, sr float64, known bool) float64 {
	switch {
	case !known:
		return b * g * (n + .5) / c / (sr * sr)
	case n+1 <= c+.3:
		return b * g * (1 + .03*n/c) / (sr * sr)
	}
	return b * g * (2.5*n + 1) / c / (sr * sr)
}

// The formula in the document is that of the code, whatever is learnt, and the scores that are worked by hand there follow from it.
func TestTheFormulaInTheDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/choosing.md")
	if err != nil {
		t.Fatal(err)
	}
	numbers := fmt.Sprintf("The scores would be %.4g, %.4g and %.4g", formula(3, 4, 1, 2, 1, true), formula(0, 4, 1, 1, .95, true), formula(2, 2, .5, math.Sqrt2, 1, true))
	if !strings.Contains(string(text), numbers) {
		t.Errorf("docs/choosing.md lacks %q", numbers)
	}
	chosen, err := policy.New("least-load")
	if err != nil {
		t.Fatal(err)
	}
	p := balance.New(balance.Config{Name: "p"}, chosen, 1)
	for i, slots := range []float64{4, 4, 2, 0} {
		if err := p.Put(1, balance.ServerSpec{ID: balance.ServerID(fmt.Sprint(i)), Address: "a:1", Slots: slots}, true); err != nil {
			t.Fatal(err)
		}
	}
	now, grows, seen := balance.Instant(time.Minute), false, map[string]int{}
	for round := range 3000 {
		now = now.Add(100 * time.Millisecond)
		var open []balance.Grant
		for range 1 + round%9 {
			for _, c := range p.Explain(now, &balance.Request{}).Candidates {
				known := c.Learnt.Slots != "assumed"
				if want := formula(c.Load, c.Slots, c.Service, c.Growth, c.Success, known); math.Abs(c.Score-want) > 1e-9*want {
					t.Fatalf("the score of server %s is %v, by its terms %+v it should be %v", c.Server, c.Score, c, want)
				}
				grows = grows || c.Growth > 1
				seen[fmt.Sprint(known, c.Load+1 <= c.Slots+.3, c.Success < 1)]++
			}
			g, err := p.Pick(now, &balance.Request{})
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, g)
		}
		at := map[balance.ServerID]int{}
		for _, g := range open {
			at[g.Server]++
		}
		for i, g := range open { // each takes the longer, the more are there
			took := time.Duration(float64(20*time.Millisecond) * math.Sqrt(float64(at[g.Server])) * float64(8+i*round%5) / 10)
			o := balance.Outcome{Duration: took}
			if round%50 == 0 && i == 0 {
				o = balance.Outcome{Result: balance.Fault, Duration: took}
			}
			p.Done(now.Add(took), g.Lease, o)
		}
	}
	if !grows || len(seen) < 5 {
		t.Errorf("g grows: %t; the cases that came up are %v: want nearly all", grows, seen)
	}
}
