package policy_test

import (
	"fmt"
	"math"
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

// capacityRefusals runs four servers that take four requests at a time, and answer more with the status at once, and returns how many they answered so.
func capacityRefusals(t *testing.T, status int, seed uint64) (refusals, served int) {
	s := newMarket(t, 4, 0, balance.Config{QueueSize: 1000}, arrivals{"at random", 0, 290}, seed)
	var present [4]int
	refusal := balance.Outcome{Result: balance.Full, Status: status, RetryAfter: time.Second}
	s.bad = func(_ balance.Instant, server int) *balance.Outcome {
		present[server]++
		if present[server] > 4 {
			refusals++
			return &refusal
		}
		return nil
	}
	s.count = func(_ balance.Instant, server int) { present[server]-- }
	s.run(60 * time.Second)
	return refusals, s.answered - refusals
}

// Servers that are full say so by status 429 as well as by 503: few more are sent to them in vain.
func TestStatus429TeachesALimit(t *testing.T) {
	for seed := range uint64(4) {
		by429, served := capacityRefusals(t, 429, seed)
		by503, _ := capacityRefusals(t, 503, seed)
		t.Logf("seed %d: %d refused with 429, %d with 503, %d served", seed, by429, by503, served)
		if by429 > 2*by503+20 {
			t.Errorf("seed %d: %d of %d were refused with 429, and %d with 503; want about as few", seed, by429, served+by429, by503)
		}
	}
}

// Servers that answer 429 to one client, whose requests come in bursts, are not kept to what they served.
func TestStatus429ForAClientTeachesNothing(t *testing.T) {
	for seed := range uint64(4) {
		s := newMarket(t, 4, 0, balance.Config{QueueSize: 1000}, arrivals{"at random", 0, 290}, seed)
		var burst func()
		burst = func() {
			for range 12 {
				if grant, err := s.pool.Pick(s.now, &balance.Request{Edge: "e0"}); err == nil {
					s.provoked++
					s.after(time.Millisecond, func() {
						o := limited
						o.Duration = time.Millisecond
						s.pool.Done(s.now, grant.Lease, o)
						s.serve()
					})
				}
			}
			s.after(500*time.Millisecond, burst)
		}
		s.after(5*time.Second, burst)
		for range 60 {
			s.run(time.Second)
			for _, c := range s.pool.Explain(s.now, &balance.Request{Edge: "e0"}).Candidates {
				if s.now > balance.Instant(15*time.Second) && !math.IsInf(c.Learnt.Limit, 1) {
					t.Fatalf("seed %d, at %v: %s has a limit of %v", seed, time.Duration(s.now), c.Server, c.Learnt.Limit)
				}
			}
		}
		if s.provoked < 1000 || s.refused > 0 {
			t.Errorf("seed %d: %d requests of the client were sent to servers, want most of 1320; %d of the others' were refused, want none", seed, s.provoked, s.refused)
		}
	}
}
