package balance

import (
	"fmt"
	"testing"
	"time"
)

// alike is a score by which servers differ only in how busy they are and in b.
type alike struct{}

func (alike) Score(now Instant, s *Server) float64 { return s.Service() * (1 + s.Load(now)) }

func equalPool(t *testing.T, n int) *Pool {
	t.Helper()
	p := New(Config{Name: "web"}, ByScore{alike{}}, 1)
	for i := range n {
		if err := p.Put(1, ServerSpec{ID: ServerID(fmt.Sprint("s", i)), Address: "127.0.0.1:8000"}, true); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// one lets a request come and go and returns who served it.
func one(t *testing.T, p *Pool, now Instant, req *Request) ServerID {
	t.Helper()
	g, err := p.Pick(now, req)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Done(now.Add(time.Millisecond), g.Lease, Outcome{Duration: time.Millisecond}) {
		t.Fatalf("lease %s is not open", g.Lease)
	}
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	return g.Server
}

// There are some millions of turns; then they begin anew, and no server waits longer for that.
func TestTurnsBeginAnew(t *testing.T) {
	p := equalPool(t, 3)
	p.turns = turns - 8
	last := map[ServerID]int{}
	for i := range 24 {
		s := one(t, p, Instant(i+1)*second, &Request{})
		if before, ok := last[s]; ok && i-before > 5 {
			t.Errorf("request %d went to %s, which had waited for %d", i, s, i-before)
		}
		last[s] = i
	}
	if p.turns > 24 || len(last) != 3 {
		t.Errorf("after 24 requests to %v the turn is %d, want one that began anew", last, p.turns)
	}
}

// What is told of a request beforehand is what happens, also among equals; and labels change nothing.
func TestExplainKnowsWhoseTurnItIs(t *testing.T) {
	p := equalPool(t, 3)
	for i := range 9 {
		now := Instant(i+1) * second
		d := p.Explain(now, &Request{})
		if got := one(t, p, now, &Request{}); got != d.Chosen || got != ServerID(fmt.Sprint("s", i%3)) {
			t.Fatalf("request %d went to %s, explained was %s, want s%d", i, got, d.Chosen, i%3)
		}
		for _, c := range d.Candidates {
			if c.Server != d.Chosen && c.Why != "equal score, its turn comes later" {
				t.Errorf("of %s it says %q", c.Server, c.Why)
			}
		}
	}
}
