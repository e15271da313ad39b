package master

import (
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// watcher is the plainest edge that can follow a feed.
type watcher struct {
	servers []balance.SnapshotServer
	seq     uint64
	edges   int
	whole   bool // the last snapshot was
	changes int  // frames
}

func (w *watcher) take(t interface{ Fatalf(string, ...any) }, frames []byte) {
	for len(frames) > 0 {
		typ, payload, size, err := wire.Next(slices.Clone(frames))
		if err != nil || size == 0 {
			t.Fatalf("%x: %v", frames, err)
		}
		frames = frames[size:]
		switch typ {
		case wire.TSnapshot:
			var s wire.Snapshot
			if err := s.Decode(payload); err != nil {
				t.Fatalf("%v", err)
			}
			if w.whole {
				w.servers = nil
			}
			w.servers = append(w.servers, s.Snapshot.Servers...)
			w.seq, w.edges, w.whole = s.Seq, s.Snapshot.Edges, !s.More
		case wire.TChange:
			w.change(t, payload)
		default:
			t.Fatalf("got a %s", typ)
		}
	}
}

func (w *watcher) change(t interface{ Fatalf(string, ...any) }, payload []byte) {
	var c wire.Change
	if err := c.Decode(payload); err != nil {
		t.Fatalf("%v", err)
	}
	if c.Seq != w.seq+1 {
		t.Fatalf("change %d after %d", c.Seq, w.seq)
	}
	w.seq, w.edges = c.Seq, c.Edges
	w.changes++
	for _, p := range c.Servers {
		if p.At == len(w.servers) {
			w.servers = append(w.servers, balance.SnapshotServer{})
		}
		w.servers[p.At] = p.Server
	}
	w.servers = w.servers[:c.Count]
	for _, l := range c.Loads {
		w.servers[l.At].Load = float64(l.Load)
	}
	for _, c := range c.Capacities {
		w.servers[c.At].Slots, w.servers[c.At].Service = float64(c.Slots), float64(c.Service)
	}
}

// differs tells how a watcher's view differs from the pool by more than is told.
func (w *watcher) differs(now balance.Instant, p *pool) string {
	want := p.core.Snapshot(now).Servers
	if len(want) != len(w.servers) {
		return fmt.Sprintf("%d servers, want %d", len(w.servers), len(want))
	}
	for i, s := range want {
		got := w.servers[i]
		same := got.ID == s.ID && got.Address == s.Address && got.Public == s.Public && got.State == s.State && slices.Equal(got.Labels, s.Labels)
		if !same || math.Abs(got.Load-s.Load) > max(1, got.Load/4) || math.Abs(got.Slots-s.Slots) > got.Slots/15 || math.Abs(got.Service-s.Service) > got.Service/15 {
			return fmt.Sprintf("server %d is told as %+v, want %+v", i, got, s)
		}
	}
	return ""
}

// What edges know by changes is the pool, whatever happens to it, and so is what an edge
// is told that comes later.
func TestFeedFollowsThePool(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, err := newPool(PoolConfig{Name: "web", QueueSize: None}, true, 1, func() {})
		if err != nil {
			t.Fatal(err)
		}
		f, w, now := &feed{pool: "web"}, &watcher{whole: true}, balance.Instant(time.Hour)
		var leases []balance.LeaseID
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.Int64Range(1, 2e9).Draw(t, "later")))
			id := balance.ServerID(fmt.Sprint("s", rapid.IntRange(0, 600).Draw(t, "server")))
			switch rapid.IntRange(0, 6).Draw(t, "event") {
			case 0: // many at once, so that places move within a piece and beyond it
				for i := range rapid.IntRange(1, 600).Draw(t, "many") {
					_ = p.putServerLocked(now, balance.ServerSpec{ID: balance.ServerID(fmt.Sprint("s", i)), Address: "10.0.0.1:80", Slots: 4}, false)
				}
			case 1:
				_ = p.putServerLocked(now, balance.ServerSpec{ID: id, Address: rapid.SampledFrom([]string{"10.0.0.1:80", "10.0.0.2:80"}).Draw(t, "address"), Slots: 4,
					Labels: []balance.Label{{Key: "zone", Value: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "zone")}}}, false)
			case 2:
				p.removeServerLocked(now, id)
			case 3:
				p.storeOverrideLocked(now, id, p.newOverrideLocked(now, id, balance.Override{On: rapid.Bool().Draw(t, "on")}))
			case 4:
				for range 50 {
					var g balance.Grant
					if p.pickLocked(now, &balance.Request{}, &g) == nil {
						leases = append(leases, g.Lease)
					}
				}
			case 5:
				for _, l := range leases {
					p.endByMasterLocked(now, l, balance.Outcome{Duration: time.Duration(rand.N(int64(time.Second)))})
				}
				leases = leases[:0]
			case 6:
				_ = p.storeReportLocked(now, &balance.Report{Server: id, Metrics: []balance.Metric{{Name: balance.InFlight, Value: rapid.Float64Range(0, 1e6).Draw(t, "load")}}}, fromAgent)
			}
			w.take(t, f.collectChanges(now, p, true, make([]*edge, 2)))
			if wrong := w.differs(now, p); wrong != "" {
				t.Fatal(wrong)
			}
		}
		if again := f.collectChanges(now, p, true, make([]*edge, 2)); len(again) > 0 {
			t.Fatalf("nothing has happened, and yet %d bytes are told", len(again))
		}
		late := &watcher{whole: true}
		late.take(t, f.snapshotFrames())
		if !reflect.DeepEqual(late.servers, w.servers) || late.seq != w.seq || late.edges != 2 {
			t.Fatalf("told anew: %d servers, seq %d, %d edges, want %d, %d, 2", len(late.servers), late.seq, late.edges, len(w.servers), w.seq)
		}
	})
}

