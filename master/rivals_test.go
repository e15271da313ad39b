package master

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/client"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// process is a peer that tells which process of its id it is.
type process struct {
	*rig
	role     wire.Role
	id       string
	instance uint64
}

// say connects and says hello.
func (p process) say(connected ...uint64) *remotePeer {
	p.t.Helper()
	c := p.connect()
	c.send(&wire.Hello{Min: wire.MinVersion, Max: wire.MaxVersion, Role: p.role, ID: p.id, Instance: p.instance, Connected: connected})
	return c
}

// enter also awaits the welcome.
func (p process) enter(connected ...uint64) (*remotePeer, wire.Welcome) {
	p.t.Helper()
	c := p.say(connected...)
	var w wire.Welcome
	c.want(wire.TWelcome, &w)
	return c, w
}

// alive has an edge's connection prove that it is one.
func (p *remotePeer) alive(seq uint64) {
	p.t.Helper()
	p.ask(wire.Ask{Seq: seq, Pool: "web"})
	if g := p.granted(); g.Seq != seq {
		p.t.Errorf("granted %d, want %d", g.Seq, seq)
	}
}

// Two addresses of one master, connected in the same moment: neither hello can name the other's
// connection. The one that goes is told that, and that nothing is wrong.
func TestOneProcessConnectedTwiceAtOnceIsNoFault(t *testing.T) {
	r := start(t, web("a"))
	p := process{r, wire.RoleEdge, "e1", 1}
	first, _ := p.enter()
	second, w := p.enter()
	first.failed(wire.Connected)
	second.alive(1)
	p.say(w.Epoch).failed(wire.Connected)
	second.alive(2)
}

func TestTwoEdgesOfOneID(t *testing.T) {
	var log journal
	r := start(t, web("a"), func(m *Master) { m.log = log.log() })
	older, newer := process{r, wire.RoleEdge, "e1", 1}, process{r, wire.RoleEdge, "e1", 2}
	first, _ := older.enter()
	second, _ := newer.enter()
	both := func(text string, peers ...*remotePeer) {
		t.Helper()
		for _, p := range peers {
			if at := p.LocalAddr().String(); !strings.Contains(text, at) {
				t.Errorf("%q does not name %s", text, at)
			}
		}
		if !strings.Contains(text, "edge.id") {
			t.Errorf("%q does not say what to do", text)
		}
	}
	both(first.failed(wire.Taken).Detail, first, second)
	third, _ := older.enter()
	both(second.failed(wire.Taken).Detail, second, third)
	for range 3 {
		refused := newer.say()
		both(refused.failed(wire.Taken).Detail, refused, third)
	}
	third.alive(1)
	again, _ := older.enter() // its own process may always come back
	third.failed(wire.Connected)
	again.alive(2)
	if n := strings.Count(log.String(), "two processes use its id"); n != 1 {
		t.Errorf("the log tells of it %d times, want once:\n%s", n, log.String())
	}
	_ = again.Close()
	eventually(t, "the place is free", func() bool {
		r.peers.mu.Lock()
		defer r.peers.mu.Unlock()
		return r.peers.edges["e1"] == nil
	})
	last, _ := newer.enter()
	last.alive(3)
}

// After a minute in which neither tried, a new connection takes the place of an old one
// again: the edge may have moved.
func TestARivalryEnds(t *testing.T) {
	var p peers
	p.init(Bounds{})
	edgeOf := func(instance uint64) *edge {
		return &edge{conn: &conn{remote: "r"}, id: "e1", instance: instance}
	}
	now := clock.Now()
	enter := func(instance uint64) bool { return p.addEdge(now, edgeOf(instance), 77).refused == nil }
	for i, want := range []bool{true, true, true, false} {
		if got := enter(uint64(i)%2 + 1); got != want {
			t.Fatalf("connection %d is taken: %v, want %v", i, got, want)
		}
	}
	now = now.Add(rivalryMemory - 1)
	if enter(2) {
		t.Error("the newer is taken though it has never stopped trying")
	}
	now = now.Add(rivalryMemory)
	if !enter(2) {
		t.Error("the newer is refused though that is long ago")
	}
	p.forgetRivalsLocked(now.Add(rivalryMemory))
	if len(p.rivals) != 0 {
		t.Errorf("%d rivalries are kept that are over", len(p.rivals))
	}
}

