package balance_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"pgregory.net/rapid"
)

// full returns a pool with a queue and one server whose only slot is taken.
func full(t testing.TB, size int) (*balance.Pool, balance.LeaseID) {
	t.Helper()
	p := balance.New(balance.Config{Name: "web", QueueSize: size, QueueWait: 10 * time.Second}, first{}, 1)
	s := spec("a")
	s.Slots = 1
	if err := p.Put(second, s, true); err != nil {
		t.Fatal(err)
	}
	grant, err := p.Pick(second, &balance.Request{})
	if err != nil {
		t.Fatal(err)
	}
	return p, grant.Lease
}

func join(t testing.TB, p *balance.Pool, now balance.Instant, req balance.Request) balance.WaitID {
	t.Helper()
	if _, err := p.Pick(now, &req); err == nil || err.(*balance.Refusal).Reason != balance.Saturated {
		t.Fatalf("Pick of a full pool returned %v, want saturated", err)
	}
	id, _, refusal := p.Join(now, &req)
	if refusal != nil {
		t.Fatal(refusal)
	}
	return id
}

func TestQueueOrder(t *testing.T) {
	p, held := full(t, 100)
	names := make(map[balance.WaitID]string)
	for _, w := range []struct {
		name, tenant string
		priority     int
	}{{"big 1", "big", 0}, {"big 2", "big", 0}, {"big 3", "big", 0}, {"small 1", "small", 0}, {"urgent", "big", 5}, {"small 2", "small", 0}} {
		names[join(t, p, second, balance.Request{Tenant: w.tenant, Priority: w.priority})] = w.name
	}
	var served []string
	for range len(names) {
		p.Done(second, held, balance.Outcome{})
		out := p.Serve(second, nil)
		if len(out) != 1 || out[0].Refusal != nil {
			t.Fatalf("one server came free, and Serve released %+v", out)
		}
		held, served = out[0].Grant.Lease, append(served, names[out[0].ID])
		if err := p.Check(); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"urgent", "big 1", "small 1", "big 2", "small 2", "big 3"}
	if !slices.Equal(served, want) {
		t.Errorf("served %v, want %v", served, want)
	}
}

func TestQueueGivesUpInTime(t *testing.T) {
	p, _ := full(t, 10)
	id := join(t, p, second, balance.Request{Deadline: second.Add(3 * time.Second)})
	other := join(t, p, second, balance.Request{})
	if next := p.Expire(second); next <= second || next > second.Add(time.Second) {
		t.Errorf("Expire asks to be called at %v, want soon, as a request waits", time.Duration(next))
	}
	if next := p.Expire(second.Add(2990 * time.Millisecond)); next != second.Add(3*time.Second) {
		t.Errorf("Expire asks to be called at %v, want the first deadline, 4s", time.Duration(next))
	}
	out := p.Serve(second.Add(3*time.Second), nil)
	if len(out) != 1 || out[0].ID != id || out[0].Refusal == nil || out[0].Refusal.Reason != balance.Shed {
		t.Fatalf("at the deadline Serve released %+v, want wait %d shed", out, id)
	}
	if out = p.Serve(second.Add(10*time.Second), nil); len(out) != 1 || out[0].ID != other {
		t.Errorf("after the longest wait Serve released %+v, want wait %d shed", out, other)
	}
	if _, _, refusal := p.Join(second, &balance.Request{Deadline: second}); refusal == nil || refusal.Reason != balance.Shed {
		t.Errorf("a request whose deadline is now joined the queue: %v", refusal)
	}
}

func TestAFullQueueKeepsItsBoundAndItsFairness(t *testing.T) {
	p, _ := full(t, 4)
	flood := make([]balance.WaitID, 4)
	for i := range flood {
		flood[i] = join(t, p, second, balance.Request{Tenant: "flood"})
	}
	if _, _, refusal := p.Join(second, &balance.Request{Tenant: "flood"}); refusal == nil || refusal.Reason != balance.Saturated {
		t.Fatalf("a fifth request joined a queue of four: %v", refusal)
	}
	join(t, p, second, balance.Request{Tenant: "small"})
	out := p.Serve(second, nil)
	if len(out) != 1 || out[0].ID != flood[3] || out[0].Refusal == nil {
		t.Errorf("the small tenant's request displaced %+v, want the flood's newest, %d", out, flood[3])
	}
	if p.Waiting() != 4 {
		t.Errorf("%d wait, want 4", p.Waiting())
	}
}

func TestNobodyOvertakes(t *testing.T) {
	p, held := full(t, 4)
	id := join(t, p, second, balance.Request{})
	p.Done(second, held, balance.Outcome{})
	if grant, err := p.Pick(second, &balance.Request{}); err == nil {
		t.Errorf("a newcomer was granted %s while an older one waits", grant.Server)
	}
	if out := p.Serve(second, nil); len(out) != 1 || out[0].ID != id {
		t.Errorf("Serve released %+v, want wait %d", out, id)
	}
}

