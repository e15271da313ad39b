package balance_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"pgregory.net/rapid"
)

func from(n byte) balance.Request {
	return balance.Request{Client: netip.AddrFrom4([4]byte{192, 0, 2, n})}
}

// busy is a pool of so many slots that are all taken by client 1.
func busy(t rapid.TB, slots, queue int) (*balance.Pool, []balance.LeaseID) {
	t.Helper()
	p := balance.New(balance.Config{Name: "web", QueueSize: queue, QueueWait: 1 << 40}, first{}, 1)
	s := spec("a")
	s.Slots = float64(slots)
	if err := p.Put(second, s, true); err != nil {
		t.Fatal(err)
	}
	var held []balance.LeaseID
	for range slots {
		req := from(1)
		g, err := p.Pick(second, &req)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, g.Lease)
	}
	return p, held
}

func TestAClientWithFewerLeasesIsServedFirst(t *testing.T) {
	p, held := busy(t, 4, 100)
	names := make(map[balance.WaitID]string)
	for range 3 {
		names[join(t, p, second, from(1))] = "flood"
	}
	for n := byte(2); n <= 3; n++ {
		for range 2 {
			names[join(t, p, second, from(n))] = fmt.Sprint(n)
		}
	}
	var served []string
	for _, lease := range held[:3] {
		p.Done(second, lease, balance.Outcome{})
		for _, r := range p.Serve(second, nil) {
			served = append(served, names[r.ID])
		}
		if err := p.Check(); err != nil {
			t.Fatal(err)
		}
	}
	if got := fmt.Sprint(served); got != "[2 3 flood]" && got != "[2 3 2]" { // the flood has one lease left, as 2 has
		t.Errorf("served %s", got)
	}
	if served[0] != "2" || served[1] != "3" {
		t.Errorf("served %v, want the clients without a lease first, as they came", served)
	}
}

func TestPriorityAndTenantComeBeforeTheClient(t *testing.T) {
	p, held := busy(t, 4, 100)
	urgent := from(1)
	urgent.Priority = 1
	other := from(1)
	other.Tenant = "other"
	names := map[balance.WaitID]string{join(t, p, second, other): "flood, another tenant", join(t, p, second, from(2)): "2", join(t, p, second, from(2)): "2 again", join(t, p, second, urgent): "flood, urgent"}
	var served []string
	for _, lease := range held {
		p.Done(second, lease, balance.Outcome{})
		for _, r := range p.Serve(second, nil) {
			served = append(served, names[r.ID])
		}
	}
	if got, want := fmt.Sprint(served), "[flood, urgent flood, another tenant 2 2 again]"; got != want {
		t.Errorf("served %s, want %s", got, want)
	}
}

func TestAFloodOfOneClientDisplacesOnlyItself(t *testing.T) {
	p, _ := busy(t, 2, 5)
	var flood []balance.WaitID
	for range 5 {
		flood = append(flood, join(t, p, second, from(1)))
	}
	one := from(1)
	if _, _, refusal := p.Join(second, &one); refusal == nil {
		t.Error("the flood goes on in a full queue")
	}
	join(t, p, second, from(2))
	out := p.Serve(second, nil)
	if len(out) != 1 || out[0].ID != flood[4] || out[0].Refusal == nil {
		t.Errorf("released %+v, want the flood's newest, refused", out)
	}
	if err := p.Check(); err != nil {
		t.Error(err)
	}
}

func TestUnknownClientsAreServedAsTheyCame(t *testing.T) {
	p, held := busy(t, 1, 10)
	var want []balance.WaitID
	for range 4 {
		want = append(want, join(t, p, second, balance.Request{}))
	}
	for _, id := range want {
		p.Done(second, held[0], balance.Outcome{})
		out := p.Serve(second, nil)
		if len(out) != 1 || out[0].ID != id {
			t.Fatalf("released %+v, want %d", out, id)
		}
		held[0] = out[0].Grant.Lease
	}
}

// Whatever is asked, answered and given up, the counts are those of leases and queue, and no client is
// served while a client with fewer leases waits.
func TestClientsAreCountedExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, held := busy(t, 3, 6)
		now := second
		clients := make(map[balance.WaitID]byte)
		open := map[byte]int{1: 3}
		owner := make(map[balance.LeaseID]byte)
		for _, l := range held {
			owner[l] = 1
		}
		serve := func() {
			for _, r := range p.Serve(now, nil) {
				n := clients[r.ID]
				delete(clients, r.ID)
				if r.Refusal != nil {
					continue
				}
				for _, other := range clients {
					if open[other] < open[n] {
						t.Fatalf("client %d with %d leases was served before client %d with %d", n, open[n], other, open[other])
					}
				}
				open[n]++
				owner[r.Grant.Lease], held = n, append(held, r.Grant.Lease)
			}
			if err := p.Check(); err != nil {
				t.Fatal(err)
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				n := byte(rapid.IntRange(1, 4).Draw(t, "client"))
				req := from(n)
				if g, err := p.Pick(now, &req); err == nil {
					open[n]++
					owner[g.Lease], held = n, append(held, g.Lease)
				} else if id, _, refusal := p.Join(now, &req); refusal == nil {
					clients[id] = n
				}
			case 2:
				if len(held) > 0 {
					i := rapid.IntRange(0, len(held)-1).Draw(t, "lease")
					p.Done(now, held[i], balance.Outcome{})
					open[owner[held[i]]]--
					held = append(held[:i], held[i+1:]...)
				}
			default:
				if len(clients) > 0 {
					id := slices.Min(slices.Collect(maps.Keys(clients)))
					p.Leave(id)
					delete(clients, id)
				}
			}
			serve()
		}
	})
}
