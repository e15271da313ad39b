package balance_test

import (
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// A server of which nothing is declared or reported has a limit all the same: what it can answer in the time that requests
// have. Where they have no deadline that is much more.
func TestAServerOfUnknownSlotsHasALimit(t *testing.T) {
	for _, c := range []struct {
		name        string
		time        time.Duration // that requests have; zero: no deadline
		least, most int
	}{{"a second", time.Second, 3, 64}, {"a minute", time.Minute, 150, 250}, {"no deadline", 0, 250, 350}} {
		p, now := fresh(t, "a"), balance.Instant(time.Hour)
		ask := func() *balance.Request {
			r := &balance.Request{}
			if c.time > 0 {
				r.Deadline = now.Add(c.time)
			}
			return r
		}
		for round := range 1000 { // up to six requests at a time of which each takes 100 ms, one after the other
			var open []balance.LeaseID
			for range 1 + round%6 {
				if g, err := p.Pick(now, ask()); err == nil {
					open = append(open, g.Lease)
				}
			}
			began := now
			for _, l := range open {
				now = now.Add(100 * time.Millisecond)
				p.Done(now, l, balance.Outcome{Duration: now.Sub(began)})
			}
		}
		granted := 0
		for range 1000 {
			if _, err := p.Pick(now, ask()); err == nil {
				granted++
			}
		}
		if granted < c.least || granted > c.most {
			t.Errorf("%s: %d requests are at the server, want %d to %d", c.name, granted, c.least, c.most)
		}
		if err := p.Check(); err != nil {
			t.Error(err)
		}
	}
}
