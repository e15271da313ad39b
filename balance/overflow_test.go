package balance

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// spill is a pool with one server of one slot, which is taken, whose requests may go on to the pool "cloud" after a wait.
func newSpill(t *testing.T, cfg Config, wait time.Duration) *split {
	cfg.Overflow = Overflow{Pool: "cloud", Wait: wait}
	s := &split{t: t, p: New(cfg, ByScore{byLeases{}}, 1), now: Instant(time.Hour)}
	s.put("a", 1)
	return s
}

// join has a request wait that an edge asks for, and returns the refusal, if it gets one.
func (s *split) join(req Request) *Refusal {
	req.MayOverflow = true
	if _, err := s.p.Pick(s.now, &req); err == nil {
		s.t.Fatal("a full pool has granted a server")
	} else if r := err.(*Refusal); r.Reason != Saturated || s.p.queue.size == 0 {
		return r
	}
	_, _, refusal := s.p.Join(s.now, &req)
	return refusal
}

// A request goes on if the queue and the servers' rate make it wait longer than it may, and waits otherwise.
func TestARequestGoesOnThatWouldWaitTooLong(t *testing.T) {
	s := newSpill(t, Config{Name: "web", QueueSize: 100}, 5*time.Second)
	s.serve(50, func(ServerID) Outcome { return Outcome{Duration: time.Second} })
	s.p.maintainRound(s.now)
	s.p.maintainRound(s.now)
	s.pick(Request{})
	var refusal *Refusal
	waits := 0
	for refusal == nil && waits < 20 {
		if refusal = s.join(Request{}); refusal == nil {
			waits++
		}
	}
	if waits != 5 || refusal.Reason != Overflowed || refusal.Pool != "cloud" {
		t.Fatalf("with work of a second %d requests wait, and the next gets %+v; want 5, and the others in the pool cloud", waits, refusal)
	}
	if want := "pool web: every server is at its limit, and the request would wait about 6s, more than 5s: it goes on to pool cloud"; refusal.Detail != want {
		t.Errorf("told is %q, want %q", refusal.Detail, want)
	}
	if r := s.join(Request{Priority: 5}); r != nil {
		t.Errorf("a request that goes before the others got %v", r)
	}
	if _, _, r := s.p.Join(s.now, &Request{}); r != nil {
		t.Errorf("a request whose caller cannot ask another pool got %v", r)
	}
	if d := s.p.Explain(s.now, &Request{}); !strings.Contains(d.Note, "it goes on to pool cloud") {
		t.Errorf("explained is %q, want that a request goes on", d.Note)
	}
	if r := s.p.orOverflow(&Request{MayOverflow: true}, &Refusal{Reason: Malformed}); r.Reason != Malformed {
		t.Errorf("a request that is malformed gets %v", r)
	}
}

// A request goes on that has waited as long as it may, while nothing is known of how long requests take.
func TestARequestGoesOnThatHasWaitedTooLong(t *testing.T) {
	s := newSpill(t, Config{Name: "web", QueueSize: 100}, 5*time.Second)
	s.pick(Request{})
	if r := s.join(Request{}); r != nil {
		t.Fatal(r)
	}
	if _, _, r := s.p.Join(s.now, &Request{}); r != nil {
		t.Fatal(r)
	}
	s.now = s.now.Add(4900 * time.Millisecond)
	if over := s.p.Serve(s.now, nil); len(over) != 0 {
		t.Fatalf("after 4.9 s the waits of %d requests are over", len(over))
	}
	s.now = s.now.Add(100 * time.Millisecond)
	over := s.p.Serve(s.now, nil)
	if len(over) != 1 || over[0].Refusal == nil || over[0].Refusal.Reason != Overflowed || over[0].Waited != 5*time.Second {
		t.Fatalf("after 5 s the waits end as %+v, want that the first request goes on, and the second, which cannot, waits", over)
	}
}

// What would be refused for lack of room goes on; what a tenant's own cap keeps waiting does not.
func TestWhatWouldBeRefusedGoesOn(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  Config
		do   func(s *split)
		req  Request
		want Reason
	}{
		{"the queue is full", Config{QueueSize: 1}, func(s *split) { s.pick(Request{}); s.p.Join(s.now, &Request{}) }, Request{}, Overflowed},
		{"no queue, at the cap", Config{MaxInFlight: 1}, func(s *split) { s.pick(Request{}) }, Request{}, Overflowed},
		{"the deadline is near", Config{QueueSize: 9}, func(s *split) { s.serve(30, answered); s.pick(Request{}) }, Request{Deadline: Instant(time.Hour) + 301*Instant(time.Millisecond)}, Overflowed},
		{"no server is up", Config{QueueSize: 9}, func(s *split) { s.p.Override(s.now, "a", Override{On: true}, s.now) }, Request{}, Overflowed},
		{"the server is ejected", Config{QueueSize: 9}, func(s *split) { s.p.byID["a"].health.ejectedUntil = forever; s.p.rank(s.now, s.p.byID["a"]) }, Request{}, Overflowed},
		{"the tenant is at its cap", Config{QueueSize: 9, Tenants: map[string]TenantConfig{"t": {MaxInFlight: 1}}}, func(s *split) { s.pick(Request{Tenant: "t"}) }, Request{Tenant: "t"}, 0},
	} {
		c.cfg.Name = "web"
		s := newSpill(t, c.cfg, 5*time.Second)
		c.do(s)
		got := Reason(0)
		if r := s.join(c.req); r != nil {
			got = r.Reason
		}
		if got != c.want {
			t.Errorf("%s: the refusal is %v, want %v", c.name, got, c.want)
		}
	}
}

// With a wait of zero a request goes on as soon as it would have to wait; a backup comes first.
func TestARequestThatMayNotWaitGoesOnAtOnce(t *testing.T) {
	s := newSpill(t, Config{Name: "web", QueueSize: 100}, 0)
	s.pick(Request{})
	if r := s.join(Request{}); r == nil || r.Reason != Overflowed {
		t.Errorf("a request that may not wait got %v", r)
	}
	s.put("x", 1)
	if id := s.pick(Request{MayOverflow: true}); id != "x" {
		t.Errorf("with a backup the request went to %q", id)
	}
}

func TestConditionsOfAnOverflow(t *testing.T) {
	for text, want := range map[string]time.Duration{"wait > 5s": 5 * time.Second, "wait>250ms": 250 * time.Millisecond, "wait > 0s": 0, " wait  >  1h ": time.Hour} {
		if got, err := ParseOverflowWait(text); err != nil || got != want {
			t.Errorf("%q is read as %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "wait", "5s", "wait > 5", "wait < 5s", "wait > -1s", "wait > 2h", "queue > 5s", "wait > 5s or more"} {
		if got, err := ParseOverflowWait(text); err == nil {
			t.Errorf("%q is read as %v, want an error", text, got)
		}
	}
}

func TestCirclesOfOverflows(t *testing.T) {
	next := map[string]string{"a": "b", "b": "c", "d": "d", "e": "f", "f": "g", "g": "f"}
	for pool, want := range map[string][]string{"a": nil, "c": nil, "d": {"d", "d"}, "e": nil, "f": {"f", "g", "f"}} {
		if got := OverflowCircle(pool, func(p string) string { return next[p] }); !slices.Equal(got, want) {
			t.Errorf("the circle of %s is %v, want %v", pool, got, want)
		}
	}
}
