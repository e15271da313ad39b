package master

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// narrow is a config whose pool web has one server with one slot.
func narrow(queue int) Config {
	cfg := web("a")
	cfg.Pools[0].QueueSize, cfg.Pools[0].Servers[0].Slots = queue, 1
	return cfg
}

// waiting returns how many requests are in the queue of pool web.
func (r *rig) waiting() int {
	p := r.poolNamed("web")
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.core.Waiting(); n != len(p.waits) {
		r.t.Errorf("%d requests are in the queue, and %d are answered from it", n, len(p.waits))
	}
	return p.core.Waiting()
}

// waits returns how many waits have ended so in pool web.
func (r *rig) waits(end waitEnd) uint64 {
	p := r.poolNamed("web")
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.stats.queueTimes[end].Count()
	return n
}

func (p *remotePeer) queued() wire.Queued {
	p.t.Helper()
	var q wire.Queued
	p.want(wire.TQueued, &q)
	return q
}

// occupy takes the only slot.
func (p *remotePeer) occupy() balance.LeaseID {
	p.t.Helper()
	p.ask(wire.Ask{Seq: 1000, Pool: "web"})
	return p.granted().Grant.Lease
}

func TestQueueIsServedInOrder(t *testing.T) {
	r := start(t, narrow(0))
	e := r.dialEdge("e1")
	held := e.occupy()
	for seq := range uint64(3) {
		e.ask(wire.Ask{Seq: seq + 1, Pool: "web"})
		if q := e.queued(); q.Seq != seq+1 || q.Position != uint32(seq+1) {
			t.Fatalf("got %+v, want place %d for ask %d", q, seq+1, seq+1)
		}
	}
	for seq := range uint64(3) {
		e.send(&wire.Done{Pool: "web", Lease: held})
		g := e.granted()
		if g.Seq != seq+1 || g.Queue <= 0 || r.open() != 1 {
			t.Fatalf("got %+v with %d leases open, want ask %d, its wait, and 1", g, r.open(), seq+1)
		}
		held = g.Grant.Lease
	}
	if n := r.waits(served); n != 3 || r.waiting() != 0 {
		t.Errorf("%d waits were served and %d go on, want 3 and 0", n, r.waiting())
	}
}

func TestFullQueueRefusesAtOnce(t *testing.T) {
	r := start(t, narrow(1))
	e := r.dialEdge("e1")
	e.occupy()
	e.ask(wire.Ask{Seq: 1, Pool: "web"}, wire.Ask{Seq: 2, Pool: "web"})
	var refused wire.Refused
	for _, want := range []wire.Type{wire.TQueued, wire.TRefused} { // of two asks, in either order
		got, payload, err := e.next()
		if err != nil || got != wire.TQueued && got != wire.TRefused {
			t.Fatalf("got a %s, %v, want a %s", got, err, want)
		}
		if got == wire.TRefused {
			if err := refused.Decode(payload); err != nil {
				t.Fatal(err)
			}
		}
	}
	if refused.Seq != 2 || refused.Refusal.Reason != balance.Saturated || refused.Refusal.RetryAfter < time.Second {
		t.Errorf("got %+v, want ask 2 refused as saturated, and when to come again", refused)
	}
}

func TestNewcomerDisplacesWhoHasMoreWaiting(t *testing.T) {
	r := start(t, narrow(2))
	e := r.dialEdge("e1")
	e.occupy()
	for seq := range uint64(2) {
		e.ask(wire.Ask{Seq: seq + 1, Pool: "web", Request: balance.Request{Tenant: "big"}})
		e.queued()
	}
	e.ask(wire.Ask{Seq: 3, Pool: "web", Request: balance.Request{Tenant: "small"}})
	if q := e.queued(); q.Seq != 3 {
		t.Fatalf("got %+v, want ask 3 to wait", q)
	}
	if got := e.refused(); got.Seq != 2 || got.Refusal.Reason != balance.Saturated || r.waits(displaced) != 1 {
		t.Errorf("got %+v, want the newest of the tenant that has two displaced", got)
	}
}