// Whatever comes in whatever order, no request waits while a server is free for them,
// every wait ends once, and the bound holds.
func TestQueueLosesNobody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const bound = 6
		p := balance.New(balance.Config{Name: "web", QueueSize: bound}, anyOf{}, 1)
		for i := range 3 {
			s := spec(fmt.Sprint(i))
			s.Slots = float64(i + 1)
			if err := p.Put(second, s, true); err != nil {
				t.Fatal(err)
			}
		}
		now := second
		waiting := make(map[balance.WaitID]bool)
		var open []balance.LeaseID
		serve := func() {
			for _, r := range p.Serve(now, nil) {
				if !waiting[r.ID] {
					t.Fatalf("wait %d ended, but no request waits by that name", r.ID)
				}
				delete(waiting, r.ID)
				if r.Refusal == nil {
					open = append(open, r.Grant.Lease)
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"ask": func(t *rapid.T) {
				req := balance.Request{Tenant: rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "tenant"), Priority: rapid.IntRange(0, 2).Draw(t, "priority")}
				grant, err := p.Pick(now, &req)
				if err == nil {
					open = append(open, grant.Lease)
					return
				}
				if id, _, refusal := p.Join(now, &req); refusal == nil {
					waiting[id] = true
				}
				serve()
			},
			"done": func(t *rapid.T) {
				if len(open) == 0 {
					return
				}
				i := rapid.IntRange(0, len(open)-1).Draw(t, "lease")
				p.Done(now, open[i], balance.Outcome{})
				open = slices.Delete(open, i, i+1)
				serve()
			},
			"leave": func(t *rapid.T) {
				for id := range waiting {
					if !p.Leave(id) {
						t.Fatalf("wait %d could not leave", id)
					}
					delete(waiting, id)
					break
				}
			},
			"time": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(4*time.Second)).Draw(t, "step")))
				p.Expire(now)
				serve()
			},
			"": func(t *rapid.T) {
				if p.Waiting() != len(waiting) || p.Waiting() > bound {
					t.Fatalf("%d wait, want %d and at most %d", p.Waiting(), len(waiting), bound)
				}
				if len(open) > 6 || p.Waiting() > 0 && len(open) < 6 {
					t.Fatalf("%d of 6 slots are taken while %d wait", len(open), p.Waiting())
				}
				if err := p.Check(); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}

func TestNewServersWarmUp(t *testing.T) {
	p := balance.New(balance.Config{Name: "web"}, anyOf{}, 1)
	for i := range 4 {
		p.Put(second, spec(fmt.Sprint(i)), true)
	}
	now := second.Add(time.Minute)
	for range 40 {
		p.Pick(now, &balance.Request{})
	}
	for range 20 {
		now = now.Add(25 * time.Millisecond)
		grant, _ := p.Pick(now, &balance.Request{})
		p.Done(now, grant.Lease, balance.Outcome{})
	}
	p.Put(now, spec("new"), true)
	held := func() (n int) {
		for _, v := range p.Views(now) {
			if v.Spec.ID == "new" {
				n = v.Leases
			}
		}
		return n
	}
	for range 40 {
		now = now.Add(25 * time.Millisecond) // the mean is taken ten times a second
		p.Pick(now, &balance.Request{})
	}
	if got := held(); got > 5 {
		t.Errorf("a server that has just come has %d requests where others have some 20, want a tenth of that and a little more", got)
	}
	now = now.Add(11 * time.Second)
	for range 200 {
		p.Pick(now, &balance.Request{})
	}
	if got := held(); got < 20 {
		t.Errorf("a server that has warmed up has %d requests, want its share of some 40", got)
	}
}

// Load that others put on the servers holds requests back, and when it fades, or
// fills the pool for good, they go on: no request waits for ever.
func TestExternalLoadHoldsBackForAWhile(t *testing.T) {
	p := balance.New(balance.Config{Name: "web", QueueSize: 10, QueueWait: time.Minute}, balance.ByScore{Scorer: leastLoad{}}, 1)
	for _, id := range []string{"a", "b"} {
		s := spec(id)
		s.Slots = 4
		p.Put(second, s, true)
	}
	full := func(now balance.Instant, id balance.ServerID) {
		if err := p.Report(now, &balance.Report{Server: id, Metrics: []balance.Metric{{Name: balance.InFlight, Value: 12}}}); err != nil {
			t.Fatal(err)
		}
	}
	full(second, "a")
	for range 4 {
		if grant, err := p.Pick(second, &balance.Request{}); err != nil || grant.Server != "b" {
			t.Fatalf("picked %q, %v; want b while others fill a", grant.Server, err)
		}
	}
	join(t, p, second, balance.Request{})
	full(second, "b")
	now := second
	for range 100 {
		if out := p.Serve(now, nil); len(out) == 1 && out[0].Refusal == nil {
			return
		}
		now = p.Expire(now)
	}
	t.Errorf("a request still waits after %v in which both servers were full of others' requests", now.Sub(second))
}

// Limits hold no request back while one server has none: else all that they hold back would
// go to that one.
func TestLimitsHoldOnlyWhereEveryServerHasOne(t *testing.T) {
	p := balance.New(balance.Config{Name: "web", QueueSize: 10}, balance.ByScore{Scorer: leastLoad{}}, 1)
	for _, id := range []string{"a", "b", "c"} {
		s := spec(id)
		s.Slots = 4
		p.Put(second, s, true)
	}
	put := func(now balance.Instant, slots float64) {
		s := spec("of which nothing is known")
		s.Slots = slots
		if err := p.Put(now, s, true); err != nil {
			t.Fatal(err)
		}
	}
	now := second
	put(now, 0)
	pick := func(n int) (refused int) {
		for range n {
			now = now.Add(100 * time.Millisecond) // in which each server is looked after
			if _, err := p.Pick(now, &balance.Request{}); err != nil {
				refused++
			}
		}
		return refused
	}
	pick(40)
	for _, v := range p.Views(now) {
		if v.Leases > 20 {
			t.Errorf("server %s has %d of 40 requests, want no more than its share", v.Spec.ID, v.Leases)
		}
	}
	put(now, 4)
	if n := pick(20); n < 10 {
		t.Errorf("%d of 20 requests were held back once every server had its limit, want nearly all", n)
	}
}
