package client

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// talk returns an edgeProtocol that an elected master has welcomed.
func elected(t *testing.T, pools ...string) *edgeProtocol {
	t.Helper()
	proto := newEdgeProtocol("e", pools, "")
	proto.open(1)
	hear(t, proto, (&wire.Welcome{Version: wire.MaxVersion, Master: "m", Elected: true}).Append(nil))
	proto.out = proto.out[:0]
	return proto
}

func hear(t *testing.T, proto *edgeProtocol, frames []byte) {
	t.Helper()
	if _, err := proto.receive(2, frames); err != nil {
		t.Fatal(err)
	}
}

// said returns the frames that wait to be written, by type.
func said(t *testing.T, proto *edgeProtocol) map[wire.Type]int {
	t.Helper()
	got := make(map[wire.Type]int)
	for out := proto.out; len(out) > 0; {
		typ, _, size, err := wire.Next(out)
		if err != nil || size == 0 {
			t.Fatalf("what is written makes no sense: %v", err)
		}
		got[typ]++
		out = out[size:]
	}
	proto.out = proto.out[:0]
	return got
}

func grantOne(t *testing.T, proto *edgeProtocol, pool string, lease balance.LeaseID) {
	t.Helper()
	w := &waiter{done: make(chan struct{}, 1)}
	seq, err := proto.appendAsk(0, pool, &balance.Request{}, w)
	if err != nil {
		t.Fatal(err)
	}
	hear(t, proto, (&wire.Granted{Seq: seq, Grant: balance.Grant{Lease: lease, Server: "s", Address: "s:1", Fence: 7}}).Append(nil, 2))
	if w.err != nil || w.grant.Fence != 7 {
		t.Fatalf("granted %+v, %v; want fence 7", w.grant, w.err)
	}
}

func TestWhoLeadsIsWhatTheMasterSays(t *testing.T) {
	proto := elected(t, "p")
	if _, leads := proto.leadClaim("p"); leads {
		t.Error("an elected master leads before it says so")
	}
	hear(t, proto, (&wire.Lead{Pool: "p", Fence: 7}).Append(nil))
	if c, leads := proto.leadClaim("p"); !leads || c.fence != 7 {
		t.Errorf("claims %+v, %v after it said so", c, leads)
	}
	hear(t, proto, (&wire.Lead{Pool: "p", Leader: "m2:1"}).Append(nil))
	if c, leads := proto.leadClaim("p"); leads || c.leader != "m2:1" {
		t.Errorf("claims %+v, %v after it said that another leads", c, leads)
	}
}

