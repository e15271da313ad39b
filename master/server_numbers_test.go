package master

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// Whatever is granted in whatever order, who keeps the names that come with numbers knows
// every server that comes without.
func TestNumbersAreAlwaysKnown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var n serverNumbers
		names := make(map[uint32][2]uint32)
		widest := rapid.SampledFrom([]uint32{3, 100, 1000, 1 << 20}).Draw(t, "widest")
		for range rapid.IntRange(1, 2000).Draw(t, "grants") {
			server := [2]uint32{rapid.Uint32Range(0, 3).Draw(t, "pool"), rapid.Uint32Range(1, widest).Draw(t, "serial")}
			number, known := n.number(server[0], server[1])
			if number == 0 || number > wire.MaxNumber {
				t.Fatalf("number %d", number)
			}
			if known && names[number] != server {
				t.Fatalf("%d is said to be known for %v, but was told for %v", number, server, names[number])
			}
			names[number] = server
		}
	})
}

func TestNumbersOfALargePoolFit(t *testing.T) {
	var n serverNumbers
	const many = 10_000
	for range 4 {
		for serial := uint32(1); serial <= many; serial++ {
			n.number(1, serial)
		}
	}
	for serial := uint32(1); serial <= many; serial++ {
		if _, known := n.number(1, serial); !known {
			t.Fatalf("server %d is forgotten though there is room", serial)
		}
	}
	if number, known := n.number(1, 0); number != 0 || known {
		t.Errorf("no serial got number %d", number)
	}
}

// A server whose address changes is named anew.
func TestGrantsNameAServerOnce(t *testing.T) {
	cfg := web("a")
	cfg.Pools[0].Servers[0].Address = "10.9.9.8:80" // a name would be looked up meanwhile, and be another address then
	r := start(t, cfg)
	e := r.dialEdge("e1")
	next := func(seq uint64) wire.Granted {
		t.Helper()
		e.ask(wire.Ask{Seq: seq, Pool: "web"})
		var g grantedNow
		e.want(wire.TGranted, &g)
		if g.Grant.Server != "" {
			e.numbers[g.Number] = g.Grant
		}
		e.send(&wire.Done{Lease: g.Grant.Lease})
		return g.Granted
	}
	first, second := next(1), next(2)
	if first.Grant.Server != "a" || first.Number == 0 || second.Grant.Server != "" || second.Grant.Address != "" || second.Number != first.Number {
		t.Fatalf("granted %+v and then %+v, want the name once and the number twice", first, second)
	}
	moved := spec("a")
	moved.Address = "10.9.9.9:80"
	if err := r.Reload(Config{ID: "m1", Pools: []PoolConfig{{Name: "web", Servers: []balance.ServerSpec{moved}}}}); err != nil {
		t.Fatal(err)
	}
	if third := next(3); third.Grant.Address != moved.Address || third.Grant.Server != "a" {
		t.Fatalf("after the move granted %+v", third)
	}
	e.ask(wire.Ask{Seq: 4, Pool: "web"}, wire.Ask{Seq: 5})
	for seq := uint64(4); seq < 6; seq++ {
		if g := e.granted(); g.Seq != seq {
			t.Fatalf("got %+v, want %s", g, fmt.Sprint("the answer to ", seq))
		}
	}
	other := r.dialEdge("e2")
	other.ask(wire.Ask{Seq: 1})
	if got := other.refused(); got.Refusal.Reason != balance.UnknownPool {
		t.Errorf("an ask without any pool: %+v", got)
	}
}