func TestWaitIsGivenUpInTime(t *testing.T) {
	cfg := narrow(0)
	cfg.Pools[0].QueueWait = 40 * time.Millisecond
	r := start(t, cfg)
	e := r.dialEdge("e1")
	e.occupy()
	e.ask(wire.Ask{Seq: 1, Pool: "web"})
	e.queued()
	if got := e.refused(); got.Seq != 1 || got.Refusal.Reason != balance.Shed || got.Refusal.RetryAfter == 0 {
		t.Errorf("got %+v, want ask 1 shed", got)
	}
	if n := r.waits(shed); n != 1 {
		t.Errorf("%d waits were shed, want 1", n)
	}
}

func TestWhoGoesAwayLeavesTheQueue(t *testing.T) {
	r := start(t, narrow(0))
	e, other := r.dialEdge("e1"), r.dialEdge("e2")
	held := e.occupy()
	e.ask(wire.Ask{Seq: 1, Pool: "web"})
	e.queued()
	e.send(&wire.Cancel{Seq: 1})
	if got := e.refused(); got.Seq != 1 || got.Refusal.Reason != balance.Shed {
		t.Errorf("got %+v, want the word that ask 1 is withdrawn", got)
	}
	other.ask(wire.Ask{Seq: 2, Pool: "web"})
	other.queued()
	_ = other.Close()
	ctx, cancel := context.WithCancel(context.Background())
	local := make(chan error)
	go func() {
		_, err := r.Edge("in").Pick(ctx, "web", &balance.Request{})
		local <- err
	}()
	eventually(t, "only the local one waits", func() bool { return r.waits(withdrew) == 2 && r.waiting() == 1 })
	cancel()
	if err := <-local; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
	e.send(&wire.Done{Pool: "web", Lease: held})
	e.sync()
	if n := r.waiting() + r.open(); n != 0 {
		t.Errorf("%d requests wait or are served, want none", n)
	}
}

func TestLocalAndAPIWait(t *testing.T) {
	r := start(t, narrow(0))
	e := r.Edge("in")
	held, err := e.Pick(context.Background(), "web", &balance.Request{})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() {
		g, err := e.Pick(context.Background(), "web", &balance.Request{})
		if err != nil || g.Server != "a" {
			t.Errorf("got %+v, %v, want a after a wait", g, err)
		}
		e.Done("web", g.Lease, balance.Outcome{})
	})
	eventually(t, "the local one waits", func() bool { return r.waiting() == 1 })
	w := httptest.NewRecorder()
	all.Go(func() {
		r.Handler().ServeHTTP(w, httptest.NewRequest("POST", "/v1/pools/web/pick", strings.NewReader("{}")))
		if w.Code != http.StatusOK {
			t.Errorf("got %d %s, want 200 after a wait", w.Code, w.Body)
		}
	})
	eventually(t, "both wait", func() bool { return r.waiting() == 2 })
	e.Done("web", held.Lease, balance.Outcome{})
}

func TestAPISaysWhenToComeAgain(t *testing.T) {
	r := start(t, narrow(1))
	a := newAPI(t, r.Master)
	if _, err := r.Edge("in").Pick(context.Background(), "web", &balance.Request{}); err != nil {
		t.Fatal(err)
	}
	_, answer, header := a.call("POST", "/v1/pools/web/pick", `{"deadline_ms":30}`)
	if answer["reason"] != "shed" || header.Get("Retry-After") == "" {
		t.Errorf("got %v and Retry-After %q, want shed and when to come again", answer, header.Get("Retry-After"))
	}
	ctx, cancel := context.WithCancel(context.Background())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = r.Edge("in").Pick(ctx, "web", &balance.Request{})
	}()
	eventually(t, "one waits", func() bool { return r.waiting() == 1 })
	_, answer, header = a.call("POST", "/v1/pools/web/pick", `{}`)
	if answer["reason"] != "saturated" || header.Get("Retry-After") == "" {
		t.Errorf("got %v and Retry-After %q, want saturated and when to come again", answer, header.Get("Retry-After"))
	}
	cancel()
	<-gone
}

func TestWithoutAQueueServersHaveNoLimit(t *testing.T) {
	r := start(t, narrow(None))
	e := r.dialEdge("e1")
	e.ask(wire.Ask{Seq: 1, Pool: "web"}, wire.Ask{Seq: 2, Pool: "web"}, wire.Ask{Seq: 3, Pool: "web"})
	for range 3 {
		e.granted()
	}
}