// An edge may watch a pool that is still to come, and another may watch it before the first
// has been told of it: both are told.
func TestWatchersFromBeforeThePoolAreTold(t *testing.T) {
	p, err := newPool(PoolConfig{Name: "web"}, false, 1, func() {})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.putServerLocked(1, spec("a"), false); err != nil {
		t.Fatal(err)
	}
	m, f := newMaster(t, web()), &feed{pool: "web"}
	var all []*edge
	var peers []net.Conn
	for range 2 {
		near, far := net.Pipe()
		e := &edge{conn: &conn{Conn: near, limits: &m.limits, log: slog.New(slog.DiscardHandler), drop: func(why error) { t.Log("dropped: ", why) }}}
		t.Cleanup(func() { _ = near.Close(); _ = far.Close(); e.writers.Wait() })
		all, peers = append(all, e), append(peers, far)
	}
	f.sendSnapshotTo(1, nil, all[0], all[:1])
	f.sendSnapshotTo(1, p, all[1], all)
	for i, far := range peers {
		_ = far.SetReadDeadline(time.Now().Add(2 * time.Minute))
		buf := make([]byte, 1<<16)
		n, err := far.Read(buf)
		if err != nil {
			t.Fatalf("edge %d was told nothing: %v", i+1, err)
		}
		w := &watcher{whole: true}
		w.take(t, buf[:n])
		if len(w.servers) != 1 || w.edges != 2 {
			t.Errorf("edge %d was told of %d servers and %d edges, want 1 and 2", i+1, len(w.servers), w.edges)
		}
	}
}

// Loads that move are told once a second, and in few bytes.
func TestLoadsAreToldInFewBytes(t *testing.T) {
	const many = 10_000
	var specs []balance.ServerSpec
	for i := range many {
		specs = append(specs, balance.ServerSpec{ID: balance.ServerID(fmt.Sprint("server-", i)), Address: "10.0.0.1:80", Slots: 4})
	}
	p, err := newPool(PoolConfig{Name: "web", QueueSize: None}, true, 1, func() {})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.configureLocked(1, PoolConfig{Name: "web", QueueSize: None, Servers: specs}); err != nil {
		t.Fatal(err)
	}
	f, w := &feed{pool: "web"}, &watcher{whole: true}
	w.take(t, f.collectChanges(1, p, true, make([]*edge, 1)))
	for range 2 * many {
		if err := p.pickLocked(1, &balance.Request{Edge: "e"}, new(balance.Grant)); err != nil {
			t.Fatal(err)
		}
	}
	if out := f.collectChanges(1, p, false, make([]*edge, 1)); len(out) != 0 {
		t.Errorf("%d bytes though no loads were to be told", len(out))
	}
	out := f.collectChanges(1, p, true, make([]*edge, 1))
	if len(out) == 0 || len(out) > 6*many {
		t.Errorf("%d bytes for the loads of %d servers, want at most 6 each", len(out), many)
	}
	w.take(t, out)
	if w.changes < 2 || w.servers[many-1].Load != 2 {
		t.Errorf("%d changes, the last server has %v", w.changes, w.servers[many-1].Load)
	}
}

