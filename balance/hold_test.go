package balance

import (
	"testing"
	"time"
)

func fullFor(d time.Duration) Outcome { return Outcome{Result: Full, Status: 503, RetryAfter: d} }

// How long a server that says it has no room is held, by what it told and what is known of it.
func TestFullHolds(t *testing.T) {
	const isNot = time.Duration(-1)
	for _, c := range []struct {
		name   string
		served bool // one at a time were served just before
		inRow  int
		every  time.Duration
		told   time.Duration
		want   time.Duration
	}{
		{"never served", false, 1, 0, 5 * time.Second, 5 * time.Second},
		{"absurd", false, 1, 0, time.Hour, longestFull},
		{"at once", false, 1, 0, time.Microsecond, 10 * leastTypical},
		{"at once, again and again", false, 5, 0, time.Microsecond, 2 * untoldFull},
		{"untold", false, 1, 0, 0, untoldFull},
		{"untold again", false, 5, 0, 0, 2 * untoldFull},
		{"served just before", true, 1, 0, 5 * time.Second, isNot},
		{"served just before, untold", true, 1, 0, 0, isNot},
		{"served before, and many were refused at once", true, 50, 0, 5 * time.Second, isNot},
		{"served before, and a few were refused for some time", true, surelyFull - 1, untoldFull, 5 * time.Second, isNot},
		{"served before, and many were refused for some time", true, surelyFull, untoldFull, 5 * time.Second, 5 * time.Second},
	} {
		w := newWard(t, Config{}, "a", "b")
		w.pass(time.Second)
		if c.served {
			w.end("e", "a", 20, fine)
		}
		s := w.p.byID["a"]
		for range c.inRow {
			if s.isLimited() {
				w.now = max(w.now, s.held.until)
			}
			w.now = w.now.Add(c.every) + 1
			w.end("e", "a", 1, fullFor(c.told))
		}
		got := isNot
		if s.isLimited() {
			got = s.held.until.Sub(w.now)
		}
		if got != c.want || s.isLimited() && s.held.most != 0 {
			t.Errorf("%s: held for %v to %d leases, want %v to none", c.name, got, s.held.most, c.want)
		}
		if s.State(w.now) != Up || s.Success() != 1 || s.health.inRow != 0 {
			t.Errorf("%s: being full costs the server more than its limit: %+v", c.name, s.health)
		}
	}
}

// A server that refuses only where more requests are present than it serves is full. Where it refuses as few
// as it serves it limits its clients.
func TestFullIsToldFromLimiting(t *testing.T) {
	for name, c := range map[string]struct {
		serves, refuses int // with so many present
		want            bool
	}{"more": {3, 4, true}, "as many": {4, 4, false}, "fewer": {4, 2, false}} {
		w := newWard(t, Config{}, "a", "b")
		w.pass(time.Second)
		crowd := func(n int, o Outcome) {
			var open []LeaseID
			for range n {
				g, err := w.p.Pick(w.now, &Request{Edge: "e", Exclude: []ServerID{"b"}})
				if err != nil {
					t.Fatal(err)
				}
				open = append(open, g.Lease)
			}
			w.now += sec / 100
			w.p.Done(w.now, open[n-1], o)
			for _, id := range open[:n-1] {
				w.p.Done(w.now, id, Outcome{Result: Canceled})
			}
		}
		for range 5 {
			crowd(c.serves, fine)
		}
		crowd(c.refuses, fullFor(5*time.Second))
		s := w.p.byID["a"]
		if got := s.isLimited() && s.held.until.Sub(w.now) == 5*time.Second; got != c.want {
			t.Errorf("%s: held %v until %v, want %v", name, s.isLimited(), s.held.until, c.want)
		}
		if c.want && s.held.most != int32(c.serves) {
			t.Errorf("%s: held to %d, want the %d that it serves", name, s.held.most, c.serves)
		}
	}
}

// Where a request is served before a server was to have room again, the others' word is doubted too.
func TestOneServerThatLimitsClientsFreesTheOthers(t *testing.T) {
	w := newWard(t, Config{QueueSize: 100}, "a", "b", "c")
	for _, id := range []ServerID{"a", "b", "c"} {
		w.end("e", id, 1, fullFor(time.Minute))
	}
	if a, c := w.p.byID["a"].held.until, w.p.byID["c"].held.until; a < w.now+14*sec || c > w.now+sec {
		t.Errorf("held until %v and %v at %v, want about 15 s and 1 s", a, c, w.now)
	}
	w.now = w.p.byID["c"].held.until
	w.end("e", "c", 1, fine)
	for _, id := range []ServerID{"a", "b"} {
		w.end("e", id, 1, fine) // fails if it cannot be tried
	}
}

