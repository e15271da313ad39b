package policy_test

import (
	"fmt"
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
