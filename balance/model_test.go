package balance_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"pgregory.net/rapid"
)

const second = balance.Instant(1e9)

// first takes the first candidate, so that tests of the pool depend on no policy.
type first struct{}

func (first) Choose(balance.Instant, *balance.Request, []*balance.Server, *rand.Rand) int { return 0 }

// anyOf draws, so that a random run reaches every server.
type anyOf struct{}

func (anyOf) Choose(_ balance.Instant, _ *balance.Request, c []*balance.Server, rng *rand.Rand) int {
	return rng.IntN(len(c))
}

func spec(id string) balance.ServerSpec {
	return balance.ServerSpec{ID: balance.ServerID(id), Address: "127.0.0.1:8000"}
}

// obvious is the ledger as anyone would first write it: slow, and plainly right.
type obvious struct {
	leases map[balance.LeaseID]*obviousLease
}

type obviousLease struct {
	server  balance.ServerID
	edge    balance.EdgeID
	expires balance.Instant
}

func (o *obvious) expire(now balance.Instant) {
	maps.DeleteFunc(o.leases, func(_ balance.LeaseID, l *obviousLease) bool { return l.expires != 0 && l.expires <= now })
}

func (o *obvious) cut(edge balance.EdgeID, by balance.Instant) {
	for _, l := range o.leases {
		if l.edge == edge && l.expires == 0 {
			l.expires = by
		}
	}
}

func (o *obvious) held(id balance.ServerID) (n int) {
	for _, l := range o.leases {
		if l.server == id {
			n++
		}
	}
	return n
}

// Whatever happens in whatever order, the pool counts what the obvious ledger counts.
func TestLedgerNeverDrifts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const grace = 5 * time.Second
		p := balance.New(balance.Config{Name: "web", Grace: grace}, anyOf{}, rapid.Uint64().Draw(t, "seed"))
		model := obvious{leases: make(map[balance.LeaseID]*obviousLease)}
		now := second
		ids := []string{"a", "b", "c", "d"}
		edges := []balance.EdgeID{"", "e1", "e2"}
		var ended []balance.LeaseID
		var foreign balance.LeaseID = 1<<60 | 77

		lease := func(t *rapid.T) (balance.LeaseID, bool) {
			open := slices.Sorted(maps.Keys(model.leases))
			if len(open) == 0 {
				return 0, false
			}
			return rapid.SampledFrom(open).Draw(t, "lease"), true
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				id := rapid.SampledFrom(ids).Draw(t, "server")
				if err := p.Put(now, spec(id), id == "a"); err != nil {
					t.Fatal(err)
				}
			},
			"pick": func(t *rapid.T) {
				req := balance.Request{Edge: rapid.SampledFrom(edges).Draw(t, "edge"),
					Link: balance.Link(rapid.IntRange(0, 1).Draw(t, "link"))}
				grant, err := p.Pick(now, &req)
				if err != nil {
					return
				}
				if model.leases[grant.Lease] != nil || slices.Contains(ended, grant.Lease) {
					t.Fatalf("lease %s was granted twice", grant.Lease)
				}
				model.leases[grant.Lease] = &obviousLease{grant.Server, req.Edge, grant.Expires}
				if limited := req.Edge == "" || req.Link == balance.LinkRedirect; limited != (grant.Expires != 0) {
					t.Fatalf("lease of edge %q by %s expires at %d", req.Edge, req.Link, grant.Expires)
				}
			},
			"done": func(t *rapid.T) {
				id, ok := lease(t)
				if !ok {
					return
				}
				result := balance.Result(rapid.IntRange(0, 5).Draw(t, "result"))
				if !p.Done(now, id, balance.Outcome{Result: result, Duration: time.Millisecond}) {
					t.Fatalf("done of the open lease %s was not taken", id)
				}
				delete(model.leases, id)
				ended = append(ended, id)
			},
			"done again": func(t *rapid.T) {
				if len(ended) > 0 && p.Done(now, rapid.SampledFrom(ended).Draw(t, "lease"), balance.Outcome{}) {
					t.Fatal("a lease ended twice")
				}
			},
			"hold": func(t *rapid.T) {
				foreign++
				id := balance.ServerID(rapid.SampledFrom(ids).Draw(t, "server"))
				if err := p.Hold(now, "e1", &balance.Held{Lease: foreign, Server: id, Age: time.Second}); err != nil {
					t.Fatal(err)
				}
				model.leases[foreign] = &obviousLease{id, "e1", 0}
			},
			"hold again": func(t *rapid.T) {
				if id, ok := lease(t); ok {
					if err := p.Hold(now, model.leases[id].edge, &balance.Held{Lease: id, Server: model.leases[id].server}); err != nil {
						t.Fatal(err)
					}
					model.leases[id].expires = 0
				}
			},
			"lost": func(t *rapid.T) {
				edge := rapid.SampledFrom(edges[1:]).Draw(t, "edge")
				p.Lost(now, edge)
				model.cut(edge, now.Add(grace))
			},
			"left": func(t *rapid.T) {
				edge := rapid.SampledFrom(edges[1:]).Draw(t, "edge")
				p.Left(now, edge)
				model.cut(edge, now)
				model.expire(now)
			},
			"drain": func(t *rapid.T) {
				p.Override(now, balance.ServerID(rapid.SampledFrom(ids).Draw(t, "server")), balance.Override{On: rapid.Bool().Draw(t, "on")}, now)
			},
			"goodbye": func(t *rapid.T) { p.Goodbye(now, balance.ServerID(rapid.SampledFrom(ids).Draw(t, "server"))) },
			"time": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "step")))
				p.Expire(now)
				model.expire(now)
			},
			"": func(t *rapid.T) {
				if err := p.Check(); err != nil {
					t.Fatal(err)
				}
				if p.Open() != len(model.leases) {
					t.Fatalf("%d leases are open, want %d", p.Open(), len(model.leases))
				}
				for _, v := range p.Views(now) {
					if want := model.held(v.Spec.ID); v.Leases != want {
						t.Fatalf("server %s has %d leases, want %d", v.Spec.ID, v.Leases, want)
					}
				}
			},
		})
	})
}

