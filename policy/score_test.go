package policy_test

import (
	"math"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/policy"
)

func near(got, want float64) bool { return math.Abs(got-want) <= 1e-6*math.Abs(want) } // success rates are of 32 bits

// The score of docs/choosing.md: b·(1 + .03·n/c) up to the slots, b·(2.5·n + 1)/c beyond, b·(n + ½)/c where slots are not known, and all
// of it over the square of the success rate.
func TestScoreOfLeastLoad(t *testing.T) {
	for _, c := range []struct {
		name   string
		server given
		want   float64
	}{
		{"idle", given{server("a", 4, 0), 0, 0}, 1},
		{"takes the last slot", given{server("a", 4, 0), 3, 0}, 1 + .03*3/4},
		{"one more than slots", given{server("a", 4, 0), 4, 0}, (2.5*4 + 1) / 4},
		{"twice as many as slots", given{server("a", 4, 0), 8, 0}, (2.5*8 + 1) / 4},
		{"one slot, taken", given{server("a", 1, 0), 1, 0}, 2.5 + 1},
		{"twice as fast", given{server("a", 4, 2), 4, 0}, (2.5*4 + 1) / 4 / 2},
		{"slots not known, idle", given{server("a", 0, 0), 0, 0}, .5},
		{"slots not known, two requests", given{server("a", 0, 0), 2, 0}, 2.5},
		{"one fault", given{server("a", 4, 0), 0, 1}, 1 / (.95 * .95)},
		{"two faults", given{server("a", 4, 0), 0, 2}, 1 / math.Pow(.95, 4)},
		{"one fault, slots not known", given{server("a", 0, 0), 1, 1}, 1.5 / (.95 * .95)},
	} {
		s := candidates(t, c.server, given{ServerSpec: server("other", 0, 0)})[0]
		if got := (policy.LeastLoad{}).Score(lookedAt, s); !near(got, c.want) {
			t.Errorf("%s: score %v, want %v", c.name, got, c.want)
		}
	}
}

// What others have at a server is an estimate. A little more than the slots by it is still within them.
func TestAnEstimateALittleOverTheSlotsIsWithinThem(t *testing.T) {
	for present, within := range map[float64]bool{3.2: true, 3.5: false} {
		c := new(catch)
		p := balance.New(balance.Config{Name: "web"}, c, 1)
		if err := p.Put(second, server("a", 4, 0), true); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := p.Pick(lookedAt, &balance.Request{Edge: "e"}); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Report(lookedAt, &balance.Report{Server: "a", Metrics: []balance.Metric{{Name: balance.InFlight, Value: present}}}); err != nil {
			t.Fatal(err)
		}
		if n := c.seen[0].Load(lookedAt); !near(n, present) {
			t.Fatalf("%v requests are believed to be there, want the %v that were told", n, present)
		}
		if got := (policy.LeastLoad{}).Score(lookedAt, c.seen[0]); (got < 1.1) != within {
			t.Errorf("beside %v requests at 4 slots the score is %v, want that of a request within the slots: %t", present, got, within)
		}
	}
}

// Sessions compares how full servers would be: (n + 1) over slots, speed and the square of the success rate.
func TestScoreOfSessions(t *testing.T) {
	for _, c := range []struct {
		name   string
		server given
		want   float64
	}{
		{"idle", given{server("a", 4, 0), 0, 0}, 1. / 4},
		{"three sessions", given{server("a", 4, 0), 3, 0}, 1},
		{"more sessions than slots", given{server("a", 4, 0), 7, 0}, 2},
		{"twice as fast", given{server("a", 4, 2), 3, 0}, .5},
		{"one fault", given{server("a", 4, 0), 3, 1}, 1 / (.95 * .95)},
	} {
		s := candidates(t, c.server, given{ServerSpec: server("other", 4, 0)})[0]
		if got := (policy.Sessions{}).Score(lookedAt, s); !near(got, c.want) {
			t.Errorf("%s: score %v, want %v", c.name, got, c.want)
		}
	}
}