// A server that says it is full keeps what it has, and after its time gets one more: if that
// is served, the server is freed gradually; if not, it is full again.
func TestFullIsTriedByOne(t *testing.T) {
	w := newWard(t, Config{QueueSize: 100}, "a")
	s := w.p.byID["a"]
	var open []LeaseID
	pick := func() error {
		g, err := w.p.Pick(w.now, &Request{Edge: "e"})
		if err == nil {
			open = append(open, g.Lease)
		}
		return err
	}
	for range 4 {
		if err := pick(); err != nil {
			t.Fatal(err)
		}
	}
	w.now++
	w.p.Done(w.now, open[3], fullFor(500*time.Millisecond))
	open = open[:3]
	if err := pick(); err == nil {
		t.Fatal("a fourth lease on a server that is full with three")
	}
	w.p.Done(w.now, open[0], fine)
	open = open[1:]
	if err := pick(); err != nil {
		t.Fatalf("a third lease on a server that is full with three: %v", err)
	}
	w.now = s.held.until
	if err := pick(); err != nil {
		t.Fatalf("one more when the time is over: %v", err)
	}
	if err := pick(); err == nil {
		t.Fatal("two more when the time is over")
	}
	w.now++
	w.p.Done(w.now, open[len(open)-1], fullFor(500*time.Millisecond))
	if w.now >= s.held.until || s.held.most != 3 {
		t.Errorf("still full: %+v", s.held)
	}
	open = open[:3]
	w.now = s.held.until
	if err := pick(); err != nil {
		t.Fatal(err)
	}
	w.now++
	w.p.Done(w.now, open[3], fine)
	open = open[:3]
	n := 0
	for pick() == nil && n < 1000 {
		n++
	}
	if n == 0 || n >= 1000 {
		t.Errorf("%d more leases at once after one was served, want some", n)
	}
	for _, id := range open {
		w.now++
		w.p.Done(w.now, id, fine)
	}
	if w.end("e", "a", 10, fine); s.isHeld {
		t.Errorf("served and idle, yet held: %+v", s.held)
	}
}

// Requests that wait for a server that is full go on when its time is over, though nothing
// else happens.
func TestAQueueGoesOnWhenAServerIsNotFullAnyMore(t *testing.T) {
	for name, slots := range map[string]float64{"one slot": 1, "slots not known": 0} {
		w := newWard(t, Config{QueueSize: 100}, "a")
		if err := w.p.Put(w.now, ServerSpec{ID: "a", Address: "127.0.0.1:1", Slots: slots}, true); err != nil {
			t.Fatal(err)
		}
		w.end("e", "a", 1, fullFor(300*time.Millisecond))
		for range 3 {
			if _, err := w.p.Pick(w.now, &Request{Edge: "e"}); err == nil {
				t.Fatalf("%s: a lease on a full server", name)
			}
			if _, _, refusal := w.p.Join(w.now, &Request{Edge: "e"}); refusal != nil {
				t.Fatal(refusal)
			}
		}
		until := w.p.byID["a"].held.until
		var released []Release
		for steps := 0; len(released) == 0 && steps < 100; steps++ {
			next := w.p.Expire(w.now)
			if next <= w.now || next > until {
				t.Fatalf("%s: at %v Expire wants to be called at %v, want after that and by %v", name, w.now, next, until)
			}
			w.now = next
			released = w.p.Serve(w.now, released)
		}
		if len(released) != 1 || released[0].Refusal != nil || w.now != until {
			t.Errorf("%s: at %v %+v are released, want one at %v", name, w.now, released, until)
		}
	}
}

// Where all say that they are full each is tried now and then, at least once a second, however long it says that it has no room.
func TestALoneFullServerIsTried(t *testing.T) {
	w := newWard(t, Config{QueueSize: 100}, "a", "b")
	w.end("e", "a", 1, fullFor(time.Minute))
	for range 5 {
		w.end("e", "b", 1, fullFor(time.Minute))
		b := w.p.byID["b"]
		if a := w.p.byID["a"].held.until.Sub(w.now); a < 10*time.Second || b.held.until > w.now.Add(lastFull) {
			t.Errorf("held for %v and %v, want about %v and %v at most", a, b.held.until.Sub(w.now), longestFull, lastFull)
		}
		w.now = b.held.until
	}
	w = newWard(t, Config{}, "a") // without a queue it is tried by all that come
	w.end("e", "a", 1, fullFor(time.Minute))
	w.end("e", "a", 1, fine)
}

