package master

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// dispatching is a config whose pool web dispatches, beside one, plain, that does not.
func dispatching(limit time.Duration) Config {
	return Config{ID: "m1", Pools: []PoolConfig{
		{Name: "web", Dispatch: true, DispatchLimit: limit, Addresses: []string{"*.test"}},
		{Name: "plain", Servers: []balance.ServerSpec{spec("p")}},
	}}
}

func (p *remotePeer) dispatched() wire.Dispatch {
	p.t.Helper()
	var d wire.Dispatch
	p.want(wire.TDispatch, &d)
	return d
}

func TestServerAcceptsBeforeTheEdgeIsAnswered(t *testing.T) {
	r := start(t, dispatching(time.Minute))
	a, e := r.dialAgent("s1"), r.dialEdge("e1")
	e.ask(wire.Ask{Seq: 1, Pool: "web", Request: balance.Request{Key: "k", Method: "GET", Host: "h", Path: "/p", Tenant: "t", Priority: 3}})
	d := a.dispatched()
	if d.Pool != "web" || d.Edge != "e1" || d.Limit != time.Minute || d.Request.Key != hashOf("k") || d.Request.Method != "GET" ||
		d.Request.Host != "h" || d.Request.Path != "/p" || d.Request.Tenant != "t" || d.Request.Priority != 3 {
		t.Fatalf("dispatched %+v, want the request's facts", d)
	}
	e.ask(wire.Ask{Seq: 2, Pool: "plain"})
	if g := e.granted(); g.Seq != 2 {
		t.Fatalf("answered %d, want 2: the server of 1 has not accepted, and others go on", g.Seq)
	}
	a.send(&wire.Verdict{Lease: d.Lease, Accepted: true})
	if g := e.granted(); g.Seq != 1 || g.Grant.Lease != d.Lease || g.Grant.Server != "s1" {
		t.Fatalf("got %+v, want lease %s on s1 for 1", g, d.Lease)
	}
}

func TestNextBestAfterARefusal(t *testing.T) {
	for name, refuse := range map[string]func(a *remotePeer, d wire.Dispatch){
		"refused": func(a *remotePeer, d wire.Dispatch) { a.send(&wire.Verdict{Lease: d.Lease, Detail: "busy"}) },
		"silent":  func(*remotePeer, wire.Dispatch) {},
		"lost":    func(a *remotePeer, _ wire.Dispatch) { _ = a.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, dispatching(2*time.Second)) // in which the one that accepts must have done so
			agents := map[balance.ServerID]*remotePeer{"s1": r.dialAgent("s1"), "s2": r.dialAgent("s2")}
			e := r.dialEdge("e1")
			got := make(chan wire.Granted, 1)
			go func() {
				e.ask(wire.Ask{Seq: 1, Pool: "web"})
				got <- e.granted()
			}()
			told := make(chan balance.ServerID, 2)
			for id, a := range agents {
				go func() {
					d := a.dispatched()
					told <- id
					if len(told) == 1 && cap(told) == 2 {
						refuse(a, d)
						return
					}
					a.send(&wire.Verdict{Lease: d.Lease, Accepted: true})
				}()
			}
			g := <-got
			if first, second := <-told, <-told; g.Grant.Server != second || first == second {
				t.Fatalf("granted %s, want %s, as %s had refused", g.Grant.Server, second, first)
			}
			if n := r.open(); n != 1 {
				t.Fatalf("%d leases are open, want 1", n)
			}
		})
	}
}

func TestNoneLeft(t *testing.T) {
	r := start(t, dispatching(time.Minute))
	a, e := r.dialAgent("s1"), r.dialEdge("e1")
	p := r.poolNamed("web")
	p.mu.Lock()
	if err := p.putServerLocked(1, spec("agentless"), false); err != nil {
		t.Fatal(err)
	}
	p.mu.Unlock()
	e.ask(wire.Ask{Seq: 1, Pool: "web"})
	a.send(&wire.Verdict{Lease: a.dispatched().Lease, Detail: "closed today"})
	if got := e.refused().Refusal; got.Reason != balance.Declined || !strings.Contains(got.Detail, "web") {
		t.Fatalf("got %+v, want declined", got)
	}
	if n := r.open(); n != 0 {
		t.Fatalf("%d leases are open, want 0", n)
	}
}

func TestCancelWhileAServerIsTold(t *testing.T) {
	r := start(t, dispatching(time.Minute))
	a, e := r.dialAgent("s1"), r.dialEdge("e1")
	e.ask(wire.Ask{Seq: 9, Pool: "web"})
	d := a.dispatched()
	e.send(&wire.Cancel{Seq: 9})
	if got := e.refused(); got.Seq != 9 || got.Refusal.Reason != balance.Shed {
		t.Fatalf("got %+v, want 9 shed", got)
	}
	if n := r.open(); n != 0 {
		t.Fatalf("%d leases are open, want 0", n)
	}
	a.send(&wire.Verdict{Lease: d.Lease, Accepted: true}) // too late: means nothing
	a.sync()
}

func TestEdgeLostWhileAServerIsTold(t *testing.T) {
	r := start(t, dispatching(time.Minute))
	a, e := r.dialAgent("s1"), r.dialEdge("e1")
	e.ask(wire.Ask{Seq: 9, Pool: "web"})
	a.dispatched()
	_ = e.Close()
	eventually(t, "the lease ends", func() bool { return r.open() == 0 })
}

func TestDeadlineBoundsTheDispatch(t *testing.T) {
	r := start(t, dispatching(time.Hour))
	a, e := r.dialAgent("s1"), r.dialEdge("e1")
	e.ask(wire.Ask{Seq: 9, Pool: "web", Request: balance.Request{Deadline: 1}})
	if got := e.refused().Refusal; got.Reason != balance.Shed {
		t.Fatalf("got %+v, want shed", got)
	}
	_ = a
}

func TestLocalWaitsForTheServer(t *testing.T) {
	r := start(t, dispatching(time.Minute))
	a, local := r.dialAgent("s1"), r.Edge("in")
	go func() { a.send(&wire.Verdict{Lease: a.dispatched().Lease, Accepted: true}) }()
	if g, err := local.Pick(context.Background(), "web", &balance.Request{}); err != nil || g.Server != "s1" {
		t.Fatalf("got %+v, %v, want s1", g, err)
	}
	why := errors.New("client went away")
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() { a.dispatched(); cancel(why) }()
	if _, err := local.Pick(ctx, "web", &balance.Request{}); !errors.Is(err, why) {
		t.Fatalf("got %v, want the cause", err)
	}
	if n := r.open(); n != 1 {
		t.Fatalf("%d leases are open, want the 1 that was accepted", n)
	}
}

func TestOwnRequestSharesNoBytes(t *testing.T) {
	labels := []balance.Label{{Key: "k", Value: "v"}}
	exclude := []balance.ServerID{"x"}
	c := own(&balance.Request{Labels: labels, Exclude: exclude}, "e")
	labels[0].Key, exclude[0] = "changed", "changed"
	if c.Edge != "e" || c.Labels[0].Key != "k" || !slices.Equal(c.Exclude, []balance.ServerID{"x"}) {
		t.Fatalf("got %+v, want a copy", c)
	}
}
