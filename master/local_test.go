package master

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

func TestLocal(t *testing.T) {
	r := start(t, web("a", "b"))
	e := r.Edge("in")
	ctx := context.Background()
	e.Report("web", balance.Report{Server: "a", Metrics: []balance.Metric{{Name: balance.InFlight, Value: 50}, {Name: balance.EPS, Value: math.NaN()}}})
	e.Report("nowhere", balance.Report{Server: "a"})
	g, err := e.Pick(ctx, "web", &balance.Request{})
	if err != nil || g.Server != "b" || g.Expires != 0 {
		t.Fatalf("got %+v, %v, want b without a limit", g, err)
	}
	if s := e.Snapshot("web"); len(s.Servers) != 2 || s.Servers[1].Load != 1 {
		t.Errorf("got %+v, want one request at b", s)
	}
	e.Done("web", g.Lease, balance.Outcome{})
	e.Done("nowhere", g.Lease, balance.Outcome{})
	if n := r.open(); n != 0 {
		t.Errorf("%d leases are open, want 0", n)
	}
	var refusal *balance.Refusal
	if _, err := e.Pick(ctx, "nowhere", &balance.Request{}); !errors.As(err, &refusal) || refusal.Reason != balance.UnknownPool {
		t.Errorf("got %v, want unknown pool", err)
	}
	for hold, want := range map[time.Duration]balance.Reason{-1: balance.Malformed, math.MaxInt64: balance.Malformed} {
		if _, err := e.Pick(ctx, "web", &balance.Request{Hold: hold}); !errors.As(err, &refusal) || refusal.Reason != want {
			t.Errorf("hold %v: got %v, want %s", hold, err, want)
		}
	}
	if e.Snapshot("nowhere") != nil {
		t.Error("there is a snapshot of no pool")
	}
}

func TestEdgelessLeasesExpire(t *testing.T) {
	cfg := web("a")
	cfg.Pools[0].LeaseTime = 20 * time.Millisecond
	r := start(t, cfg)
	if _, err := r.Edge("").Pick(context.Background(), "web", &balance.Request{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the lease expires", func() bool { return r.open() == 0 })
}

func TestManyAtOnce(t *testing.T) {
	r := start(t, web("a", "b", "c"))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			e := r.Edge("in")
			for range 500 {
				g, err := e.Pick(context.Background(), "web", &balance.Request{})
				if err != nil {
					t.Error(err)
					return
				}
				e.Report("web", balance.Report{Server: g.Server, Metrics: []balance.Metric{{Name: balance.CPUUtilization, Value: .5}}})
				e.Done("web", g.Lease, balance.Outcome{Result: balance.Result(g.Lease % 4), Duration: time.Millisecond})
			}
		})
	}
	all.Wait()
	if n := r.open(); n != 0 {
		t.Errorf("%d leases are open, want 0", n)
	}
}

func TestLocalPickAllocatesNothing(t *testing.T) {
	m := newMaster(t, web("a", "b", "c"))
	e, req, ctx := m.Edge("in"), balance.Request{}, context.Background()
	pickDone := func() {
		g, err := e.Pick(ctx, "web", &req)
		if err != nil {
			t.Fatal(err)
		}
		e.Done("web", g.Lease, balance.Outcome{Duration: time.Millisecond})
	}
	for range 100 {
		pickDone()
	}
	if n := testing.AllocsPerRun(1000, pickDone); n != 0 {
		t.Errorf("pick and done allocate %v times, want 0", n)
	}
}

// One pick and its done, in process, ten servers.
func BenchmarkLocalPick(b *testing.B) {
	m := newMaster(b, web("a", "b", "c", "d", "e", "f", "g", "h", "i", "j"))
	e, req, ctx := m.Edge("in"), balance.Request{}, context.Background()
	b.ReportAllocs()
	for b.Loop() {
		g, err := e.Pick(ctx, "web", &req)
		if err != nil {
			b.Fatal(err)
		}
		e.Done("web", g.Lease, balance.Outcome{Duration: time.Millisecond})
	}
}
