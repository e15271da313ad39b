package balance

import (
	"slices"
	"testing"
)

// The servers that are tried if none that is up is within reach: those that are ejected, and those that the edge could not reach. None
// that has failed the request, lacks its labels, drains, is at its cap, or is up and merely full.
func TestTheLastResort(t *testing.T) {
	w := newWard(t, Config{QueueSize: 10})
	for _, id := range []ServerID{"ejected", "beyond", "tried", "plain", "draining", "capped", "full", "well"} {
		spec := ServerSpec{ID: id, Address: "127.0.0.1:1", Slots: 1, Labels: gpu}
		switch id {
		case "plain":
			spec.Labels = nil
		case "capped":
			spec.MaxInFlight = 1
		}
		if err := w.p.Put(w.now, spec, true); err != nil {
			t.Fatal(err)
		}
	}
	w.now += 60 * sec
	for _, id := range []ServerID{"ejected", "tried", "plain", "capped"} {
		w.p.byID[id].health.ejectedUntil = w.now + 10*sec
	}
	if err := w.p.Override(w.now, "draining", Override{On: true}, w.now); err != nil {
		t.Fatal(err)
	}
	for _, id := range []ServerID{"capped", "full"} {
		w.p.byID[id].leases = 1
	}
	b := &beyond{servers: map[*Server]*exclusion{w.p.byID["beyond"]: {until: w.now + 10*sec}, w.p.byID["full"]: {until: w.now + 10*sec}}, until: w.now + 10*sec}
	var got []ServerID
	for _, s := range w.p.lastResort(w.now, &Request{Labels: gpu, Exclude: []ServerID{"tried"}}, b) {
		got = append(got, s.spec.ID)
	}
	if want := []ServerID{"ejected", "beyond"}; !slices.Equal(got, want) {
		t.Errorf("tried are %v, want %v", got, want)
	}
}

// A request that fails says nothing of how long its tenant's work takes.
func TestFailuresTeachNothingOfATenantsWork(t *testing.T) {
	for _, c := range []struct {
		o    Outcome
		want float64
	}{{fine, 1}, {Outcome{Result: Fault, Duration: fine.Duration}, 0}, {Outcome{Result: OK}, 0}} {
		w := newWard(t, Config{QueueSize: 10}, "a")
		req := &Request{Edge: "e", Tenant: "t", Belief: Proven}
		g, err := w.p.Pick(w.now, req)
		if err != nil {
			t.Fatal(err)
		}
		w.now += sec
		w.p.Done(w.now, g.Lease, c.o)
		if got := w.p.tenantOf(req).work.samples; got != c.want {
			t.Errorf("%s, of %v: %v samples of the tenant's work, want %v", c.o.Result, c.o.Duration, got, c.want)
		}
	}
}

// A server that has moved is in order at once.
func TestAServerThatHasMovedIsInOrderAtOnce(t *testing.T) {
	p, now := New(Config{Name: "p"}, ByScore{nothing{}}, 1), 100*sec
	if err := p.Put(now, ServerSpec{ID: "a", Address: "a.test:80"}, true); err != nil {
		t.Fatal(err)
	}
	p.Locate(now, "a", Location{At: "10.0.0.1:80"})
	g, err := p.Pick(now, &Request{Edge: "e"})
	if err != nil {
		t.Fatal(err)
	}
	p.Done(now, g.Lease, Outcome{Result: Unreachable})
	if p.order.first() >= 0 {
		t.Fatal("a server that cannot be reached is first in order")
	}
	if p.Locate(now, "a", Location{At: "10.0.0.2:80"}); p.order.first() != 0 || p.room[isOpen]+p.room[isWarming] != 1 {
		t.Errorf("when it has moved server %d is first in order, and room is counted %v; want it, and room", p.order.first(), p.room)
	}
}