func TestReloadFreesWhoWaits(t *testing.T) {
	for name, c := range map[string]struct {
		to   Config
		want wire.Type
	}{
		"more slots":   {func() Config { c := narrow(0); c.Pools[0].Servers[0].Slots = 2; return c }(), wire.TGranted},
		"no queue":     {narrow(None), wire.TGranted},
		"removed pool": {Config{}, wire.TRefused},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, narrow(0))
			e := r.dialEdge("e1")
			held := e.occupy()
			e.ask(wire.Ask{Seq: 1, Pool: "web"})
			e.queued()
			r.reload(c.to)
			if got, _, err := e.next(); got != c.want {
				t.Errorf("got a %s, %v, want a %s", got, err, c.want)
			}
			e.send(&wire.Done{Pool: "web", Lease: held})
			e.sync()
		})
	}
}

// A server that is free again because its agent said done, or because a lease expired
// or an edge was lost, serves the next one.
func TestWhateverFreesAServerServesTheQueue(t *testing.T) {
	for name, free := range map[string]func(r *rig, holder *remotePeer, g balance.Grant){
		"done by the API": func(r *rig, _ *remotePeer, g balance.Grant) {
			w := httptest.NewRecorder()
			r.Handler().ServeHTTP(w, httptest.NewRequest("POST", fmt.Sprintf("/v1/leases/%s/done", g.Told()), nil))
		},
		"done by the agent": func(r *rig, _ *remotePeer, g balance.Grant) {
			a := r.dialAgent("a")
			a.send(&wire.Done{Pool: "web", Lease: g.Lease, Tag: g.Tag})
			a.sync()
		},
		"edge left":      func(_ *rig, holder *remotePeer, _ balance.Grant) { holder.send(&wire.Goodbye{}) },
		"edge lost":      func(_ *rig, holder *remotePeer, _ balance.Grant) { _ = holder.Close() },
		"cancelled":      func(_ *rig, holder *remotePeer, _ balance.Grant) { holder.send(&wire.Cancel{Seq: 9}) },
		"another server": func(r *rig, _ *remotePeer, _ balance.Grant) { r.dialAgent("fresh") },
		"the time limit": func(*rig, *remotePeer, balance.Grant) {},
		"reload": func(r *rig, _ *remotePeer, _ balance.Grant) {
			c := web("a", "z")
			c.Pools[0].Grace = time.Millisecond
			r.reload(c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := narrow(0)
			cfg.Pools[0].Grace = time.Millisecond
			r := start(t, cfg)
			holder, e := r.dialEdge("holder"), r.dialEdge("e1")
			req := balance.Request{}
			switch name {
			case "the time limit":
				req.Hold = time.Second // in which the other must have begun to wait
			case "done by the API", "done by the agent": // which end no lease that is routed
				req.Link = balance.LinkRedirect
			}
			holder.ask(wire.Ask{Seq: 9, Pool: "web", Request: req})
			g := holder.granted().Grant
			e.ask(wire.Ask{Seq: 1, Pool: "web"})
			e.queued()
			free(r, holder, g)
			e.granted()
		})
	}
}

func TestQueuedGrantIsDispatched(t *testing.T) {
	cfg := dispatching(time.Minute)
	r := start(t, cfg)
	a := r.dial(wire.RoleAgent, "s1")
	one := spec("s1")
	one.Slots = 1
	a.send(&wire.Register{Pool: "web", Server: one})
	a.sync()
	e := r.dialEdge("e1")
	e.ask(wire.Ask{Seq: 1, Pool: "web"})
	a.send(&wire.Verdict{Lease: a.dispatched().Lease, Accepted: true})
	held := e.granted().Grant.Lease
	e.ask(wire.Ask{Seq: 2, Pool: "web", Request: balance.Request{Path: "/second"}})
	e.queued()
	e.send(&wire.Done{Pool: "web", Lease: held})
	d := a.dispatched()
	if d.Request.Path != "/second" {
		t.Fatalf("dispatched %+v, want the one that waited", d)
	}
	a.send(&wire.Verdict{Lease: d.Lease, Accepted: true})
	if g := e.granted(); g.Seq != 2 || g.Grant.Lease != d.Lease || g.Queue <= 0 {
		t.Errorf("got %+v, want lease %s for 2, and its wait", g, d.Lease)
	}
}

