package balance_test

import (
	"errors"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/policy"
)

// localRig is a pool of warm servers that have answered requests of ten milliseconds, whose edges may choose.
type localRig struct {
	*testing.T
	p   *balance.Pool
	now balance.Instant

	answer func(balance.ServerID) balance.Outcome
}

func newLocalRig(t *testing.T, cfg balance.Config, how string) *localRig {
	t.Helper()
	chosen, err := policy.New(how)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Name = "p"
	r := &localRig{T: t, p: balance.New(cfg, chosen, 1), now: balance.Instant(time.Hour), answer: func(balance.ServerID) balance.Outcome { return wellServed }}
	for _, id := range []balance.ServerID{"a", "b", "c"} {
		if err := r.p.Put(1, balance.ServerSpec{ID: id, Address: string(id) + ":1"}, true); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// serve has the pool serve n requests, one after the other.
func (r *localRig) serve(n int) {
	r.Helper()
	for range n {
		r.now = r.now.Add(20 * time.Millisecond)
		g, err := r.p.Pick(r.now, &balance.Request{Edge: "e1"})
		if err != nil {
			r.Fatal(err)
		}
		r.p.Done(r.now.Add(10*time.Millisecond), g.Lease, r.answer(g.Server))
	}
}

var wellServed = balance.Outcome{Duration: 10 * time.Millisecond}

// Edges may choose only where nothing depends on what the master alone knows.
func TestWhenEdgesMayChoose(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  balance.Config
		how  string
		then func(r *localRig)
		want bool
	}{
		{name: "all well", want: true},
		{name: "dispatch", cfg: balance.Config{Dispatch: true}},
		{name: "affinity", cfg: balance.Config{Affinity: balance.Affinity{Hit: .5}}},
		{name: "another policy", how: "round-robin"},
		{name: "a score of its own", how: "sessions"},
		{name: "a server is drained", want: true, then: func(r *localRig) {
			if err := r.p.Override(r.now, "a", balance.Override{On: true}, r.now); err != nil {
				r.Fatal(err)
			}
		}},
		{name: "a server is full", then: func(r *localRig) {
			r.answer = func(id balance.ServerID) balance.Outcome {
				if id == "a" {
					return balance.Outcome{Result: balance.Full, RetryAfter: time.Minute, Duration: time.Millisecond}
				}
				return wellServed
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newLocalRig(t, c.cfg, c.how)
			r.serve(10)
			if r.p.LocalFrom() != 0 {
				t.Error("edges may choose before the pool has learnt anything")
			}
			r.serve(600)
			if c.then != nil {
				c.then(r)
				r.serve(100)
			}
			if got := r.p.LocalFrom(); (got > 0) != c.want {
				t.Errorf("edges may choose from a trip of %v, want any: %v", got, c.want)
			}
		})
	}
}

// What an edge has chosen is counted, ended and learnt from as what it was granted.
func TestLocalChoicesAreLeases(t *testing.T) {
	r := newLocalRig(t, balance.Config{Decisions: 10}, "")
	r.serve(600)
	req := &balance.Request{Edge: "e1", ID: balance.HashID("r")}
	if err := r.p.Chosen(r.now, req, 5, "b"); err != nil {
		t.Fatal(err)
	}
	if l, open := r.p.Lease(5); !open || l.Server != "b" || l.Edge != "e1" || l.Expires != 0 {
		t.Errorf("lease %+v, open %v", l, open)
	}
	if d := r.p.DecisionsFor(r.now, req.ID); len(d) != 1 || d[0].Chosen != "b" || d[0].Note == "" {
		t.Errorf("explained as %+v, want b with a note", d)
	}
	for _, c := range []struct {
		name    string
		edge    balance.EdgeID
		id      balance.LeaseID
		server  balance.ServerID
		foreign bool
	}{
		{"the same id again", "e1", 5, "a", true},
		{"another edge's id", "e2", 5, "a", true},
		{"no id", "e1", 0, "a", true},
		{"an id that the master gives", "e1", balance.MaxOwnLease + 1, "a", true},
		{"no such server", "e1", 6, "z", false},
	} {
		err := r.p.Chosen(r.now, &balance.Request{Edge: c.edge}, c.id, c.server)
		if err == nil || errors.Is(err, balance.ErrForeign) != c.foreign {
			t.Errorf("%s: %v, want an error, foreign: %v", c.name, err, c.foreign)
		}
	}
	if how := r.p.DoneBy(r.now, "e2", 5, wellServed); how != balance.Foreign {
		t.Errorf("another edge ends it: %v", how)
	}
	if how := r.p.DoneBy(r.now, "e1", 5, balance.Outcome{Duration: time.Second}); how != balance.Ended || r.p.Open() != 0 {
		t.Errorf("its edge ends it: %v, and %d are open", how, r.p.Open())
	}
	if err := r.p.Check(); err != nil {
		t.Error(err)
	}
	service := func() float64 { return r.p.Snapshot(r.now).Servers[1].Service }
	before := service()
	for i := range balance.LeaseID(500) {
		r.now = r.now.Add(20 * time.Millisecond)
		if err := r.p.Chosen(r.now, req, 10+i, "b"); err != nil {
			t.Fatal(err)
		}
		r.p.DoneBy(r.now.Add(10*time.Millisecond), "e1", 10+i, balance.Outcome{Duration: 40 * time.Millisecond})
	}
	if service() < 1.5*before {
		t.Errorf("b's time of one request is %.4f after 500 of four times as long, want more: before, %.4f", service(), before)
	}
}
