package balance_test

import (
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Where nothing is configured a request waits for 30 times as long as one takes, and while that is not known yet, as
// long as one may take that is still under way.
func TestTheDefaultWaitFollowsTheWork(t *testing.T) {
	for _, c := range []struct {
		name      string
		took      time.Duration // of requests before; zero: none has ended
		wait      time.Duration // configured
		deadline  time.Duration
		stays     time.Duration // it still waits then
		isRefused time.Duration
	}{
		{name: "short work", took: 10 * time.Millisecond, stays: 9 * time.Second, isRefused: 11 * time.Second},
		{name: "long work", took: time.Minute, stays: 29 * time.Minute, isRefused: 31 * time.Minute},
		{name: "nothing has ended yet", stays: 10 * time.Minute, isRefused: 2 * time.Hour},
		{name: "configured", took: time.Minute, wait: 10 * time.Second, stays: 9 * time.Second, isRefused: 11 * time.Second},
		{name: "a deadline", deadline: time.Minute, stays: 50 * time.Second, isRefused: 61 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := balance.New(balance.Config{Name: "p", QueueSize: 10, QueueWait: c.wait}, balance.ByScore{Scorer: leastLoad{}}, 1)
			now := balance.Instant(time.Hour)
			if err := p.Put(now, balance.ServerSpec{ID: "a", Address: "a:1", Slots: 4}, true); err != nil {
				t.Fatal(err)
			}
			pick := func() balance.Grant {
				g, err := p.Pick(now, &balance.Request{})
				if err != nil {
					t.Fatal(err)
				}
				return g
			}
			for range 20 {
				if g := pick(); c.took > 0 {
					now = now.Add(c.took)
					p.Done(now, g.Lease, balance.Outcome{Duration: c.took})
				} else {
					break
				}
			}
			for full := false; !full; {
				_, err := p.Pick(now, &balance.Request{Edge: "e1"})
				full = err != nil
			}
			req := &balance.Request{Edge: "e1"}
			if c.deadline > 0 {
				req.Deadline = now.Add(c.deadline)
			}
			if _, _, refusal := p.Join(now, req); refusal != nil {
				t.Fatal(refusal)
			}
			for _, at := range []struct {
				after time.Duration
				want  int
			}{{c.stays / 2, 0}, {c.stays, 0}, {c.isRefused, 1}} {
				if got := p.Serve(now.Add(at.after), nil); len(got) != at.want {
					t.Errorf("after %v %d waits are over, want %d", at.after, len(got), at.want)
				}
			}
		})
	}
}
