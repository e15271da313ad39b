package policy_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/policy"
	"pgregory.net/rapid"
)

const second = balance.Instant(1e9)

// every runs a test for each row of the table: what holds for one way to choose holds for all.
func every(t *testing.T, test func(t *testing.T, row policy.Row)) {
	for _, row := range policy.Table {
		t.Run(row.Name, func(t *testing.T) { test(t, row) })
	}
}

func pool(t testing.TB, p balance.Policy, seed uint64, specs ...balance.ServerSpec) *balance.Pool {
	t.Helper()
	pool := balance.New(balance.Config{Name: "web"}, p, seed)
	for _, spec := range specs {
		if err := pool.Put(second, spec, true); err != nil {
			t.Fatal(err)
		}
	}
	return pool
}

func servers(n int) []balance.ServerSpec {
	specs := make([]balance.ServerSpec, n)
	for i := range specs {
		specs[i] = balance.ServerSpec{ID: balance.ServerID(fmt.Sprintf("s%d", i)), Address: fmt.Sprintf("127.0.0.1:%d", 8000+i)}
	}
	return specs
}

func TestNeverAnIneligibleServer(t *testing.T) {
	every(t, func(t *testing.T, row policy.Row) {
		rapid.Check(t, func(t *rapid.T) {
			specs := servers(rapid.IntRange(1, 8).Draw(t, "servers"))
			for i := range specs {
				if rapid.Bool().Draw(t, "gpu") {
					specs[i].Labels = []balance.Label{{Key: "gpu", Value: "yes"}}
				}
			}
			p := balance.New(balance.Config{Name: "web"}, row.New(), 1)
			draining := make(map[balance.ServerID]bool)
			for _, spec := range specs {
				if err := p.Put(second, spec, true); err != nil {
					t.Fatal(err)
				}
				if rapid.Bool().Draw(t, "draining") {
					draining[spec.ID] = true
					if err := p.Override(second, spec.ID, balance.Override{On: true}, second); err != nil {
						t.Fatal(err)
					}
				}
			}
			for range 20 {
				var req balance.Request
				for _, spec := range specs {
					if rapid.IntRange(0, 3).Draw(t, "exclude") == 0 {
						req.Exclude = append(req.Exclude, spec.ID)
					}
				}
				if rapid.Bool().Draw(t, "wants gpu") {
					req.Labels = []balance.Label{{Key: "gpu", Value: "yes"}}
				}
				eligible := make(map[balance.ServerID]bool)
				for _, spec := range specs {
					eligible[spec.ID] = !draining[spec.ID] && (len(req.Labels) == 0 || len(spec.Labels) > 0)
				}
				for _, id := range req.Exclude {
					eligible[id] = false
				}
				grant, err := p.Pick(second, &req)
				any := false
				for _, ok := range eligible {
					any = any || ok
				}
				if any != (err == nil) || err == nil && !eligible[grant.Server] {
					t.Fatalf("picked %q, %v; eligible %v", grant.Server, err, eligible)
				}
				if err := p.Check(); err != nil {
					t.Fatal(err)
				}
			}
		})
	})
}

func TestSameSeedSamePicks(t *testing.T) {
	every(t, func(t *testing.T, row policy.Row) {
		run := func(seed uint64) (picks []balance.ServerID) {
			p := pool(t, row.New(), seed, servers(7)...)
			events := rand.New(rand.NewPCG(3, 4))
			var open []balance.LeaseID
			for i := range 500 {
				now := second + balance.Instant(i)*1e6
				if len(open) > 0 && events.IntN(2) == 0 {
					p.Done(now, open[0], balance.Outcome{})
					open = open[1:]
					continue
				}
				grant, err := p.Pick(now, &balance.Request{})
				if err != nil {
					t.Fatal(err)
				}
				open, picks = append(open, grant.Lease), append(picks, grant.Server)
			}
			return picks
		}
		a, b := run(42), run(42)
		if fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("seed 42 gave two sequences:\n%v\n%v", a, b)
		}
	})
}

// Idle servers with weights are used in proportion to them, whatever the policy, as
// long as work comes in steadily and is evenly long.
func TestFasterServersGetMore(t *testing.T) {
	every(t, func(t *testing.T, row policy.Row) {
		specs := servers(3)
		specs[0].Slots, specs[1].Slots, specs[2].Slots = 2, 4, 8
		p := pool(t, row.New(), 7, specs...)
		var open []balance.LeaseID
		share := make(map[balance.ServerID]float64)
		const picks = 6000
		for range picks {
			if len(open) >= 28 { // twice the slots there are
				p.Done(second, open[0], balance.Outcome{})
				open = open[1:]
			}
			grant, err := p.Pick(second, &balance.Request{})
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, grant.Lease)
			share[grant.Server] += 1. / picks
		}
		for i, want := range []float64{2. / 14, 4. / 14, 8. / 14} {
			if got := share[specs[i].ID]; math.Abs(got-want) > .06 {
				t.Errorf("server with %v slots got %.2f of the requests, want about %.2f (all: %v)", specs[i].Slots, got, want, share)
			}
		}
	})
}

func TestPickAllocatesNothing(t *testing.T) {
	every(t, func(t *testing.T, row policy.Row) {
		p := pool(t, row.New(), 1, servers(10)...)
		req := balance.Request{Edge: "e1"}
		if n := testing.AllocsPerRun(1000, func() {
			grant, err := p.Pick(second, &req)
			if err != nil {
				t.Fatal(err)
			}
			p.Done(second, grant.Lease, balance.Outcome{})
		}); n != 0 {
			t.Errorf("a pick and its done allocate %v times, want 0", n)
		}
	})
}

func TestUnknownPolicyIsNamed(t *testing.T) {
	_, err := policy.New("fastest")
	if err == nil {
		t.Fatal(`New("fastest") returned no error`)
	}
	for _, row := range policy.Table {
		if !strings.Contains(err.Error(), row.Name) {
			t.Errorf("%v: want that it names %s", err, row.Name)
		}
	}
	if p, err := policy.New(""); err != nil || p == nil {
		t.Errorf(`New("") = %v, %v; want the default`, p, err)
	}
}

func BenchmarkPickDone(b *testing.B) {
	for _, row := range policy.Table {
		for _, n := range []int{10, 1000, 10000} {
			b.Run(fmt.Sprintf("%s/%d", row.Name, n), func(b *testing.B) {
				p := pool(b, row.New(), 1, servers(n)...)
				req := balance.Request{Edge: "e1"}
				now := second
				b.ReportAllocs()
				for b.Loop() {
					now += 1000
					grant, err := p.Pick(now, &req)
					if err != nil {
						b.Fatal(err)
					}
					p.Done(now, grant.Lease, balance.Outcome{})
				}
			})
		}
	}
}