// A server that refuses a dispatch while the other is full has the request wait for
// the other.
func TestRefusedDispatchWaitsForTheOther(t *testing.T) {
	r := start(t, dispatching(time.Minute))
	agents := make(map[balance.ServerID]*remotePeer)
	for _, id := range []balance.ServerID{"s1", "s2"} {
		a := r.dial(wire.RoleAgent, string(id))
		one := spec(id)
		one.Slots = 1
		a.send(&wire.Register{Pool: "web", Server: one})
		a.sync()
		agents[id] = a
	}
	e := r.dialEdge("e1")
	e.ask(wire.Ask{Seq: 1, Pool: "web", Request: balance.Request{Exclude: []balance.ServerID{"s2"}}})
	agents["s1"].send(&wire.Verdict{Lease: agents["s1"].dispatched().Lease, Accepted: true})
	held := e.granted().Grant.Lease
	e.ask(wire.Ask{Seq: 2, Pool: "web"})
	agents["s2"].send(&wire.Verdict{Lease: agents["s2"].dispatched().Lease})
	eventually(t, "ask 2 waits for s1", func() bool { return r.waiting() == 1 })
	e.send(&wire.Done{Pool: "web", Lease: held})
	d := agents["s1"].dispatched()
	agents["s1"].send(&wire.Verdict{Lease: d.Lease, Accepted: true})
	if g := e.granted(); g.Seq != 2 || g.Grant.Server != "s1" {
		t.Errorf("got %+v, want s1 for ask 2", g)
	}
}

func TestEndOfAnEjectionServesTheQueue(t *testing.T) {
	cfg := web("a", "b", "c")
	cfg.Pools[0].QueueSize = 5
	for i := range cfg.Pools[0].Servers {
		cfg.Pools[0].Servers[i].Slots = 1
	}
	r := start(t, cfg)
	p := r.poolNamed("web")
	p.mu.Lock()
	past := clock.Now().Add(-10*time.Second + 2*time.Second) // in which the others must have been granted
	for _, s := range cfg.Pools[0].Servers {
		if err := p.putServerLocked(past, s, true); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 { // b is ejected, for ten seconds from then
		var g balance.Grant
		err := p.pickLocked(past, &balance.Request{Exclude: []balance.ServerID{"a", "c"}}, &g)
		if err != nil {
			t.Fatal(err)
		}
		p.endByMasterLocked(past, g.Lease, balance.Outcome{Result: balance.Fault})
	}
	p.unlock()
	if v := r.view("b"); v.State != balance.Ejected {
		t.Fatalf("b is %s, want ejected", v.State)
	}
	e := r.dialEdge("e1")
	e.ask(wire.Ask{Seq: 1, Pool: "web"}, wire.Ask{Seq: 2, Pool: "web"})
	e.granted()
	e.granted()
	e.ask(wire.Ask{Seq: 3, Pool: "web"})
	e.queued()
	if g := e.granted(); g.Grant.Server != "b" {
		t.Errorf("got %+v, want b once its ejection is over", g)
	}
}

func TestAgentEndsOnlyItsOwnLeases(t *testing.T) {
	r := start(t, web("other"))
	e := r.dialEdge("e1")
	e.ask(wire.Ask{Seq: 1, Pool: "web"})
	g := e.granted()
	a := r.dialAgent("s1")
	a.send(&wire.Done{Pool: "web", Lease: g.Grant.Lease}, &wire.Done{Pool: "web", Lease: 77}, &wire.Done{Pool: "plain", Lease: g.Grant.Lease})
	a.sync()
	if n := r.open(); n != 1 {
		t.Errorf("%d leases are open, want 1: it is another server's", n)
	}
}

func TestManyWaitAndNoneIsLost(t *testing.T) {
	r := start(t, narrow(0))
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			e := r.Edge(balance.EdgeID(fmt.Sprint("e", i)))
			for n := range 100 {
				ctx, cancel := context.WithCancel(context.Background())
				if n%7 == 0 {
					time.AfterFunc(time.Duration(i)*100*time.Microsecond, cancel) // sometimes just as the grant comes
				}
				g, err := e.Pick(ctx, "web", &balance.Request{Tenant: fmt.Sprint(i % 3), Priority: i % 2})
				cancel()
				if err == nil {
					e.Done("web", g.Lease, balance.Outcome{Duration: time.Millisecond})
				} else if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := r.waiting() + r.open(); n != 0 {
		t.Errorf("%d requests wait or are served, want none", n)
	}
}
