package balance_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// told returns a pool with a scorer that keeps some decisions, of servers with a slot each.
func told(t testing.TB, cfg balance.Config, ids ...string) *balance.Pool {
	t.Helper()
	cfg.Name = "web"
	p := balance.New(cfg, balance.ByScore{Scorer: leastLoad{}}, 1)
	for _, id := range ids {
		s := spec(id)
		s.Slots = 1
		if err := p.Put(second, s, true); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func pickAt(t testing.TB, p *balance.Pool, now balance.Instant, req balance.Request) balance.Grant {
	t.Helper()
	g, err := p.Pick(now, &req)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// whys returns the candidates' reasons by server, and holds that their order is right.
func whys(t *testing.T, d balance.Decision) map[balance.ServerID]string {
	t.Helper()
	all := make(map[balance.ServerID]string)
	for _, c := range d.Candidates {
		all[c.Server] = c.Why
	}
	if d.Chosen != "" && all[d.Chosen] != "chosen" {
		t.Errorf("chosen %s, but of it is said %q", d.Chosen, all[d.Chosen])
	}
	return all
}

func TestExplainAndDecisionAgree(t *testing.T) {
	p := told(t, balance.Config{QueueSize: 10, Decisions: 10}, "busy", "drained", "excluded", "free")
	now := second.Add(time.Minute)
	pickAt(t, p, now, balance.Request{Exclude: []balance.ServerID{"free", "excluded", "drained"}})
	if err := p.Override(now, "drained", balance.Override{On: true}, now); err != nil {
		t.Fatal(err)
	}
	req := balance.Request{Exclude: []balance.ServerID{"excluded"}, Tenant: "t", Priority: 3}
	asked := p.Explain(now, &req)
	if p.Open() != 1 {
		t.Fatalf("%d leases are open, want 1: asking why grants nothing", p.Open())
	}
	g := pickAt(t, p, now, req)
	kept, ok := p.Decision(second, g.Lease)
	if !ok || kept.Lease != g.Lease || kept.At != now || kept.Servers != 4 || kept.Request.Tenant != "t" || kept.Request.Priority != 3 {
		t.Fatalf("got %+v, %v, want the decision for %s", kept, ok, g.Lease)
	}
	want := map[balance.ServerID]string{"busy": "at its limit", "drained": "draining", "excluded": "excluded: it has already failed this request", "free": "chosen"}
	for name, d := range map[string]balance.Decision{"asked": asked, "kept": kept} {
		got := whys(t, d)
		for id, why := range want {
			if got[id] != why {
				t.Errorf("%s: %s: got %q, want %q", name, id, got[id], why)
			}
		}
		if c := d.Candidates[0]; c.Server != "free" || c.Slots != 1 || c.Success != 1 || c.Affinity != 1 || c.Reported >= 0 || math.IsNaN(c.Score) {
			t.Errorf("%s: first stands %+v, want free with its terms and no report", name, c)
		}
	}
}

func TestDecisionForAKey(t *testing.T) {
	p := told(t, balance.Config{Decisions: 10, Affinity: balance.Affinity{Hit: .25}, Distances: map[string]map[string]float64{"eu": {"us": .5}}}, "a", "b")
	now := second.Add(time.Minute)
	key := []byte("borrowed")
	req := balance.Request{Key: unsafe.String(&key[0], len(key)), Location: "eu"}
	first := pickAt(t, p, now, req)
	g := pickAt(t, p, now, req)
	if g.Server != first.Server {
		t.Fatalf("got %s, want %s, which knows the key", g.Server, first.Server)
	}
	copy(key, "garbage!")
	d, _ := p.Decision(second, g.Lease)
	if d.Request.Key != "borrowed" || d.Request.Location != "eu" {
		t.Errorf("got key %q and location %q, want the request's own", d.Request.Key, d.Request.Location)
	}
	if c := d.Candidates; c[0].Server != g.Server || c[0].Affinity != .25 || c[1].Affinity != 1 || c[0].Score >= c[1].Score || c[1].Why != "higher score" {
		t.Errorf("got %+v, want the one that knows the key first, and both terms", c)
	}
}

func TestDecisionsAreBounded(t *testing.T) {
	p := told(t, balance.Config{Decisions: 3}, "a", "b")
	if got := p.Decisions(second, 10); len(got) != 0 {
		t.Errorf("got %+v before the first, want none", got)
	}
	var grants []balance.Grant
	for i := range 5 {
		grants = append(grants, pickAt(t, p, second.Add(time.Duration(i)), balance.Request{Key: strings.Repeat("k", i*20)}))
	}
	got := p.Decisions(second, 10)
	if len(got) != 3 || got[0].Lease != grants[4].Lease || got[2].Lease != grants[2].Lease {
		t.Errorf("got %+v, want the last three, newest first", got)
	}
	if key := got[0].Request.Key; key != strings.Repeat("k", 30)+"…" {
		t.Errorf("got key %q, want it cut", key)
	}
	if len(p.Decisions(second, 2)) != 2 {
		t.Error("more than two were told")
	}
	if _, ok := p.Decision(second, grants[1].Lease); ok {
		t.Error("the second of five is still there")
	}
	if _, ok := told(t, balance.Config{}, "a").Decision(second, 1); ok {
		t.Error("a pool that keeps no decisions has one")
	}
}

// Of a flood of decisions a share is kept, and of a burst all.
func TestAFloodOfDecisionsIsNotAllKept(t *testing.T) {
	p := told(t, balance.Config{Decisions: 1000}, "a", "b")
	kept := func(from balance.Instant, n int, apart time.Duration) (kept int) {
		for i := range n {
			g, err := p.Pick(from.Add(time.Duration(i)*apart), &balance.Request{Edge: "edge-1"})
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := p.Decision(second, g.Lease); ok {
				kept++
			}
		}
		return kept
	}
	if n := kept(second.Add(time.Minute), 1000, 0); n != 1000 {
		t.Errorf("of a burst of 1000 decisions %d were kept, want all", n)
	}
	if n := kept(second.Add(2*time.Minute), 100_000, time.Microsecond); n < 2800 || n > 3200 {
		t.Errorf("of 100,000 decisions in a tenth of a second %d were kept, want about 2,000 and a burst's 1,000", n)
	}
}

func TestDecisionOfAPolicyThatComparesNothing(t *testing.T) {
	p := balance.New(balance.Config{Name: "web", Decisions: 3}, first{}, 1)
	for _, id := range []string{"a", "b"} {
		if err := p.Put(second, spec(id), true); err != nil {
			t.Fatal(err)
		}
	}
	g := pickAt(t, p, second, balance.Request{})
	if d, _ := p.Decision(second, g.Lease); len(d.Candidates) != 1 || d.Candidates[0].Why != "chosen" || !math.IsNaN(d.Candidates[0].Score) {
		t.Errorf("got %+v, want the chosen one without a score", d)
	}
	if got := whys(t, p.Explain(second, &balance.Request{})); got["a"] != "may be chosen" || got["b"] != "may be chosen" {
		t.Errorf("got %v, want that either may be chosen", got)
	}
}

func TestKeepingDecisionsAllocatesNothing(t *testing.T) {
	p := told(t, balance.Config{Decisions: 100}, "a", "b", "c")
	req := balance.Request{Edge: "e1", Key: "k", Tenant: "t", Exclude: []balance.ServerID{"a"}}
	step := func() {
		g, err := p.Pick(second, &req)
		if err != nil {
			t.Fatal(err)
		}
		p.Done(second, g.Lease, balance.Outcome{})
	}
	for range 100 {
		step()
	}
	if n := testing.AllocsPerRun(1000, step); n != 0 {
		t.Errorf("a pick that is kept allocates %v times, want none", n)
	}
}

// BenchmarkKeptDecision is a pick and its done, with and without its being kept.
func BenchmarkKeptDecision(b *testing.B) {
	for _, n := range []int{10, 10000} {
		for _, kept := range []int{0, 1000} {
			b.Run(fmt.Sprintf("servers=%d/kept=%d", n, kept), func(b *testing.B) {
				var ids []string
				for i := range n {
					ids = append(ids, fmt.Sprint("s", i))
				}
				p := told(b, balance.Config{Decisions: kept}, ids...)
				now, req := second.Add(time.Minute), balance.Request{Edge: "edge-1", Tenant: "t"}
				b.ReportAllocs()
				for b.Loop() {
					now += 1000
					g, err := p.Pick(now, &req)
					if err != nil {
						b.Fatal(err)
					}
					p.Done(now, g.Lease, balance.Outcome{Duration: 50 * time.Millisecond})
				}
			})
		}
	}
}
