package balance

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// waits is a request that waits, as these tests write it.
type waits struct {
	tenant   string
	priority int
	client   string // empty: unknown
}

func (w waits) request() *Request {
	r := &Request{Edge: "e", Tenant: w.tenant, Belief: Proven, Priority: w.priority}
	if w.client != "" {
		r.Client = netip.MustParseAddr(w.client)
	}
	return r
}

// fullPool is a pool whose only slot is taken, and whose queue holds so many.
func fullPool(t *testing.T, queue int) *ward {
	w := newWard(t, Config{QueueSize: queue, QueueWait: time.Minute})
	if err := w.p.Put(w.now, ServerSpec{ID: "a", Address: "127.0.0.1:1", Slots: 1}, true); err != nil {
		t.Fatal(err)
	}
	if _, err := w.p.Pick(w.now, &Request{Edge: "e"}); err != nil {
		t.Fatal(err)
	}
	return w
}

// Whom a newcomer displaces where the queue is full: the newest of the longest line of the lowest priority, and there the client that
// has most. It displaces none of a higher priority, and none where its own line or client would then have most.
func TestWhoIsDisplaced(t *testing.T) {
	const x, y = "192.0.2.1", "198.51.100.1"
	for _, c := range []struct {
		name  string
		queue []waits
		comes waits
		want  int // who is displaced, by its place in queue; less than zero: the newcomer is refused
	}{
		{"one tenant", []waits{{"a", 0, ""}, {"a", 0, ""}}, waits{"a", 0, ""}, -1},
		{"no tenant", []waits{{"", 0, ""}, {"", 0, ""}}, waits{"", 0, ""}, -1},
		{"the longest line loses its newest", []waits{{"a", 0, ""}, {"a", 0, ""}, {"b", 0, ""}, {"a", 0, ""}}, waits{"b", 0, ""}, 3},
		{"a tenant that has none waiting", []waits{{"a", 0, ""}, {"a", 0, ""}}, waits{"b", 0, ""}, 1},
		{"its own line would be as long as the longest", []waits{{"a", 0, ""}, {"a", 0, ""}, {"b", 0, ""}}, waits{"b", 0, ""}, -1},
		{"its own line is the longest", []waits{{"a", 0, ""}, {"b", 0, ""}, {"b", 0, ""}}, waits{"b", 0, ""}, -1},
		{"a higher priority", []waits{{"a", 0, ""}, {"a", 0, ""}}, waits{"a", 1, ""}, 1},
		{"a lower priority", []waits{{"a", 1, ""}, {"a", 1, ""}}, waits{"b", 0, ""}, -1},
		{"the lowest priority loses first", []waits{{"a", 2, ""}, {"a", 2, ""}, {"a", 2, ""}, {"b", 1, ""}}, waits{"c", 3, ""}, 3},
		{"the lowest priority loses, not the newcomer's own", []waits{{"b", 1, ""}, {"b", 1, ""}, {"a", 0, ""}}, waits{"b", 1, ""}, 2},
		{"the client that has most loses its newest", []waits{{"a", 0, x}, {"a", 0, x}, {"a", 0, y}, {"a", 0, x}}, waits{"a", 0, y}, 3},
		{"the client that has most is the newcomer's", []waits{{"a", 0, x}, {"a", 0, x}, {"a", 0, y}}, waits{"a", 0, x}, -1},
		{"the newcomer's client would have as many", []waits{{"a", 0, x}, {"a", 0, x}, {"a", 0, y}}, waits{"a", 0, y}, -1},
		{"a client without any", []waits{{"a", 0, x}, {"a", 0, x}}, waits{"a", 0, y}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := fullPool(t, len(c.queue))
			var ids []WaitID
			for _, one := range c.queue {
				id, _, refusal := w.p.Join(w.now, one.request())
				if refusal != nil {
					t.Fatal(refusal)
				}
				ids = append(ids, id)
			}
			_, _, refusal := w.p.Join(w.now, c.comes.request())
			out := w.p.Serve(w.now, nil)
			switch {
			case c.want < 0 && (refusal == nil || len(out) > 0):
				t.Errorf("the newcomer was refused: %v, and %+v displaced; want it refused", refusal, out)
			case c.want >= 0 && (refusal != nil || len(out) != 1):
				t.Errorf("the newcomer was refused: %v, and %+v displaced; want that wait %d is", refusal, out, ids[c.want])
			case c.want >= 0 && (out[0].ID != ids[c.want] || out[0].Refusal == nil || out[0].Refusal.Reason != Saturated):
				t.Errorf("displaced %+v, want wait %d, as saturated", out[0], ids[c.want])
			case c.want < 0 && refusal.Reason != Saturated:
				t.Errorf("refused as %s, want saturated", refusal.Reason)
			}
			if w.p.Waiting() != len(c.queue) {
				t.Errorf("%d wait, want %d", w.p.Waiting(), len(c.queue))
			}
			if err := w.p.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A refusal says to come again when the queue will have moved on: not sooner than in a second, and not later than in a minute.
func TestWhenToComeAgain(t *testing.T) {
	for waiting, want := range map[int]time.Duration{0: time.Second, 1: time.Second, 10: 5 * time.Second, 1000: time.Minute} {
		w := fullPool(t, 10)
		w.p.queue.length, w.p.perWaiting = waiting, .5
		if got := w.p.retryAfter(); got != want {
			t.Errorf("%d wait, each for half a second: come again in %v, want %v", waiting, got, want)
		}
	}
}

// A newcomer's place is behind all of higher priority, and in turn with other tenants of its own.
func TestPositionInTheQueue(t *testing.T) {
	w := fullPool(t, 100)
	for i, c := range []struct {
		waits
		want int
	}{
		{waits{"a", 0, ""}, 1}, {waits{"a", 0, ""}, 2}, {waits{"a", 0, ""}, 3},
		{waits{"b", 0, ""}, 2},
		{waits{"b", 0, ""}, 4},
		{waits{"c", 1, ""}, 1}, {waits{"c", 1, ""}, 2},
		{waits{"b", 0, ""}, 8},
		{waits{"a", -1, ""}, 9},
	} {
		_, position, refusal := w.p.Join(w.now, c.request())
		if refusal != nil {
			t.Fatal(refusal)
		}
		if position != c.want {
			t.Errorf("request %d, %v: position %d, want %d", i, c.waits, position, c.want)
		}
	}
}

// A request of which too little time is left is refused before it waits, and one that waits is given up when no more is left than
// requests take.
func TestDeadlinesLeaveTimeForTheWork(t *testing.T) {
	w := fullPool(t, 10)
	w.p.takes(100*time.Millisecond, time.Microsecond)
	w.p.times.sum, w.p.times.square = -2.302585092994046, 2.302585092994046*2.302585092994046 // all take exactly that
	needed := w.p.needed(&Request{})
	if needed < 99*time.Millisecond || needed > 101*time.Millisecond {
		t.Fatalf("requests that all take 100 ms need %v", needed)
	}
	deadline := w.now.Add(needed)
	if _, _, refusal := w.p.Join(w.now, &Request{Edge: "e", Deadline: deadline}); refusal == nil || refusal.Reason != Shed || refusal.Needs != needed {
		t.Errorf("a request with just the time that requests take: %+v, want it shed, with what it needs", refusal)
	}
	id, _, refusal := w.p.Join(w.now, &Request{Edge: "e", Deadline: deadline.Add(time.Second)})
	if refusal != nil {
		t.Fatal(refusal)
	}
	if out := w.p.Serve(w.now.Add(time.Second-1), nil); len(out) != 0 {
		t.Errorf("a nanosecond before its time is over %+v", out)
	}
	if next := w.p.Expire(w.now.Add(time.Second - 1)); next != w.now.Add(time.Second) {
		t.Errorf("Expire is to be called at %v, want when the wait is over, %v", next, w.now.Add(time.Second))
	}
	out := w.p.Serve(w.now.Add(time.Second), nil)
	if len(out) != 1 || out[0].ID != id || out[0].Refusal == nil || out[0].Refusal.Reason != Shed || out[0].Waited != time.Second {
		t.Errorf("when no more time is left than requests take: %+v, want wait %d shed after a second", out, id)
	}
}

// A tenant's requests need what its own take, once there are some.
func TestWhatATenantsRequestsNeed(t *testing.T) {
	w := fullPool(t, 10)
	w.p.takes(100*time.Millisecond, time.Microsecond)
	w.p.times.sum, w.p.times.square = -2.302585092994046, 2.302585092994046*2.302585092994046
	req := &Request{Edge: "e", Tenant: "slow", Belief: Proven}
	own := w.p.tenantOf(req)
	for n := range 2 * workEnough {
		if got, want := w.p.needed(req), time.Second; (got > want/2) != (n >= workEnough) {
			t.Errorf("after %d answers of its own that took a second the tenant's requests need %v", n, got)
		}
		own.work.observe(1)
	}
	if got := w.p.needed(&Request{}); got > 200*time.Millisecond {
		t.Errorf("another's request needs %v", got)
	}
}

// Requests leave once.
func TestARequestLeavesOnce(t *testing.T) {
	w := fullPool(t, 10)
	var ids []WaitID
	for i := range 5 {
		id, _, refusal := w.p.Join(w.now, waits{fmt.Sprint(i % 2), i % 3, ""}.request())
		if refusal != nil {
			t.Fatal(refusal)
		}
		ids = append(ids, id)
	}
	for i, id := range ids {
		if !w.p.Leave(id) || w.p.Leave(id) || w.p.Waiting() != 4-i {
			t.Errorf("wait %d cannot leave, or twice; %d are left", id, w.p.Waiting())
		}
	}
	if w.p.Leave(ids[4]+1) || len(w.p.queue.bands) != 0 {
		t.Errorf("a wait that never was could leave, or %d priorities are left of an empty queue", len(w.p.queue.bands))
	}
}
