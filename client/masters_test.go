package client

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// talk returns an edgeTalk that an elected master has welcomed.
func elected(t *testing.T, pools ...string) *edgeTalk {
	t.Helper()
	talk := newEdgeTalk("e", pools, "")
	talk.open(1)
	hear(t, talk, (&wire.Welcome{Version: wire.MaxVersion, Master: "m", Elected: true}).Append(nil))
	talk.out = talk.out[:0]
	return talk
}

func hear(t *testing.T, talk *edgeTalk, frames []byte) {
	t.Helper()
	if _, err := talk.receive(2, frames); err != nil {
		t.Fatal(err)
	}
}

// said returns the frames that wait to be written, by type.
func said(t *testing.T, talk *edgeTalk) map[wire.Type]int {
	t.Helper()
	got := make(map[wire.Type]int)
	for out := talk.out; len(out) > 0; {
		typ, _, size, err := wire.Next(out)
		if err != nil || size == 0 {
			t.Fatalf("what is written makes no sense: %v", err)
		}
		got[typ]++
		out = out[size:]
	}
	talk.out = talk.out[:0]
	return got
}

func grantOne(t *testing.T, talk *edgeTalk, pool string, lease balance.LeaseID) {
	t.Helper()
	w := &waiter{done: make(chan struct{}, 1)}
	seq, err := talk.ask(0, pool, &balance.Request{}, w)
	if err != nil {
		t.Fatal(err)
	}
	hear(t, talk, (&wire.Granted{Seq: seq, Grant: balance.Grant{Lease: lease, Server: "s", Address: "s:1", Fence: 7}}).Append(nil, 2))
	if w.err != nil || w.grant.Fence != 7 {
		t.Fatalf("granted %+v, %v; want fence 7", w.grant, w.err)
	}
}

func TestWhoLeadsIsWhatTheMasterSays(t *testing.T) {
	talk := elected(t, "p")
	if _, leads := talk.claims("p"); leads {
		t.Error("an elected master leads before it says so")
	}
	hear(t, talk, (&wire.Lead{Pool: "p", Fence: 7}).Append(nil))
	if c, leads := talk.claims("p"); !leads || c.fence != 7 {
		t.Errorf("claims %+v, %v after it said so", c, leads)
	}
	hear(t, talk, (&wire.Lead{Pool: "p", Leader: "m2:1"}).Append(nil))
	if c, leads := talk.claims("p"); leads || c.leader != "m2:1" {
		t.Errorf("claims %+v, %v after it said that another leads", c, leads)
	}
}

// Leases move to the new leader, but for those that end while they move; what the old one
// grants from then on is given back.
func TestLeasesMove(t *testing.T) {
	old, young := elected(t, "p", "q"), elected(t, "p", "q")
	for lease, pool := range map[balance.LeaseID]string{1: "p", 2: "p", 3: "q"} {
		grantOne(t, old, pool, lease)
	}
	w := &waiter{done: make(chan struct{}, 1)}
	seq, err := old.ask(0, "p", &balance.Request{}, w)
	if err != nil {
		t.Fatal(err)
	}
	said(t, old)

	young.expect("p")
	if err := young.done("p", 2, balance.Outcome{}); err != nil {
		t.Fatal(err)
	}
	leases, waiting := old.yield("p")
	if len(leases) != 2 || len(waiting) != 1 || !errors.Is(w.err, ErrNoMaster) {
		t.Fatalf("gave up leases %v and %d asks, with %v; want two and one", leases, len(waiting), w.err)
	}
	young.adopt(3, "p", leases)
	if got := said(t, young); got[wire.THold] != 1 || got[wire.TDone] != 1 {
		t.Errorf("the new leader is told %v, want one hold and the done", got)
	}
	if held := young.leases.of(young.pool("p")); len(held) != 1 || held[0].id != 1 {
		t.Errorf("the new leader holds %v, want the lease that is still open", held)
	}
	if _, err := old.ask(0, "p", &balance.Request{}, w); !errors.Is(err, ErrNoMaster) {
		t.Errorf("asking the old leader: %v", err)
	}
	said(t, old)
	hear(t, old, (&wire.Granted{Seq: seq, Grant: balance.Grant{Lease: 4, Server: "s"}}).Append(nil, 2))
	if got := said(t, old); got[wire.TDone] != 1 || old.leases.n != 1 {
		t.Errorf("a late grant of the old leader: it is told %v, and %d are held there; want it given back, and the other pool's lease", got, old.leases.n)
	}
	young.adopt(3, "p", nil) // it leads anew
	if got := said(t, young); got[wire.THold] != 1 {
		t.Errorf("leading anew it is told %v, want its lease again", got)
	}
}