// After a restart an edge may tell of its leases before agents tell of their servers. Such
// a lease counts from the start, and its server is given nothing until it is told of.
func TestALeaseOnAServerThatIsStillToCome(t *testing.T) {
	p := balance.New(balance.Config{Name: "web"}, first{}, 1)
	for id := range balance.LeaseID(2) {
		if err := p.Hold(second, "e", &balance.Held{Lease: 77 + id, Server: "a", Age: time.Second}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Pick(second, &balance.Request{}); err == nil {
		t.Error("a server of which only a lease tells was given a request")
	}
	for range p.Members {
		t.Error("a server of which only a lease tells is a member")
	}
	if err := p.Put(second, spec("a"), false); err != nil {
		t.Fatal(err)
	}
	if v := p.Views(second); len(v) != 1 || v[0].Leases != 2 || v[0].State != balance.Up || v[0].Spec.Address == "" {
		t.Errorf("the server that has come is %+v, want it up with 2 leases", v)
	}
	for id := range balance.LeaseID(2) {
		p.Done(second, 77+id, balance.Outcome{})
	}
	if v := p.Views(second); len(v) != 1 || v[0].Leases != 0 {
		t.Errorf("with its leases over the server is %+v, want it idle", v)
	}
	if err := p.Hold(second, "e", &balance.Held{Lease: 99, Server: "b", Age: time.Second}); err != nil {
		t.Fatal(err)
	}
	p.Done(second, 99, balance.Outcome{})
	if n, _ := p.Servers(); n != 1 {
		t.Errorf("%d servers are remembered, want the one that came: the other's lease is over", n)
	}
	if p.Hold(second, "e", &balance.Held{Lease: 98, Age: time.Second}) == nil {
		t.Error("a lease on a server without a name was taken")
	}
	if err := p.Check(); err != nil {
		t.Error(err)
	}
}

func TestRefusalSaysWhy(t *testing.T) {
	p := balance.New(balance.Config{Name: "web"}, first{}, 1)
	for _, id := range []string{"a", "b", "c"} {
		if err := p.Put(second, spec(id), true); err != nil {
			t.Fatal(err)
		}
	}
	p.Override(second, "a", balance.Override{On: true}, second)
	_, err := p.Pick(second, &balance.Request{Exclude: []balance.ServerID{"b"}, Labels: []balance.Label{{Key: "gpu", Value: "yes"}}})
	want := "no-server: pool web: 3 servers, 1 draining, 1 have already failed this request, 1 without the labels asked for"
	if fmt.Sprint(err) != want {
		t.Errorf("refused with %q, want %q", err, want)
	}
}

func TestEjectedServersAreTriedWhenNobodyElseIsLeft(t *testing.T) {
	p := balance.New(balance.Config{Name: "web"}, first{}, 1)
	p.Put(second, spec("a"), true)
	for range 10 {
		grant, err := p.Pick(second, &balance.Request{})
		if err != nil {
			t.Fatal(err)
		}
		p.Done(second, grant.Lease, balance.Outcome{Result: balance.Unreachable})
	}
	if got := p.Views(second)[0].State; got != balance.Ejected {
		t.Errorf("a server that cannot be reached is %s, want ejected", got)
	}
	p.Put(second, spec("b"), true)
	if grant, err := p.Pick(second, &balance.Request{}); err != nil || grant.Server != "b" {
		t.Errorf("picked %q, %v; want b, the only one that is up", grant.Server, err)
	}
}

func TestARefusalReadsAsAReport(t *testing.T) {
	p := balance.New(balance.Config{Name: "web"}, balance.ByScore{Scorer: leastLoad{}}, 1)
	for _, id := range []string{"a", "b"} {
		s := spec(id)
		s.Slots = 4
		p.Put(second, s, true)
	}
	refused, err := p.Pick(second, &balance.Request{})
	if err != nil {
		t.Fatal(err)
	}
	p.Done(second, refused.Lease, balance.Outcome{Result: balance.Refused})
	for range 4 {
		if grant, err := p.Pick(second, &balance.Request{}); err != nil || grant.Server == refused.Server {
			t.Fatalf("picked %s, %v; want the one that has not just refused", grant.Server, err)
		}
	}
	for _, v := range p.Views(second.Add(time.Minute)) {
		if v.External > .1 {
			t.Errorf("a minute after its refusal %s is thought to have %.2f of others' requests", v.Spec.ID, v.External)
		}
	}
}

func TestNoMoreThanAThirdIsEjectedForFaults(t *testing.T) {
	p := balance.New(balance.Config{Name: "web"}, anyOf{}, 1)
	for i := range 9 {
		p.Put(second, spec(fmt.Sprint(i)), true)
	}
	for range 1000 {
		grant, err := p.Pick(second, &balance.Request{})
		if err != nil {
			t.Fatal(err)
		}
		p.Done(second, grant.Lease, balance.Outcome{Result: balance.Fault})
	}
	ejected := 0
	for _, v := range p.Views(second) {
		if v.State == balance.Ejected {
			ejected++
		}
	}
	if ejected != 3 {
		t.Errorf("%d of 9 failing servers are ejected, want 3", ejected)
	}
}

func TestImpossibleReports(t *testing.T) {
	p := balance.New(balance.Config{Name: "web"}, first{}, 1)
	p.Put(second, spec("a"), true)
	for _, c := range []struct {
		name   string
		report balance.Report
		kept   int
		fails  bool
	}{
		{"good", balance.Report{Server: "a", Metrics: []balance.Metric{{Name: balance.CPUUtilization, Value: .5}}}, 1, false},
		{"not a number", balance.Report{Server: "a", Metrics: []balance.Metric{{Name: "named_metrics.x", Value: nan()}, {Name: "named_metrics.y", Value: 1}}}, 2, true},
		{"negative", balance.Report{Server: "a", Metrics: []balance.Metric{{Name: balance.EPS, Value: -1}}}, 2, true},
		{"huge", balance.Report{Server: "a", Metrics: []balance.Metric{{Name: balance.RPS, Value: 1e308}}}, 2, true},
		{"nameless", balance.Report{Server: "a", Metrics: []balance.Metric{{Value: 1}}}, 2, true},
		{"from the future", balance.Report{Server: "a", Age: -1}, 2, true},
		{"from no server", balance.Report{Server: "z"}, 2, true},
	} {
		err := p.Report(second, &c.report)
		if (err != nil) != c.fails {
			t.Errorf("%s: error %v, want one: %v", c.name, err, c.fails)
		}
		if kept := len(p.Views(second)[0].Metrics); kept != c.kept {
			t.Errorf("%s: %d metrics are kept, want %d", c.name, kept, c.kept)
		}
	}
}

func nan() float64 { zero := 0.; return zero / zero }

func TestExternalLoadFadesWhenReportsStop(t *testing.T) {
	p := balance.New(balance.Config{Name: "web"}, first{}, 1)
	p.Put(second, spec("a"), true)
	now := second
	for range 50 {
		now = now.Add(100 * time.Millisecond)
		if err := p.Report(now, &balance.Report{Server: "a", Metrics: []balance.Metric{{Name: balance.InFlight, Value: 8}}}); err != nil {
			t.Fatal(err)
		}
	}
	load := func(after time.Duration) float64 { return p.Views(now.Add(after))[0].External }
	if got := load(0); got < 7.9 || got > 8.1 {
		t.Errorf("external load is %.2f, want the reported 8", got)
	}
	if got := load(600 * time.Millisecond); got < 3.9 || got > 4.3 {
		t.Errorf("external load after 5 missed reports is %.2f, want half of 8", got)
	}
	if got := load(time.Minute); got > .01 {
		t.Errorf("external load after a minute of silence is %.2f, want nothing", got)
	}
}

// A server's slots are found from its utilisation, however it is loaded, and its
// service time from durations, though requests crowd.
func TestCapacityIsLearnt(t *testing.T) {
	const c, alone = 4, .2
	p := balance.New(balance.Config{Name: "web"}, first{}, 1)
	p.Put(second, spec("a"), true)
	rng := rand.New(rand.NewPCG(1, 2))
	now := second
	var open []balance.LeaseID
	for range 200 { // windows of 100 ms, the number present changing in each
		busy := 0.
		for range 4 {
			want := rng.IntN(9)
			for len(open) < want {
				grant, err := p.Pick(now, &balance.Request{})
				if err != nil {
					t.Fatal(err)
				}
				open = append(open, grant.Lease)
			}
			for len(open) > want {
				took := alone * max(1, float64(len(open))/c)
				p.Done(now, open[len(open)-1], balance.Outcome{Duration: time.Duration(took * 1e9)})
				open = open[:len(open)-1]
			}
			busy += min(1, float64(want)/c) / 4
			now = now.Add(25 * time.Millisecond)
		}
		if err := p.Report(now, &balance.Report{Server: "a", Metrics: []balance.Metric{{Name: balance.CPUUtilization, Value: busy}}}); err != nil {
			t.Fatal(err)
		}
	}
	v := p.Views(now)[0]
	if v.Slots < 3.8 || v.Slots > 4.2 || !v.Known {
		t.Errorf("learnt %.2f slots (known: %v), want %d", v.Slots, v.Known, c)
	}
	if v.Service < .19 || v.Service > .21 {
		t.Errorf("learnt a service time of %.3f s, want %.1f", v.Service, alone)
	}
}

// Where the machine stands still now and then, reports come in bunches out of busy moments,
// with long idle times between. That makes no server look as if it had fewer slots.
func TestSlotsAreNotUnlearntFromReportsInBunches(t *testing.T) {
	const c = 8
	p := balance.New(balance.Config{Name: "web"}, first{}, 1)
	p.Put(second, spec("a"), true)
	now := second
	var open []balance.LeaseID
	present := func(n int) {
		for len(open) < n {
			grant, err := p.Pick(now, &balance.Request{})
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, grant.Lease)
		}
		for ; len(open) > n; open = open[:len(open)-1] {
			p.Done(now, open[len(open)-1], balance.Outcome{Duration: 50 * time.Millisecond})
		}
	}
	report := func(after time.Duration, utilization float64) {
		now = now.Add(after)
		if err := p.Report(now, &balance.Report{Server: "a", Metrics: []balance.Metric{{Name: balance.ApplicationUtilization, Value: utilization}}}); err != nil {
			t.Fatal(err)
		}
	}
	present(4)
	for range 100 {
		report(20*time.Millisecond, .5)
	}
	if v := p.Views(now)[0]; v.Slots < c-1 || v.Slots > c+1 {
		t.Fatalf("learnt %.1f slots, want %d", v.Slots, c)
	}
	for range 20 {
		present(c)
		for range 9 {
			report(time.Millisecond, 1)
		}
		present(1)
		now = now.Add(2 * time.Second) // nothing is reported
		present(c)
		report(time.Millisecond, 1)
		for range 10 {
			report(10*time.Millisecond, 1)
		}
		if v := p.Views(now)[0]; v.Slots < c-1 {
			t.Fatalf("%.1f slots are left of %d", v.Slots, c)
		}
	}
}

func FuzzParseLeaseID(f *testing.F) {
	f.Add("0003f00000000017")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := balance.ParseLeaseID(s); err == nil {
			if again, err := balance.ParseLeaseID(id.String()); err != nil || again != id {
				t.Errorf("%q read as %d, written %q, read again as %d, %v", s, id, id, again, err)
			}
		}
	})
}
