package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// What is old when it comes counts less, ten seconds or mean times of a request ago next to nothing. What an agent
// reports twice a second counts, however short the requests are.
func TestOldReportsCountLess(t *testing.T) {
	for _, c := range []struct {
		age, work   time.Duration
		least, most float64
	}{
		{0, 10 * time.Millisecond, 9, 10}, {500 * time.Millisecond, 10 * time.Millisecond, 6, 10},
		{time.Second, 10 * time.Millisecond, 4, 6}, {10 * time.Second, 100 * time.Millisecond, 0, .1},
		{10 * time.Second, 10 * time.Second, 4, 6}, {100 * time.Second, 10 * time.Second, 0, .1},
	} {
		p, s := lonely(t)
		now := second
		for range 20 {
			now = p.answer(t, now, c.work)
		}
		r := Report{Server: "a", Age: c.age, Metrics: []Metric{{Name: InFlight, Value: 10}}}
		if err := p.Report(now, &r); err != nil {
			t.Fatal(err)
		}
		if x := s.load.at(now); x < c.least || x > c.most {
			t.Errorf("%.3g requests of others are believed of 10 that were there %v ago, want %v to %v", x, c.age, c.least, c.most)
		}
	}
}

// A server of one slot has a request ahead where the trip is long beside the work, or where requests wait for long.
func TestARequestIsBoundAhead(t *testing.T) {
	for _, c := range []struct {
		trip time.Duration
		gap  time.Duration // a request each; three servers of one slot take .1 s for one
		most float32       // leases that a server has at most
	}{
		{50 * time.Microsecond, 50 * time.Millisecond, 1}, // no request waits for long
		{20 * time.Millisecond, 50 * time.Millisecond, 2}, // a slot would be idle for a fifth of its time
		{5 * time.Microsecond, 25 * time.Millisecond, 1},  // all is late, but next to nothing is won
		{2 * time.Millisecond, 25 * time.Millisecond, 2},  // all is late
	} {
		t.Run(fmt.Sprint(c.trip, c.gap), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, 1))
			most := float32(0)
			var s *station
			s = newStation(t, 1, func(id ServerID, n int) float64 {
				if s.now > second.Add(70*time.Second) { // what the trip is has been learnt
					for _, server := range s.p.servers { // less what limits grow by while requests wait
						most = max(most, server.limit-float32(math.Floor(server.stretch)))
					}
				}
				return .1 * max(1, float64(n)) * noise(rng)
			})
			s.trip = c.trip
			s.serve(2000, c.gap)
			if most != c.most {
				t.Errorf("a server has a limit of up to %v, want %v", most, c.most)
			}
		})
	}
}

// Where all servers are out all are tried, also by those who come while others wait since a time when they were full.
func TestServersThatAreOutAreTriedThoughOthersWait(t *testing.T) {
	p := New(Config{Name: "p", QueueSize: 10}, ByScore{nothing{}}, 1)
	if err := p.Put(second, ServerSpec{ID: "a", Address: "127.0.0.1:80", Slots: 1}, true); err != nil {
		t.Fatal(err)
	}
	now := second.Add(time.Minute)
	if _, err := p.Pick(now, &Request{}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Pick(now, &Request{}); err == nil {
		t.Fatal("a server of one slot takes two")
	}
	if _, _, refusal := p.Join(now, &Request{}); refusal != nil {
		t.Fatal(refusal)
	}
	if _, err := p.SetHealth(now, "a", ByMaster, "refuses"); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Pick(now, &Request{}); err != nil {
		t.Errorf("%v while one waits, want the server that is out", err)
	}
}
