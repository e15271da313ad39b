package client

import (
	"reflect"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

func TestSnapshotInSeveralFrames(t *testing.T) {
	big := balance.Snapshot{Pool: "p", Version: 7, Servers: make([]balance.SnapshotServer, 5000)}
	for i := range big.Servers {
		big.Servers[i] = balance.SnapshotServer{ID: balance.ServerID(rune('a' + i)), Address: "127.0.0.1:80", Slots: 1}
	}
	m := startMaster(t, &fakeMaster{onWelcome: func(c *fakeConn) {
		c.Write((&wire.Snapshot{Snapshot: balance.Snapshot{Pool: "other", Version: 1}}).Append(nil))
		c.Write((&wire.Snapshot{Snapshot: big}).Append(nil))
	}})
	c := start(t, Config{Masters: []string{m.addr()}, Pools: []string{"p"}}, m)
	waitFor(t, "a snapshot", func() bool { return c.Snapshot("p") != nil })
	s := c.Snapshot("p")
	if s.Version != 7 || len(s.Servers) != 5000 || !reflect.DeepEqual(s.Servers[4999], big.Servers[4999]) {
		t.Errorf("snapshot version %d with %d servers", s.Version, len(s.Servers))
	}
	if c.Snapshot("other") != nil {
		t.Error("a snapshot of a pool that was not watched")
	}
}

func TestChangesOfASnapshot(t *testing.T) {
	conns := make(chan *fakeConn, 1)
	whole := wire.Snapshot{Seq: 5, Snapshot: balance.Snapshot{Pool: "p", Version: 7, Edges: 1, Servers: []balance.SnapshotServer{{ID: "a", Address: "a:1", Slots: 1}, {ID: "b", Address: "b:1", Slots: 2}}}}
	m := startMaster(t, &fakeMaster{onWelcome: func(c *fakeConn) {
		c.Write(whole.Append(nil))
		conns <- c
	}})
	c := start(t, Config{Masters: []string{m.addr()}, Pools: []string{"p"}}, m)
	conn := <-conns
	has := func(what string, is func(s *balance.Snapshot) bool) *balance.Snapshot {
		t.Helper()
		waitFor(t, what, func() bool { s := c.Snapshot("p"); return s != nil && is(s) })
		return c.Snapshot("p")
	}
	before := has("the snapshot", func(s *balance.Snapshot) bool { return len(s.Servers) == 2 })
	conn.Write((&wire.Change{Pool: "p", Version: 8, Seq: 6, Count: 3, Edges: 2, Servers: []wire.Placed{{At: 0, Server: balance.SnapshotServer{ID: "z", Address: "z:1"}},
		{At: 2, Server: balance.SnapshotServer{ID: "c", Address: "c:1", Slots: 3, Labels: []balance.Label{{Key: "zone", Value: "b"}}}}}, Loads: []wire.Load{{At: 1, Load: 4}}, Capacities: []wire.Capacity{{At: 2, Slots: 8, Service: .5}}}).Append(nil))
	after := has("the change", func(s *balance.Snapshot) bool { return s.Version == 8 })
	want := []balance.SnapshotServer{{ID: "z", Address: "z:1"}, {ID: "b", Address: "b:1", Slots: 2, Load: 4}, {ID: "c", Address: "c:1", Slots: 8, Service: .5, Labels: []balance.Label{{Key: "zone", Value: "b"}}}}
	if !reflect.DeepEqual(after.Servers, want) || after.Edges != 2 {
		t.Errorf("after the change %+v, %d edges, want %+v", after.Servers, after.Edges, want)
	}
	if len(before.Servers) != 2 || before.Servers[0].ID != "a" {
		t.Errorf("a snapshot that was handed out has changed: %+v", before)
	}
	conn.Write((&wire.Change{Pool: "p", Version: 9, Seq: 7, Count: 1}).Append(nil))
	has("the loss", func(s *balance.Snapshot) bool { return len(s.Servers) == 1 })

	await[wire.Watch](m, 1, nil)
	conn.Write((&wire.Change{Pool: "p", Version: 99, Seq: 9, Count: 1}).Append(nil)) // 8 is missing
	await[wire.Watch](m, 2, nil)
	whole.Seq, whole.Snapshot.Version = 20, 100
	conn.Write(append((&wire.Change{Pool: "p", Version: 99, Seq: 10, Count: 1}).Append(nil), whole.Append(nil)...))
	if s := has("a whole one", func(s *balance.Snapshot) bool { return s.Version == 100 }); len(s.Servers) != 2 {
		t.Errorf("after the gap %+v", s)
	}
}

func TestChangesThatCannotBe(t *testing.T) {
	for name, change := range map[string]wire.Change{
		"beyond the last": {Count: 1, Servers: []wire.Placed{{At: 2}}},
		"too many":        {Count: 2},
		"load nowhere":    {Count: 1, Loads: []wire.Load{{At: 1}}},
		"capacity":        {Count: 0, Capacities: []wire.Capacity{{At: 0}}},
	} {
		t.Run(name, func(t *testing.T) {
			change.Pool, change.Seq = "p", 1
			m := startMaster(t, &fakeMaster{onWelcome: func(f *fakeConn) {
				f.Write(change.Append((&wire.Snapshot{Snapshot: balance.Snapshot{Pool: "p", Servers: make([]balance.SnapshotServer, 1)}}).Append(nil)))
			}})
			c, err := New(Config{Masters: []string{m.addr()}, ID: "edge-a", Pools: []string{"p"}})
			if err != nil {
				t.Fatal(err)
			}
			run(t, c.Run)
			if f := await[wire.Fail](m, 1, nil)[0]; f.Code != wire.BadFrame {
				t.Errorf("the master was told %v", &f)
			}
		})
	}
}

// A master that has just begun names none of the edges that share caps. Until it does, an edge keeps the list that it has: with a shorter
// one its share would be larger than the others know.
func TestSharersAreKeptUntilTheNextMasterNamesThem(t *testing.T) {
	k := new(poolState)
	for _, step := range []struct {
		told  []balance.EdgeID
		count int
		place int
	}{
		{nil, 0, 0}, {[]balance.EdgeID{"e1", "e2", "e3"}, 3, 1}, {nil, 3, 1}, {[]balance.EdgeID{"e2", "e3"}, 2, 0}, {nil, 2, 0}, {[]balance.EdgeID{"e1"}, 1, -1},
	} {
		k.share("e2", step.told)
		if len(k.current.Sharers) != step.count || k.current.Place != step.place {
			t.Errorf("told %v: %d share and its place is %d, want %d and %d", step.told, len(k.current.Sharers), k.current.Place, step.count, step.place)
		}
	}
}

// A whole snapshot of the next master leaves them too.
func TestAWholeSnapshotKeepsSharers(t *testing.T) {
	capped := balance.Snapshot{Pool: "p", Version: 1, Servers: []balance.SnapshotServer{{ID: "a", Address: "a:1", Cap: 4}}, Sharers: []balance.EdgeID{"e0", "edge-a"}}
	m := startMaster(t, &fakeMaster{onWelcome: func(c *fakeConn) {
		c.Write((&wire.Snapshot{Seq: 1, Snapshot: capped}).Append(nil))
		later := capped
		later.Version, later.Sharers = 2, nil
		c.Write((&wire.Snapshot{Seq: 2, Snapshot: later}).Append(nil))
	}})
	c := start(t, Config{ID: "edge-a", Masters: []string{m.addr()}, Pools: []string{"p"}}, m)
	waitFor(t, "the second snapshot", func() bool { s := c.Snapshot("p"); return s != nil && s.Version == 2 })
	if s := c.Snapshot("p"); len(s.Sharers) != 2 || s.Place != 1 {
		t.Errorf("%v share, and its place is %d, want those of the first snapshot", s.Sharers, s.Place)
	}
}