func TestWhenChangesAreDue(t *testing.T) {
	p := &pool{changed: true, wake: func() {}}
	const ms = balance.Instant(time.Millisecond)
	for _, step := range []struct {
		at         balance.Instant
		touch      bool
		due, loads bool
		again      balance.Instant
	}{
		{1000, false, true, true, 2000}, {1050, true, false, false, 1100}, {1100, false, true, false, 2000},
		{1150, false, false, false, 2000}, {1950, true, true, false, 2000}, {1999, true, false, false, 2000}, {2000, false, true, true, 3000},
	} {
		if step.touch {
			p.markChangedLocked()
		}
		if due, loads, again := p.pushDueLocked(step.at*ms, true); due != step.due || loads != step.loads || again != step.again*ms {
			t.Errorf("at %d ms: due %v, loads %v, again at %d; want %v, %v, %d", step.at, due, loads, again/ms, step.due, step.loads, step.again)
		}
	}
	if due, _, again := p.pushDueLocked(9000*ms, false); due || again != 0 {
		t.Errorf("no edge watches, and yet: due %v, again at %d", due, again)
	}
}

func TestChangesArePushed(t *testing.T) {
	r := start(t, web("a"))
	e, w := r.dialEdge("e1"), &watcher{whole: true}
	e.send(&wire.Watch{Pool: "web"})
	follow := func(until func() bool) {
		t.Helper()
		for !until() {
			typ, payload, err := e.next()
			if err != nil || typ != wire.TSnapshot && typ != wire.TChange {
				t.Fatalf("got a %v, %v, with %d servers and %d edges known", typ, err, len(w.servers), w.edges)
			}
			whole := append([]byte{byte(len(payload) + 1), byte((len(payload) + 1) >> 8), byte((len(payload) + 1) >> 16), 0, byte(typ)}, payload...)
			w.take(t, whole)
		}
	}
	follow(func() bool { return len(w.servers) == 1 && w.seq > 0 })
	r.dialAgent("b")
	follow(func() bool { return len(w.servers) == 2 })
	for i := range 37 {
		r.dialAgent(balance.ServerID(fmt.Sprint("x", i)))
	}
	follow(func() bool { return len(w.servers) == 39 })
	if w.changes == 0 {
		t.Error("there was no change, only whole snapshots")
	}
	other := r.dialEdge("e2")
	other.send(&wire.Watch{Pool: "web"})
	follow(func() bool { return w.edges == 2 })
	_ = other.Close()
	follow(func() bool { return w.edges == 1 })
	before := w.seq
	e.send(&wire.Watch{Pool: "web"}) // as after a gap
	w.seq = 0
	follow(func() bool { return w.seq >= before && len(w.servers) == 39 })
}

// Edges are told who shares caps when all have had time to come back, and not before.
func TestSharersAreToldWhenEdgesHaveHadTimeToComeBack(t *testing.T) {
	cfg := PoolConfig{Name: "web", MaxInFlight: 4, Grace: 5 * time.Second, Servers: []balance.ServerSpec{{ID: "a", Address: "127.0.0.1:80"}}}
	p, err := newPool(cfg, true, 1, func() {})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.configureLocked(p.created, cfg); err != nil {
		t.Fatal(err)
	}
	f, edges := &feed{pool: "web"}, []*edge{{id: "e2"}, {id: "e1"}}
	f.collectChanges(p.created.Add(4*time.Second), p, true, edges)
	if told := f.sent.Snapshot.Sharers; len(told) != 0 {
		t.Errorf("%v are told to share a cap before the grace is over", told)
	}
	f.collectChanges(p.created.Add(6*time.Second), p, true, edges)
	if told := f.sent.Snapshot.Sharers; !slices.Equal(told, []balance.EdgeID{"e1", "e2"}) {
		t.Errorf("%v are told to share a cap, want both edges", told)
	}
}
