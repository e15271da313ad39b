package balance_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/policy"
)

// A long time limit is its edge's word, and lasts as the edge does; a denied edge's leases end at once.
func TestLongLeasesDoNotOutliveTheirEdge(t *testing.T) {
	const leaseTime, grace, long = 30 * time.Second, 5 * time.Second, 29 * 24 * time.Hour
	for _, c := range []struct {
		how     string
		cut     func(p *balance.Pool)
		after   time.Duration
		routed  int
		limited int
	}{
		{"lost", func(p *balance.Pool) { p.Lost(second, "e") }, grace - 1, 1, 3},
		{"lost, after the grace", func(p *balance.Pool) { p.Lost(second, "e") }, grace, 0, 3},
		{"lost, after the lease time", func(p *balance.Pool) { p.Lost(second, "e") }, leaseTime, 0, 0},
		{"left", func(p *balance.Pool) { p.Left(second, "e") }, 0, 0, 3},
		{"left, after the lease time", func(p *balance.Pool) { p.Left(second, "e") }, leaseTime, 0, 0},
		{"denied", func(p *balance.Pool) { p.Denied(second, "e") }, 0, 0, 0},
	} {
		p := balance.New(balance.Config{Name: "p", LeaseTime: leaseTime, Grace: grace}, policy.Random{}, 1)
		if err := p.Put(second, spec("a"), true); err != nil {
			t.Fatal(err)
		}
		for _, req := range []balance.Request{{Edge: "e"}, {Edge: "e", Hold: long}, {Edge: "e", Link: balance.LinkRedirect}, {Edge: "other", Hold: long}, {Hold: long}} {
			if _, err := p.Pick(second, &req); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Hold(second, "e", &balance.Held{Lease: 77, Server: "a", Left: long}); err != nil {
			t.Fatal(err)
		}
		c.cut(p)
		p.Expire(second.Add(c.after))
		if got, want := p.Open(), c.routed+c.limited+2; got != want { // another edge's, and one that is no edge's
			t.Errorf("%s: %d leases are open, want %d", c.how, got, want)
		}
		if err := p.Check(); err != nil {
			t.Error(err)
		}
	}
}

// An edge that returns confirms its leases, with all the time that they have.
func TestAnEdgeThatReturnsConfirmsItsLongLeases(t *testing.T) {
	p := balance.New(balance.Config{Name: "p"}, policy.Random{}, 1)
	if err := p.Put(second, spec("a"), true); err != nil {
		t.Fatal(err)
	}
	g, err := p.Pick(second, &balance.Request{Edge: "e", Hold: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	p.Lost(second, "e")
	if err := p.Hold(second, "e", &balance.Held{Lease: g.Lease, Server: "a", Left: time.Hour, Tag: g.Tag}); err != nil {
		t.Fatal(err)
	}
	p.Expire(second.Add(59 * time.Minute))
	if p.Open() != 1 {
		t.Error("the lease has ended before its time")
	}
}

// An edge's word brings a server no more leases than it can have, and no servers without end.
func TestLeasesThatEdgesBringAreBounded(t *testing.T) {
	p := balance.New(balance.Config{Name: "p"}, policy.Random{}, 1)
	a := spec("a")
	a.Slots = 8
	if err := p.Put(second, a, true); err != nil {
		t.Fatal(err)
	}
	hold := func(id balance.LeaseID, server string) error {
		return p.Hold(second, "e", &balance.Held{Lease: 1<<40 | id, Server: balance.ServerID(server)})
	}
	taken := 0
	for id := range balance.LeaseID(1000) {
		if hold(id, "a") == nil {
			taken++
		}
	}
	if taken < 8 || taken > 100 || p.Open() != taken {
		t.Errorf("%d leases were taken for a server of 8 slots, and %d are open, want all that it can have and 100 at most", taken, p.Open())
	}
	if err := hold(0, "a"); err != nil {
		t.Errorf("one that is open is not confirmed: %v", err)
	}
	const most = 1 << 14
	for i := range balance.LeaseID(most + 10) {
		if err := hold(1000+i, fmt.Sprintf("x%d", uint64(i))); (err == nil) != (i < most) {
			t.Fatalf("server %d that only a lease tells of: %v, want %d of them", i, err, most)
		}
	}
	if err := p.Put(second, spec("x0"), false); err != nil {
		t.Fatal(err)
	}
	p.Done(second, 1<<40|1001, balance.Outcome{})
	for i := range balance.LeaseID(3) {
		if err := hold(1<<30+i, fmt.Sprintf("y%d", uint64(i))); (err == nil) != (i < 2) {
			t.Errorf("after one has come and another has gone: %d: %v, want room for two", i, err)
		}
	}
}