// Without an instance, it is not known whether two connections are of one process.
func TestEdgesWithoutAnInstance(t *testing.T) {
	r := start(t, web("a"))
	e := process{r, wire.RoleEdge, "e1", 0}
	for range maxExchanges {
		e.enter()
	}
	last, _ := e.enter()
	e.say().failed(wire.Taken)
	last.alive(1)
}

func TestASecondAddressTakesNoPlace(t *testing.T) {
	r := start(t, web("a"))
	e := process{r, wire.RoleEdge, "e1", 1}
	first, w := e.enter(5)
	for range 3 {
		e.say(5, w.Epoch).failed(wire.Connected)
	}
	first.alive(1)
	_ = first.Close()
	eventually(t, "the place is free", func() bool {
		r.peers.mu.Lock()
		defer r.peers.mu.Unlock()
		return r.peers.edges["e1"] == nil
	})
	second, _ := e.enter(w.Epoch) // which has not noticed yet that the first is lost
	second.alive(2)
}

func TestAnAgentsSecondAddressTakesNoPlace(t *testing.T) {
	r := start(t, web())
	a := process{r, wire.RoleAgent, "a", 1}
	first, w := a.enter()
	first.send(&wire.Register{Pool: "web", Server: spec("a")})
	first.sync()
	second, _ := a.enter(w.Epoch)
	second.send(&wire.Register{Pool: "web", Server: spec("a")})
	second.failed(wire.Connected)
	first.sync()
	third, _ := a.enter() // it has lost the first, as it says
	third.send(&wire.Register{Pool: "web", Server: spec("a")})
	first.failed(wire.Taken)
	third.sync()
}

// A file may name one master twice, by names that do not show it. The edge keeps one
// connection, and goes over to the other name when the first leads nowhere.
func TestTwoNamesOfOneMaster(t *testing.T) {
	h := newHouse(t)
	cfg := web("a")
	cfg.Trust = h.good(trust.Master, "m1")
	var atMaster, atEdge journal
	m := newMaster(t, cfg)
	m.log = atMaster.log()
	runAll(t, m.Run)
	var doors [2]net.Listener
	var addresses []string
	for i := range doors {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		doors[i], addresses = ln, append(addresses, ln.Addr().String())
	}
	open := func(door int) (shut func()) {
		return runAll(t, func(ctx context.Context) error { return m.Serve(ctx, doors[door]) })
	}
	e, err := client.NewMasters(client.Config{Masters: addresses, ID: "e1", Pools: []string{"web"}, Trust: h.good(trust.Edge, "e1"), Log: atEdge.log()})
	if err != nil {
		t.Fatal(err)
	}
	runAll(t, e.Run)
	pick := func() {
		t.Helper()
		g, err := e.Pick(context.Background(), "web", &balance.Request{})
		if err != nil {
			t.Fatal(err)
		}
		e.Done("web", g.Lease, balance.Outcome{})
	}
	asked := func() { // an edge that is connected asks once it has reviewed who leads
		t.Helper()
		eventually(t, "the master is asked", func() bool {
			g, err := e.Pick(context.Background(), "web", &balance.Request{})
			if err == nil {
				e.Done("web", g.Lease, balance.Outcome{})
			}
			return err == nil
		})
	}
	made := func() int { return strings.Count(atMaster.String(), "edge connected") }

	shut := open(0)
	eventually(t, "the edge is connected", e.Connected)
	open(1)
	eventually(t, "the other address is parked", func() bool { return strings.Contains(atEdge.String(), wire.Connected.String()) })
	asked()
	for range 100 {
		pick()
	}
	if n := made(); n != 1 {
		t.Errorf("%d connections were made, want one", n)
	}
	if err := e.Problem(); err != nil {
		t.Errorf("problem: %v", err)
	}
	shut()
	eventually(t, "the other address is used", func() bool { return made() == 2 && e.Connected() })
	asked()
}
