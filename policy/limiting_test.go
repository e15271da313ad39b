package policy_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// limited is what a server that limits each client's rate answers to one that asks for too much.
var limited = balance.Outcome{Result: balance.Full, Status: 429, RetryAfter: 30 * time.Second}

// hammer has so many connections of a client ask again at once, whatever the answer; each server
// tells it at once that it has had enough.
func (s *market) hammer(connections int) {
	for range connections {
		s.after(time.Duration(s.rng.IntN(int(time.Millisecond))), s.beat)
	}
}

func (s *market) beat() {
	req := balance.Request{Edge: "e0"}
	grant, err := s.pool.Pick(s.now, &req)
	if err == nil {
		s.provoked429(grant)
		return
	}
	id, _, refusal := s.pool.Join(s.now, &req)
	if refusal != nil {
		s.turnedAway()
		return
	}
	s.waiting[id] = waiting{since: s.now, provoker: true}
	s.expire()
}

func (s *market) provoked429(g balance.Grant) {
	s.provoked++
	s.after(time.Millisecond, func() {
		o := limited
		o.Duration = time.Millisecond
		s.pool.Done(s.now, g.Lease, o)
		s.after(100*time.Microsecond, s.beat)
		s.serve()
	})
}

// turnedAway has a connection of the client ask again, whatever it was told.
func (s *market) turnedAway() {
	s.away++
	s.after(200*time.Microsecond, s.beat)
}

func median(times []time.Duration) time.Duration {
	if len(times) == 0 {
		return time.Hour
	}
	times = slices.Sorted(slices.Values(times))
	return times[len(times)/2]
}

// A server that goes on serving others while it says 429 limits a client. That client, however hard it
// asks, delays no other.
func TestAClientThatIsLimitedSlowsNoOther(t *testing.T) {
	for _, servers := range []int{1, 3} {
		for _, work := range []struct {
			slots float64
			alone time.Duration
			conns int
		}{{0, 5 * time.Millisecond, 1}, {0, 5 * time.Millisecond, 8}, {1, 5 * time.Millisecond, 8}, {4, 200 * time.Millisecond, 8}} {
			for _, first := range []time.Duration{-3 * time.Second, 0, 3 * time.Second} { // how much sooner the others ask
				for _, how := range []arrivals{{"6 clients", 6, 0}, {"at random", 0, min(100, .3*float64(servers)*max(1, work.slots)/work.alone.Seconds())}} {
					t.Run(fmt.Sprintf("%d servers/%v slots/%v/%d connections/%v/%s", servers, work.slots, work.alone, work.conns, first, how.name), func(t *testing.T) {
						t.Parallel()
						run := func(connections int) *market {
							s := newMarket(t, servers, work.slots, balance.Config{QueueSize: 1000}, how, 3)
							s.alone = work.alone
							if first >= 0 {
								s.run(first)
								s.hammer(connections)
							} else {
								others := s.events
								s.events = nil
								s.hammer(connections)
								s.run(-first)
								for _, e := range others {
									s.after(e.at.Sub(second), e.what)
								}
							}
							s.run(10 * time.Second)
							return s
						}
						without, s := run(0), run(work.conns)
						if got, want := median(s.times), median(without.times); got > 2*want {
							t.Errorf("the others' requests took %v, want about %v as without; %d of their requests and %d of the limited client's were refused", got, want, s.refused, s.away)
						}
						if s.provoked < 5 {
							t.Errorf("only %d were provoked", s.provoked)
						}
					})
				}
			}
		}
	}
}
