package client

import (
	"errors"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// A request whose server the edge has chosen has a lease like any other: it is told, ended, and told again to the
// next master.
func TestLeasesOfTheEdgesOwnChoice(t *testing.T) {
	proto := elected(t, "p")
	ids := make(map[balance.LeaseID]bool)
	for range 3 {
		id, err := proto.appendChosen("p", "s1", 2, &balance.Request{Tenant: "t"})
		if err != nil || !id.OwnLease() || ids[id] {
			t.Fatalf("lease %v, %v; want one of an edge's own, and another each time", id, err)
		}
		ids[id] = true
	}
	var chosen wire.Chosen
	if _, payload, _, err := wire.Next(proto.out); err != nil || chosen.Decode(payload) != nil || chosen.Pool != "p" || chosen.Server != "s1" || chosen.Request.Tenant != "t" || !ids[chosen.Lease] {
		t.Errorf("the master is told %+v, %v", chosen, err)
	}
	if got := said(t, proto); got[wire.TChosen] != 3 {
		t.Errorf("the master is told %v, want three of them", got)
	}
	for id := range ids {
		if err := proto.appendDone("p", id, balance.Outcome{}); err != nil {
			t.Fatal(err)
		}
		break
	}
	if got := said(t, proto); got[wire.TDone] != 1 {
		t.Errorf("the master is told %v, want a done", got)
	}
	proto.lost(errSilent)
	if _, err := proto.appendChosen("p", "s1", 3, &balance.Request{}); !errors.Is(err, ErrNoMaster) {
		t.Errorf("without a connection: %v, want %v", err, ErrNoMaster)
	}
	proto.open(4)
	hear(t, proto, (&wire.Welcome{Version: wire.MaxVersion, Master: "m"}).Append(nil))
	if got := said(t, proto); got[wire.THold] != 2 {
		t.Errorf("the next master is told %v, want two holds", got)
	}
}

// Ids come round only when all have been used, and one that is in use is left out.
func TestOwnLeasesDiffer(t *testing.T) {
	proto := elected(t, "p")
	proto.lastOwn = balance.MaxOwnLease + 1 - ownStep // zero would be next
	first := proto.nextOwn()
	if first != ownStep {
		t.Errorf("lease %v, want %v: 0 is none", first, balance.LeaseID(ownStep))
	}
	proto.leases.put(openLease{id: (first + ownStep) & balance.MaxOwnLease})
	if got, want := proto.nextOwn(), (first+2*ownStep)&balance.MaxOwnLease; got != want {
		t.Errorf("lease %v, want %v: the one before is in use", got, want)
	}
}

// From what trip on the edge chooses is as its pool's leader says, as long as it is connected.
func TestLocalFromIsTheLeaders(t *testing.T) {
	conns := make(chan *fakeConn, 1)
	m := startMaster(t, &fakeMaster{onWelcome: func(c *fakeConn) {
		c.Write((&wire.Snapshot{Seq: 5, Snapshot: balance.Snapshot{Pool: "p", Version: 7, LocalFrom: 3 * time.Millisecond}}).Append(nil))
		conns <- c
	}})
	c := start(t, Config{Masters: []string{m.addr()}, Pools: []string{"p"}}, m)
	conn := <-conns
	waitFor(t, "the snapshot's", func() bool { return c.LocalFrom("p") == 3*time.Millisecond })
	conn.Write((&wire.Change{Pool: "p", Version: 8, Seq: 6, LocalFrom: 5 * time.Millisecond}).Append(nil))
	waitFor(t, "the change's", func() bool { return c.LocalFrom("p") == 5*time.Millisecond })
	id, err := c.Chosen("p", "s", 1, &balance.Request{})
	if err != nil {
		t.Fatal(err)
	}
	await(m, 1, func(got wire.Chosen) bool { return got.Lease == id })
	if c.LocalFrom("other") != 0 {
		t.Error("a pool that is not watched has one")
	}
	m.stop()
	waitFor(t, "none without a master", func() bool { return c.LocalFrom("p") == 0 })
}
