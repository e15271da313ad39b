package balance

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A backup gets what would be refused otherwise, and nothing else.
func TestBackups(t *testing.T) {
	fill := func(s *split) { // a and b have one slot each
		s.put("a", 1)
		s.put("b", 1)
		s.pick(Request{})
		s.pick(Request{})
	}
	queue := func(s *split, n int) {
		for range n {
			if _, _, refusal := s.p.Join(s.now, &Request{Tenant: "other"}); refusal != nil {
				s.t.Fatal(refusal)
			}
		}
	}
	for _, c := range []struct {
		name string
		cfg  Config
		do   func(s *split)
		req  Request
		want ServerID
	}{
		{"others are idle", Config{QueueSize: 5}, func(*split) {}, Request{}, "a"},
		{"others are full, and it can wait", Config{QueueSize: 5}, fill, Request{}, ""},
		{"others are full, and so is the queue", Config{QueueSize: 5}, func(s *split) { fill(s); queue(s, 5) }, Request{}, "x"},
		{"others are full, and it could displace one that waits", Config{QueueSize: 5}, func(s *split) { fill(s); queue(s, 5) }, Request{Priority: 5}, "x"},
		{"others are full, and its time is over before one comes free", Config{QueueSize: 5}, func(s *split) { s.serve(30, answered); fill(s) }, Request{Deadline: Instant(time.Hour) + 301*Instant(time.Millisecond)}, "x"},
		{"others are at their caps, and there is no queue", Config{MaxInFlight: 1}, func(s *split) { s.pick(Request{}); s.pick(Request{}) }, Request{}, "x"},
		{"others are busy, without caps and queue", Config{}, func(s *split) { s.pick(Request{}); s.pick(Request{}) }, Request{}, "a"},
		{"others drain", Config{QueueSize: 5}, func(s *split) {
			s.p.Override(s.now, "a", Override{On: true}, s.now)
			s.p.Override(s.now, "b", Override{On: true}, s.now)
		}, Request{}, "x"},
		{"others have failed it", Config{QueueSize: 5}, func(*split) {}, Request{Exclude: []ServerID{"a", "b"}}, "x"},
		{"others lack the labels", Config{QueueSize: 5}, func(s *split) { s.p.Override(s.now, "a", Override{On: true}, s.now) }, Request{Exclude: []ServerID{"b"}, Labels: []Label{{"zone", "b"}}}, "x"},
		{"it asks for others only", Config{QueueSize: 5}, func(s *split) { fill(s); queue(s, 5) }, Request{Labels: []Label{{"version", "3"}}}, ""},
		{"it is full itself", Config{QueueSize: 5}, func(s *split) { s.put("x", 1); fill(s); queue(s, 5); s.pick(Request{}) }, Request{}, ""},
	} {
		s := newSplit(t, c.cfg, ByScore{byLeases{}}, 0)
		s.put("x", 100)
		c.do(s)
		if got := s.pick(c.req); got != c.want {
			t.Errorf("%s: the request went to %q, want %q", c.name, got, c.want)
		}
		if err := s.p.Check(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// A request whose wait is over gets a backup in place of a refusal.
func TestABackupTakesWhatHasWaitedTooLong(t *testing.T) {
	s := newSplit(t, Config{QueueSize: 5, QueueWait: 10 * time.Second}, ByScore{byLeases{}}, 0)
	for _, id := range []ServerID{"a", "b"} {
		s.put(id, 1)
		s.pick(Request{})
	}
	if _, _, refusal := s.p.Join(s.now, &Request{}); refusal != nil {
		t.Fatal(refusal)
	}
	s.put("x", 1)
	if done := s.p.Serve(s.now.Add(9*time.Second), nil); len(done) != 0 {
		t.Fatalf("after 9 s the wait ended with %+v", done)
	}
	done := s.p.Serve(s.now.Add(11*time.Second), nil)
	if len(done) != 1 || done[0].Refusal != nil || done[0].Grant.Server != "x" {
		t.Fatalf("after 11 s the wait ended with %+v, want the backup", done)
	}
}

// Where a backup stands in, all servers that fail go out, and not a third of them.
func TestBackupsStandInForAllThatFail(t *testing.T) {
	s := newSplit(t, Config{QueueSize: 5}, ByScore{byLeases{}}, 0)
	s.put("c", 100)
	s.put("x", 100)
	got := map[ServerID]int{}
	for range 60 {
		id := s.pick(Request{})
		got[id]++
		o := answered(id)
		if id != "x" {
			o = Outcome{Result: Fault, Status: 500, Duration: time.Millisecond}
		}
		s.now = s.now.Add(o.Duration)
		s.end(o)
	}
	if got["x"] < 40 {
		t.Errorf("while all others failed the backup got %d of 60 requests: %v", got["x"], got)
	}
	s.now = s.now.Add(20 * time.Second)
	if id := s.pick(Request{}); id == "x" {
		t.Error("the backup is used although others are back")
	}
}

// Whatever happens: no backup while an ordinary server has room, no canary beyond its share while another is up, and all counts agree.
func TestSidesHoldWhateverHappens(t *testing.T) {
	backup, canary := 0, 0
	checkUntil(t, func() bool { return backup > 0 && canary > 0 }, func(t *rapid.T) {
		s := newSplit(t, Config{QueueSize: rapid.SampledFrom([]int{0, 3}).Draw(t, "queue")}, ByScore{byLeases{}}, rapid.SampledFrom([]float64{.1, .5}).Draw(t, "part"))
		s.put("x", 2)
		s.put("w", 2)
		ids := []ServerID{"a", "b", "v", "w", "x"}
		judge := func(id ServerID, free, up bool) {
			switch {
			case id == "x" && free:
				t.Fatal("a backup got a request while an ordinary server had room")
			case id == "x":
				backup++
			case id == "v" && up && (s.p.canary.due < -1-dueSlack || s.p.canary.due > mostDue):
				t.Fatalf("the canary is due %v", s.p.canary.due)
			case id == "v":
				canary++
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"pick": func(t *rapid.T) {
				var free, up bool
				for _, o := range s.p.servers {
					free = free || o.side == ordinary && o.State(s.now) == Up && s.p.belowLimit(s.now, o)
					up = up || o.side == ordinary && o.State(s.now) == Up
				}
				req := rapid.SampledFrom([]Request{{Edge: "e"}, {Edge: "f"}, {Labels: []Label{{"zone", "b"}}}}).Draw(t, "request")
				if id := s.pick(req); id != "" {
					judge(id, free && s.p.Waiting() == 0 && s.p.exclusions == 0, up)
				} else if s.p.cfg.QueueSize > 0 {
					s.p.Join(s.now, &req)
				}
			},
			"done": func(t *rapid.T) {
				if len(s.open) > 0 {
					s.end(Outcome{Result: Result(rapid.IntRange(0, int(Results)-1).Draw(t, "result")), Duration: time.Millisecond})
				}
			},
			"put": func(t *rapid.T) {
				s.put(rapid.SampledFrom(ids).Draw(t, "server"), float64(rapid.IntRange(1, 3).Draw(t, "slots")))
			},
			"leave": func(t *rapid.T) { s.p.Unname(s.now, rapid.SampledFrom(ids).Draw(t, "server")) },
			"reload": func(t *rapid.T) {
				cfg := s.p.cfg
				cfg.Canary = rapid.SampledFrom([]Canary{{}, {[]Label{{"version", "2"}}, .2}, {[]Label{{"version", "1"}}, .5}}).Draw(t, "canary")
				s.p.Configure(s.now, cfg, s.p.policy)
				if cfg.Canary.Part == 0 {
					s.p.Configure(s.now, Config{Name: "web", QueueSize: cfg.QueueSize, Canary: Canary{[]Label{{"version", "2"}}, .1}}, s.p.policy)
				}
			},
			"time": func(t *rapid.T) {
				s.now = s.now.Add(time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "step")))
				s.p.Expire(s.now)
				for _, r := range s.p.Serve(s.now, nil) {
					if r.Refusal == nil {
						s.open = append(s.open, r.Grant.Lease)
					}
				}
			},
			"": func(t *rapid.T) {
				if err := s.p.Check(); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}
