package client

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// snapshotOf returns the frame of a snapshot of pool p with servers that are up.
func snapshotOf(dispatch bool, servers ...balance.ServerID) []byte {
	s := wire.Snapshot{Seq: 1, Snapshot: balance.Snapshot{Pool: "p", Version: 1, Dispatch: dispatch}}
	for _, id := range servers {
		s.Snapshot.Servers = append(s.Snapshot.Servers, balance.SnapshotServer{ID: id, Address: string(id) + ":1", Slots: 1, Service: 1})
	}
	return s.Append(nil)
}

// life is what one life of a master says.
type life struct {
	epoch   uint64
	servers []balance.ServerID
}

func (l life) begin(t *testing.T, proto *edgeProtocol, now balance.Instant, dispatch bool) {
	t.Helper()
	proto.open(now)
	frames := (&wire.Welcome{Version: wire.MaxVersion, Master: "m", Epoch: l.epoch}).Append(nil)
	if _, err := proto.receive(now, append(frames, snapshotOf(dispatch, l.servers...)...)); err != nil {
		t.Fatal(err)
	}
}

// A master that has been started anew is behind until it knows the servers that it knew
// before, or has had the time to. One whose connection merely broke is not.
func TestWhoIsBehind(t *testing.T) {
	ab, a, none := []balance.ServerID{"a", "b"}, []balance.ServerID{"a"}, []balance.ServerID(nil)
	for _, c := range []struct {
		name     string
		dispatch bool
		now      life
		later    time.Duration
		behind   bool
	}{
		{"started anew, knows none", false, life{2, none}, 0, true},
		{"started anew, knows one of two", false, life{2, a}, 0, true},
		{"started anew, knows both", false, life{2, ab}, 0, false},
		{"started anew, with time enough", false, life{2, a}, agentReturnTime, false},
		{"only the connection broke", false, life{1, a}, 0, false},
		{"dispatches and knows one of two", true, life{2, a}, 0, false},
		{"dispatches and knows none", true, life{2, none}, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			proto, now := newEdgeProtocol("e", []string{"p"}, ""), balance.Instant(time.Hour)
			life{1, ab}.begin(t, proto, now, c.dispatch)
			p := proto.pool("p")
			if proto.isCatchingUp(now, p, p.previous) {
				t.Error("behind, though nothing was known before")
			}
			now = now.Add(time.Minute)
			proto.lastReceived = now
			proto.lost(errors.New("killed"))
			c.now.begin(t, proto, now, c.dispatch)
			now = now.Add(c.later)
			if got := proto.isCatchingUp(now, p, p.previous); got != c.behind {
				t.Errorf("behind: %v, want %v", got, c.behind)
			}
			want := len(c.now.servers)
			if c.behind {
				want = len(ab)
			}
			if got := proto.bestSnapshot(now, p); len(got.Servers) != want {
				t.Errorf("to choose from there are %v, want %d servers", got.Servers, want)
			}
		})
	}
}

// What was known before is not forgotten with a second loss that comes before the master
// has caught up.
func TestWhoIsLostAgainWhileBehind(t *testing.T) {
	proto, now := newEdgeProtocol("e", []string{"p"}, ""), balance.Instant(time.Hour)
	life{1, []balance.ServerID{"a", "b"}}.begin(t, proto, now, false)
	p := proto.pool("p")
	for epoch := range uint64(3) {
		proto.lost(errors.New("killed"))
		life{2 + epoch, nil}.begin(t, proto, now, false)
		if got := proto.bestSnapshot(now, p); len(got.Servers) != 2 {
			t.Fatalf("after loss %d there are %v to choose from, want 2 servers", epoch+1, got.Servers)
		}
	}
}

// A master that has just been started is not asked before it knows what was known before,
// and meanwhile the edge chooses from that.
func TestANewMasterIsNotAskedTooSoon(t *testing.T) {
	m := startMaster(t, &fakeMaster{})
	m.onWelcome = func(c *fakeConn) { c.Write(snapshotOf(false, "a", "b")) }
	masters, err := NewMasters(Config{Masters: []string{m.addr()}, ID: "e", Pools: []string{"p"}})
	if err != nil {
		t.Fatal(err)
	}
	run(t, masters.Run)
	leads := func() bool { return masters.leadership.get("p").leader.Load() != nil }
	waitFor(t, "a leader", leads)
	waitFor(t, "a snapshot", func() bool { s := masters.Snapshot("p"); return s != nil && len(s.Servers) == 2 })

	m.listener.Close()
	m.cut()
	waitFor(t, "the loss", func() bool { return !masters.Connected() })
	catchUp := make(chan []byte, 1)
	defer close(catchUp)
	m.mu.Lock()
	m.epoch = 2
	m.onWelcome = func(c *fakeConn) {
		c.Write(snapshotOf(false, "a"))
		m.wg.Go(func() { c.Write(<-catchUp) })
	}
	m.mu.Unlock()
	m.restart()
	waitFor(t, "its one server", func() bool { s := masters.allClients()[0].Snapshot("p"); return s != nil && len(s.Servers) == 1 })
	masters.review()
	if leads() {
		t.Error("the new master is asked though it knows one server of two")
	}
	if _, err := masters.Pick(context.Background(), "p", &balance.Request{}); !errors.Is(err, ErrNoMaster) {
		t.Errorf("a pick of it: %v, want no master", err)
	}
	if s := masters.Snapshot("p"); len(s.Servers) != 2 {
		t.Errorf("to choose from there are %v, want both servers", s.Servers)
	}
	catchUp <- snapshotOf(false, "a", "b")
	waitFor(t, "a leader again", leads)
}