// A master that says nothing while it is asked is pinged, then given up for a while, and
// asked again as soon as it says anything.
func TestAHushedMaster(t *testing.T) {
	talk := elected(t, "p")
	hear(t, talk, (&wire.Lead{Pool: "p", Fence: 7}).Append(nil))
	w := &waiter{done: make(chan struct{}, 1)}
	if _, err := talk.ask(0, "p", &balance.Request{}, w); err != nil {
		t.Fatal(err)
	}
	said(t, talk)
	now := talk.heard
	var given []*waiter
	for range 10 {
		now = now.Add(probeEvery)
		given = append(given, talk.probe(now)...)
	}
	if got := said(t, talk); got[wire.TPing] != 1 || len(given) != 1 || !errors.Is(w.err, ErrNoMaster) {
		t.Errorf("it is told %v, and %d asks are given up with %v; want a ping, and the one", got, len(given), w.err)
	}
	if _, leads := talk.claims("p"); leads {
		t.Error("it leads though it does not answer")
	}
	if _, err := talk.ask(0, "p", &balance.Request{}, w); !errors.Is(err, ErrNoMaster) {
		t.Errorf("asked while it does not answer: %v, want no master: nobody would give that ask up", err)
	}
	if _, err := talk.receive(now.Add(1), (&wire.Pong{Seq: 1}).Append(nil)); err != nil {
		t.Fatal(err)
	}
	talk.probe(now.Add(probeEvery))
	if _, leads := talk.claims("p"); !leads {
		t.Error("it does not lead though it answers again")
	}
}

func TestAnAskInTheQueueIsNoSilence(t *testing.T) {
	talk := elected(t, "p")
	w := &waiter{done: make(chan struct{}, 1)}
	if _, err := talk.ask(0, "p", &balance.Request{}, w); err != nil {
		t.Fatal(err)
	}
	now := talk.heard
	for range 40 {
		now = now.Add(probeEvery)
		if talk.probe(now) != nil {
			t.Fatal("the ask is given up though every ping was answered")
		}
		if said(t, talk)[wire.TPing] > 0 {
			if _, err := talk.receive(now.Add(1), (&wire.Pong{Seq: talk.pings}).Append(nil)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Two masters that are not elected: the first is asked, the second when the first is lost,
// which is told of the open lease.
func TestMastersWithoutAnElection(t *testing.T) {
	a, b := startMaster(t, &fakeMaster{}), startMaster(t, &fakeMaster{})
	m, err := NewMasters(Config{Masters: []string{a.addr(), b.addr()}, ID: "e", Pools: []string{"p"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	within, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	grant, err := m.Pick(within, "p", &balance.Request{})
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the ask at the first master", func() bool { return m.seats["p"].leader.Load() == m.all()[0] })
	a.stop()
	waitFor(t, "the second master is asked", func() bool { return m.seats["p"].leader.Load() == m.all()[1] })
	if _, err := m.Pick(within, "p", &balance.Request{}); err != nil {
		t.Error(err)
	}
	m.Done("p", grant.Lease, balance.Outcome{})
	if _, err := m.Pick(within, "other", &balance.Request{}); err == nil {
		t.Error("a pool that nobody named is asked for")
	}
}
