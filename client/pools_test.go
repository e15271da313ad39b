package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// watches returns how often a master was asked to tell of a pool.
func (m *fakeMaster) watches(pool string) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range m.got {
		if w, ok := v.(wire.Watch); ok && w.Pool == pool {
			n++
		}
	}
	return n
}

// The pools change under load: those that stay lose nothing, a new one is watched on the
// connection that is up and answers, one that is gone is refused, and not watched by a later connection.
func TestPoolsChangeWhileAsksAreMade(t *testing.T) {
	fake := startMaster(t, &fakeMaster{})
	m := startMasters(t, fake.addr())
	within, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	if _, err := m.Pick(within, "p", &balance.Request{}); err != nil {
		t.Fatal(err)
	}
	end := make(chan struct{})
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				grant, err := m.Pick(within, "p", &balance.Request{})
				if err != nil {
					t.Errorf("an ask of the pool that stays: %v", err)
					return
				}
				m.Snapshot("p")
				m.Done("p", grant.Lease, balance.Outcome{})
			}
		})
	}
	for range 20 {
		m.SetPools([]string{"p", "new"})
		if _, err := m.Pick(within, "new", &balance.Request{}); err != nil {
			t.Errorf("an ask of the new pool: %v", err)
		}
		m.SetPools([]string{"p"})
		if _, err := m.Pick(within, "new", &balance.Request{}); !refusedAs(err, balance.UnknownPool) {
			t.Errorf("an ask of the pool that is gone: %v, want it refused as unknown", err)
		}
	}
	close(end)
	asking.Wait()
	waitFor(t, "a watch for each time that the pool was new", func() bool { return fake.watches("new") == 20 })
	if n := fake.watches("p"); n != 1 {
		t.Errorf("the pool that stays was watched %d times, want once", n)
	}
	m.SetPools([]string{"p", "last"})
	waitFor(t, "the last pool is watched", func() bool { return fake.watches("last") == 1 })
	fake.cut()
	waitFor(t, "both pools are watched anew", func() bool { return fake.watches("p") == 2 && fake.watches("last") == 2 })
	if n := fake.watches("new"); n != 20 {
		t.Errorf("the pool that is gone was watched %d times, want 20: not by the new connection", n)
	}
}

func refusedAs(err error, why balance.Reason) bool {
	refusal, ok := errors.AsType[*balance.Refusal](err)
	return ok && refusal.Reason == why
}

// Nothing old is shown of a pool that was away, for what changed meanwhile was not taken up.
func TestAPoolThatComesBackBeginsWithAWholeSnapshot(t *testing.T) {
	proto := newEdgeProtocol("e", []string{"p"}, "")
	proto.open(1)
	hear(t, proto, (&wire.Welcome{Version: wire.MaxVersion, Master: "m"}).Append(nil))
	old := wire.Snapshot{Seq: 1, Snapshot: balance.Snapshot{Pool: "p", Version: 1, Servers: []balance.SnapshotServer{{ID: "old", Address: "a:1"}}}}
	hear(t, proto, old.Append(nil))
	p := proto.pools["p"]
	if s := p.snapshot(proto.overrides.overrides); s == nil || len(s.Servers) != 1 {
		t.Fatalf("got %+v, want the old server", s)
	}
	said(t, proto)
	proto.setWatched(2, nil)
	hear(t, proto, (&wire.Change{Pool: "p", Seq: 2, Version: 2}).Append(nil))
	proto.setWatched(2, []string{"p"})
	if n := said(t, proto)[wire.TWatch]; n != 1 {
		t.Errorf("%d watches after it came back, want 1", n)
	}
	if s := p.snapshot(proto.overrides.overrides); s != nil {
		t.Errorf("got %+v before a new snapshot has come, want nothing", s)
	}
}

// A pool that was added is watched at once and asked for, and stays when the routes' pools change.
func TestAPoolThatWasAddedStays(t *testing.T) {
	fake := startMaster(t, &fakeMaster{})
	m := startMasters(t, fake.addr())
	within, stop := context.WithTimeout(context.Background(), 2*time.Minute)
	defer stop()
	if _, err := m.Pick(within, "cloud", &balance.Request{}); !refusedAs(err, balance.UnknownPool) {
		t.Fatalf("an ask of a pool that was not added: %v, want it refused as unknown", err)
	}
	for range 3 {
		m.AddPool("cloud")
	}
	waitFor(t, "the pool is watched", func() bool { return fake.watches("cloud") == 1 })
	for range 2 {
		if _, err := m.Pick(within, "cloud", &balance.Request{}); err != nil {
			t.Fatalf("an ask of the pool that was added: %v", err)
		}
		m.SetPools([]string{"p", "new"})
	}
	waitFor(t, "the new pool is watched", func() bool { return fake.watches("new") == 1 })
	if n := fake.watches("cloud"); n != 1 {
		t.Errorf("the pool that was added was watched %d times, want once", n)
	}
	for i := range 2 * maxAddedPools {
		m.AddPool(fmt.Sprint("p", i))
	}
	if n := len(m.leadership.all()); n != maxAddedPools+2 {
		t.Errorf("%d pools are watched, want no more than %d that were added", n, maxAddedPools)
	}
}