// wait has so many requests wait, and returns how many may and the first answer to those that may not.
func (w *ward) wait(n int) (waiting int, refusal *Refusal) {
	w.t.Helper()
	for range n {
		if _, err := w.p.Pick(w.now, &Request{Edge: "e"}); err == nil {
			w.t.Fatal("a lease where all are full")
		}
		if _, _, refused := w.p.Join(w.now, &Request{Edge: "e"}); refused == nil {
			waiting++
		} else if refusal == nil {
			refusal = refused
		}
	}
	return waiting, refusal
}

// Where every server says that it is full for longer than a request may wait, that is what the request is told, at
// once. Just before one of them is tried requests wait for what comes of it; and one of them tries.
func TestWhereAllAreFullRequestsAreToldAtOnce(t *testing.T) {
	w := newWard(t, Config{QueueSize: 100, QueueWait: 10 * time.Second}, "a")
	for range 4 {
		w.now = max(w.now, w.p.byID["a"].held.until)
		w.end("e", "a", 1, fullFor(30*time.Second))
	}
	n, refusal := w.wait(5)
	if n != 0 || refusal == nil || refusal.Reason != Saturated || refusal.RetryAfter < 28*time.Second || refusal.RetryAfter > 30*time.Second {
		t.Fatalf("%d wait, the others were told %+v, want that all are told to come again in about 29 s", n, refusal)
	}
	next := w.p.byID["a"].held.until
	w.now = next.Add(-gathering / 2)
	if n, _ := w.wait(5); n != 5 {
		t.Fatalf("%d wait just before a server is tried, want all", n)
	}
	w.now = next
	released := w.p.Serve(w.now, nil)
	if len(released) != 1 || released[0].Refusal != nil || released[0].ID != w.p.queue.lastID {
		t.Fatalf("released %+v, want the newest, %d, to try", released, w.p.queue.lastID)
	}
	w.now += sec / 1000
	w.p.Done(w.now, released[0].Grant.Lease, fullFor(30*time.Second))
	if released = w.p.Serve(w.now, nil); len(released) != 4 || released[0].Refusal == nil || released[3].Refusal == nil {
		t.Errorf("released %+v, want that the other four are told", released)
	}
	if a := w.state("a"); a != Up {
		t.Errorf("the server is %v, want up", a)
	}
}

// Where servers say that they have room again sooner than a request must have it, it waits for that, once.
func TestWhereAllAreFullForAMomentRequestsWait(t *testing.T) {
	w := newWard(t, Config{QueueSize: 100, QueueWait: 10 * time.Second}, "a")
	w.end("e", "a", 1, fullFor(500*time.Millisecond))
	if n, refusal := w.wait(5); n != 5 {
		t.Fatalf("%d wait, the others were told %v, want that all wait", n, refusal)
	}
	w.now = w.p.byID["a"].held.until
	released := w.p.Serve(w.now, nil)
	if len(released) != 1 {
		t.Fatalf("released %+v, want one to try", released)
	}
	w.now += sec / 1000
	w.p.Done(w.now, released[0].Grant.Lease, fullFor(30*time.Second))
	if released = w.p.Serve(w.now, nil); len(released) != 4 {
		t.Errorf("released %+v, want that the other four are told", released)
	}
}

// While a server that is full serves what it has, requests wait for its room.
func TestAServerThatIsFullWithWorkIsWaitedFor(t *testing.T) {
	w := newWard(t, Config{QueueSize: 100}, "a")
	var open []LeaseID
	for range 3 {
		g, err := w.p.Pick(w.now, &Request{Edge: "e"})
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, g.Lease)
	}
	w.now++
	w.p.Done(w.now, open[2], fullFor(time.Minute))
	if n, refusal := w.wait(5); n != 5 {
		t.Fatalf("%d wait, the others were told %v, want that all wait", n, refusal)
	}
	if released := w.p.Serve(w.now, nil); len(released) != 0 {
		t.Errorf("released %+v, want none yet", released)
	}
	w.now++
	w.p.Done(w.now, open[0], fine)
	if released := w.p.Serve(w.now, nil); len(released) != 1 || released[0].Refusal != nil {
		t.Errorf("released %+v, want one that takes the place", released)
	}
}