// A master that claims to lead with a lower fence than was seen is told so, once for each
// claim and connection.
func TestALowerFenceIsTold(t *testing.T) {
	proto := elected(t, "p")
	claim := func(fence uint64) { hear(t, proto, (&wire.Lead{Pool: "p", Fence: fence}).Append(nil)) }
	for _, c := range []struct {
		fence uint64
		told  int
	}{{7, 1}, {7, 0}, {8, 1}} {
		claim(c.fence)
		proto.appendFence("p", 9)
		if got := said(t, proto)[wire.TFence]; got != c.told {
			t.Errorf("a claim with fence %d: told %d times, want %d", c.fence, got, c.told)
		}
	}
	proto.lost(errSilent)
	proto.appendFence("p", 9)
	if len(proto.out) > 0 {
		t.Error("something is said without a connection")
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
	seq, err := old.appendAsk(0, "p", &balance.Request{}, w)
	if err != nil {
		t.Fatal(err)
	}
	said(t, old)

	young.beginMove("p")
	if err := young.appendDone("p", 2, balance.Outcome{}); err != nil {
		t.Fatal(err)
	}
	leases, waiting := old.releasePool("p")
	if len(leases) != 2 || len(waiting) != 1 || !errors.Is(w.err, ErrNoMaster) {
		t.Fatalf("gave up leases %v and %d asks, with %v; want two and one", leases, len(waiting), w.err)
	}
	young.adoptLeases(3, "p", leases)
	if got := said(t, young); got[wire.THold] != 1 || got[wire.TDone] != 1 {
		t.Errorf("the new leader is told %v, want one hold and the done", got)
	}
	if held := young.leases.ofPool(young.pool("p")); len(held) != 1 || held[0].id != 1 {
		t.Errorf("the new leader holds %v, want the lease that is still open", held)
	}
	if _, err := old.appendAsk(0, "p", &balance.Request{}, w); !errors.Is(err, ErrNoMaster) {
		t.Errorf("asking the old leader: %v", err)
	}
	said(t, old)
	hear(t, old, (&wire.Granted{Seq: seq, Grant: balance.Grant{Lease: 4, Server: "s"}}).Append(nil, 2))
	if got := said(t, old); got[wire.TDone] != 1 || old.leases.n != 1 {
		t.Errorf("a late grant of the old leader: it is told %v, and %d are held there; want it given back, and the other pool's lease", got, old.leases.n)
	}
	young.adoptLeases(3, "p", nil) // it leads anew
	if got := said(t, young); got[wire.THold] != 1 {
		t.Errorf("leading anew it is told %v, want its lease again", got)
	}
}

// A lease with a limit is held with the time that is left. One whose time is over is not held
// at all: a hold without a time is one without end.
func TestExpiredLeasesAreNotHeld(t *testing.T) {
	proto := elected(t, "p")
	hear(t, proto, (&wire.Lead{Pool: "p", Fence: 7}).Append(nil))
	for lease, expires := range map[balance.LeaseID]balance.Instant{1: 1000, 2: balance.Instant(time.Second), 3: 5000} {
		w := &waiter{done: make(chan struct{}, 1)}
		seq, err := proto.appendAsk(0, "p", &balance.Request{}, w)
		if err != nil {
			t.Fatal(err)
		}
		hear(t, proto, (&wire.Granted{Seq: seq, Grant: balance.Grant{Lease: lease, Server: "s", Address: "s:1", Fence: 7, Expires: expires}}).Append(nil, 0))
	}
	for what, tell := range map[string]func(now balance.Instant){
		"leading anew":   func(now balance.Instant) { proto.beginMove("p"); proto.adoptLeases(now, "p", nil) },
		"welcomed again": func(now balance.Instant) { proto.onWelcomed(now) },
	} {
		proto.out = proto.out[:0]
		tell(balance.Instant(10 * time.Millisecond))
		var held []wire.Hold
		for out := proto.out; len(out) > 0; {
			typ, payload, size, err := wire.Next(out)
			if err != nil || size == 0 {
				t.Fatalf("%s: what is written makes no sense: %v", what, err)
			}
			var h wire.Hold
			if typ == wire.THold && h.Decode(payload) == nil {
				held = append(held, h)
			}
			out = out[size:]
		}
		if len(held) != 1 || held[0].Lease != 2 || held[0].Left <= 900*time.Millisecond || held[0].Left > time.Second {
			t.Errorf("%s: holds %+v, want lease 2 alone with .99 s left", what, held)
		}
	}
}

// A master that says nothing while it is asked is pinged, then given up for a while, and
// asked again as soon as it says anything.
func TestAHushedMaster(t *testing.T) {
	proto := elected(t, "p")
	hear(t, proto, (&wire.Lead{Pool: "p", Fence: 7}).Append(nil))
	w := &waiter{done: make(chan struct{}, 1)}
	if _, err := proto.appendAsk(0, "p", &balance.Request{}, w); err != nil {
		t.Fatal(err)
	}
	said(t, proto)
	now := proto.lastReceived
	var given []*waiter
	for range 10 {
		now = now.Add(probeEvery)
		given = append(given, proto.checkResponsive(now)...)
	}
	if got := said(t, proto); got[wire.TPing] != 1 || len(given) != 1 || !errors.Is(w.err, ErrNoMaster) {
		t.Errorf("it is told %v, and %d asks are given up with %v; want a ping, and the one", got, len(given), w.err)
	}
	if _, leads := proto.leadClaim("p"); leads {
		t.Error("it leads though it does not answer")
	}
	if _, err := proto.appendAsk(0, "p", &balance.Request{}, w); !errors.Is(err, ErrNoMaster) {
		t.Errorf("asked while it does not answer: %v, want no master: no other would end that ask", err)
	}
	if _, err := proto.receive(now.Add(1), (&wire.Pong{Seq: 1}).Append(nil)); err != nil {
		t.Fatal(err)
	}
	proto.checkResponsive(now.Add(probeEvery))
	if _, leads := proto.leadClaim("p"); !leads {
		t.Error("it does not lead though it answers again")
	}
}

func TestAnAskInTheQueueIsNoSilence(t *testing.T) {
	proto := elected(t, "p")
	w := &waiter{done: make(chan struct{}, 1)}
	if _, err := proto.appendAsk(0, "p", &balance.Request{}, w); err != nil {
		t.Fatal(err)
	}
	now := proto.lastReceived
	for range 40 {
		now = now.Add(probeEvery)
		if proto.checkResponsive(now) != nil {
			t.Fatal("the ask is given up though every ping was answered")
		}
		if said(t, proto)[wire.TPing] > 0 {
			if _, err := proto.receive(now.Add(1), (&wire.Pong{Seq: proto.pings}).Append(nil)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Two masters that are not elected: the first is asked, the second when the first is lost,
// which is told of the open lease.
func TestMastersWithoutAnElection(t *testing.T) {
	a, b := startMaster(t, &fakeMaster{}), startMaster(t, &fakeMaster{})
	m := startMasters(t, a.addr(), b.addr())
	within, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	grant, err := m.Pick(within, "p", &balance.Request{})
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the ask at the first master", func() bool { return m.leadership.get("p").leader.Load() == m.allClients()[0] })
	a.stop()
	waitFor(t, "the second master is asked", func() bool { return m.leadership.get("p").leader.Load() == m.allClients()[1] })
	if _, err := m.Pick(within, "p", &balance.Request{}); err != nil {
		t.Error(err)
	}
	m.Done("p", grant.Lease, balance.Outcome{})
	if _, err := m.Pick(within, "other", &balance.Request{}); err == nil {
		t.Error("a pool that was not named is asked for")
	}
}

// startMasters runs Masters of an edge that asks for pool p until the test ends.
func startMasters(t *testing.T, addresses ...string) *Masters {
	t.Helper()
	m, err := NewMasters(Config{Masters: addresses, ID: "e", Pools: []string{"p"}})
	if err != nil {
		t.Fatal(err)
	}
	run(t, m.Run)
	return m
}

// byName returns an address of loopback's as a file may have it, where a master tells its own
// by number.
func byName(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("localhost", port)
}

// teller is an elected master that tells of another one that it leads.
type teller struct {
	*fakeMaster
	told atomic.Pointer[wire.Lead]
}

func startTeller(t *testing.T, id string, epoch uint64) *teller {
	m := &teller{fakeMaster: &fakeMaster{id: id, epoch: epoch, elected: true}}
	m.onWelcome = func(c *fakeConn) {
		if lead := m.told.Load(); lead != nil {
			c.Write(lead.Append(nil))
		}
	}
	startMaster(t, m.fakeMaster)
	return m
}

func (m *teller) tell(lead *wire.Lead) {
	m.told.Store(lead)
	m.cut() // and it is told with the next welcome
}

func (m *fakeMaster) hellos() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, v := range m.got {
		if _, ok := v.(wire.Hello); ok {
			n++
		}
	}
	return n
}

// of is Masters.of, from any goroutine.
func lineOf(m *Masters, id string) *connLoop {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.clientOfLocked(id); c != nil {
		return c.loop
	}
	return nil
}

// A leader that is told by another address than the file has for it is the master that is
// connected already.
func TestALearntAddressIsOneMoreOfItsMaster(t *testing.T) {
	a, b := startTeller(t, "m1", 1), startTeller(t, "m2", 2)
	m := startMasters(t, a.addr(), byName(t, b.addr()))
	waitFor(t, "both masters", func() bool { return lineOf(m, "m1") != nil && lineOf(m, "m2") != nil })
	a.tell(&wire.Lead{Pool: "p", Leader: b.addr(), Master: "m2"})
	waitFor(t, "the learnt address", func() bool { return lineOf(m, "m2").learnedAddress.Load() != nil })
	if n := len(m.allClients()); n != 2 {
		t.Errorf("there are %d connections, want one to each master", n)
	}
	if n := b.hellos(); n != 1 {
		t.Errorf("%d connections were made to the leader, want the one that was there", n)
	}

	// By either address alone it is found again.
	elsewhere := &fakeMaster{id: "m2", epoch: 3, elected: true}
	b.stop()
	startMaster(t, elsewhere)
	a.tell(&wire.Lead{Pool: "p", Leader: elsewhere.addr(), Master: "m2"})
	waitFor(t, "the leader where it is now", func() bool { return elsewhere.hellos() > 0 })
	if n := len(m.allClients()); n != 2 {
		t.Errorf("there are %d connections after the leader has moved, want 2", n)
	}
	nowhere := "127.0.0.1:1"
	a.tell(&wire.Lead{Pool: "p", Leader: nowhere, Master: "m2"})
	waitFor(t, "the address that leads nowhere", func() bool { return *lineOf(m, "m2").learnedAddress.Load() == nowhere })
	elsewhere.stop()
	b.restart()
	waitFor(t, "the leader by the file's address", func() bool { return b.hellos() > 1 && lineOf(m, "m2").isUp.Load() })
}

// A leader that no file names is followed, also to another address, by one connection.
func TestALeaderThatNoFileNamesIsFollowed(t *testing.T) {
	a, b, c := startTeller(t, "m1", 1), startTeller(t, "m2", 2), startTeller(t, "m2", 3)
	m := startMasters(t, a.addr())
	a.tell(&wire.Lead{Pool: "p", Leader: b.addr(), Master: "m2"})
	waitFor(t, "the leader", func() bool { return b.hellos() == 1 })
	b.stop()
	a.tell(&wire.Lead{Pool: "p", Leader: c.addr(), Master: "m2"})
	waitFor(t, "the leader where it is now", func() bool { return c.hellos() == 1 })
	if n := len(m.allClients()); n != 2 {
		t.Errorf("there are %d connections, want 2", n)
	}
}

// Two masters that were given one id are two all the same.
func TestTwoMastersOfOneID(t *testing.T) {
	a, b := startTeller(t, "m1", 1), startTeller(t, "m1", 2)
	startMasters(t, a.addr())
	a.tell(&wire.Lead{Pool: "p", Leader: b.addr(), Master: "m1"})
	waitFor(t, "the other one", func() bool { return b.hellos() == 1 })
}

// An edge says which process it is, and to which masters it is connected.
func TestAHelloNamesTheMastersThatAreConnected(t *testing.T) {
	a, b := startTeller(t, "m1", 11), startTeller(t, "m2", 12)
	m := startMasters(t, a.addr(), b.addr())
	waitFor(t, "both masters", func() bool { return lineOf(m, "m1") != nil && lineOf(m, "m2") != nil })
	a.cut()
	hellos := await[wire.Hello](a.fakeMaster, 2, nil)
	if h := hellos[1]; !slices.Equal(h.Connected, []uint64{12}) || h.Instance == 0 || h.Instance != hellos[0].Instance {
		t.Errorf("the second hello is %+v, want the instance of the first and the other master's epoch", h)
	}
}

// That a store has lost data is a problem for a person, as long as no master leads with a
// fence that is large enough.
func TestAFallenFenceIsAProblem(t *testing.T) {
	first, second := startTeller(t, "m1", 1), startTeller(t, "m2", 2)
	first.tell(&wire.Lead{Pool: "p", Fence: 9})
	m := startMasters(t, first.addr(), second.addr())
	waitFor(t, "the first leads", func() bool { return m.leadership.get("p").leader.Load() == m.allClients()[0] })
	second.tell(&wire.Lead{Pool: "p", Fence: 7})
	if f := await[wire.Fence](second.fakeMaster, 1, nil)[0]; f.Pool != "p" || f.Seen != 9 {
		t.Errorf("the second master is told %+v, want that 9 was seen", f)
	}
	if err := m.Problem(); err != nil {
		t.Errorf("while the first leads: %v", err)
	}
	first.stop()
	waitFor(t, "the problem is told", func() bool {
		err := m.Problem()
		return err != nil && strings.Contains(err.Error(), "leads pool p with fence 7, and 9 was seen before") && strings.Contains(err.Error(), "election raise")
	})
}
