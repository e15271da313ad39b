package agent

import (
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// m is a metric that tables can write without its fields' names.
type m balance.Metric

func list(ms ...m) (out []balance.Metric) {
	for _, one := range ms {
		out = append(out, balance.Metric(one))
	}
	return out
}

const ms = balance.Instant(time.Millisecond)

// expect takes a report off the board and compares.
func expect(t *testing.T, b *board, now balance.Instant, age time.Duration, want ...m) {
	t.Helper()
	got, gotAge, _ := b.take(now)
	if !reflect.DeepEqual(got, list(want...)) || gotAge != age {
		t.Errorf("report at %d ms: got %v aged %v, want %v aged %v", now/ms, got, gotAge, want, age)
	}
}

func TestBoardSendsSamplesOnce(t *testing.T) {
	var b board
	b.put(100*ms, false, list(m{"cpu_utilization", .5}, m{"eps", 1}))
	b.put(140*ms, false, list(m{"eps", 2}))
	expect(t, &b, 150*ms, 50*time.Millisecond, m{"cpu_utilization", .5}, m{"eps", 2})
	expect(t, &b, 160*ms, 0)
}

func TestBoardHoldsLevels(t *testing.T) {
	var b board
	b.put(100*ms, true, list(m{balance.InFlight, 3}))
	expect(t, &b, 200*ms, 0, m{balance.InFlight, 3})
	b.put(290*ms, false, list(m{balance.InFlight, 7}, m{"eps", 1}))
	expect(t, &b, 300*ms, 10*time.Millisecond, m{balance.InFlight, 3}, m{"eps", 1})
	expect(t, &b, 100*ms+balance.Instant(levelLife), 0)
	b.put(100*ms+balance.Instant(levelLife), false, list(m{balance.InFlight, 7}))
	expect(t, &b, 100*ms+balance.Instant(levelLife), 0, m{balance.InFlight, 7})
}

func TestBoardUtilisationWaitsForASlowCount(t *testing.T) {
	var b board
	b.put(100*ms, false, list(m{balance.InFlight, 3}, m{"cpu_utilization", .5}, m{"mem_utilization", .1}))
	expect(t, &b, 100*ms, 0, m{balance.InFlight, 3}, m{"cpu_utilization", .5}, m{"mem_utilization", .1})
	b.put(200*ms, false, list(m{"cpu_utilization", .9}, m{"mem_utilization", .1}))
	if b.urgent(200 * ms) {
		t.Error("a utilisation that waits is urgent, which would make reports that do not have it")
	}
	expect(t, &b, 200*ms, 0, m{"mem_utilization", .1})
	b.put(300*ms, false, list(m{balance.InFlight, 4}))
	expect(t, &b, 300*ms, 100*time.Millisecond, m{balance.InFlight, 4}, m{"cpu_utilization", .9})
	late := 300*ms + balance.Instant(levelLife) // the count's source is silent
	b.put(late, false, list(m{"cpu_utilization", .7}))
	expect(t, &b, late, 0, m{"cpu_utilization", .7})
}

func TestBoardUrgency(t *testing.T) {
	for _, test := range []struct {
		name       string
		sent, then float64
		urgent     bool
	}{
		{balance.InFlight, 3, 4, false},
		{balance.InFlight, 3, 5, true},
		{balance.InFlight, 5, 3, true},
		{balance.InFlight, 100, 110, false},
		{balance.InFlight, 100, 111, true},
		{balance.CPUUtilization, .5, .59, false},
		{balance.CPUUtilization, .5, .61, true},
		{balance.ApplicationUtilization, .5, .2, true},
		{"utilization.disk", .5, .7, true},
		{"named_metrics.anything", 1, 1000, false},
	} {
		var b board
		b.put(ms, true, list(m{test.name, test.sent}))
		b.take(ms)
		b.put(2*ms, true, list(m{test.name, test.then}))
		if got := b.urgent(2 * ms); got != test.urgent {
			t.Errorf("%s from %v to %v: urgent %v, want %v", test.name, test.sent, test.then, got, test.urgent)
		}
		b.take(2 * ms)
		if b.urgent(2 * ms) {
			t.Errorf("%s from %v to %v: still urgent after the report", test.name, test.sent, test.then)
		}
	}
}

func TestBoardDropsTheImpossible(t *testing.T) {
	var b board
	bad := list(m{"a", math.NaN()}, m{"b", -1}, m{"c", math.Inf(1)}, m{"d", 1e16}, m{"e", 1})
	if got, want := b.put(ms, true, bad), []string{"a", "b", "c", "d"}; !reflect.DeepEqual(got, want) {
		t.Errorf("dropped %v, want %v", got, want)
	}
	expect(t, &b, ms, 0, m{"e", 1})
	for i := range balance.MaxMetrics - 1 {
		b.put(ms, true, list(m{fmt.Sprint("x", i), 1}))
	}
	if got := b.put(ms, true, list(m{"more", 1})); len(got) != 1 {
		t.Errorf("one metric too many: dropped %v", got)
	}
	later := ms + balance.Instant(levelLife)
	if got := b.put(later, true, list(m{"more", 1})); len(got) != 0 {
		t.Errorf("dropped %v although the others are dead", got)
	}
	expect(t, &b, later, 0, m{"more", 1})
}

// TestBoardProperties: whatever is put, reports stay within bounds, and a board
// with nothing new is silent but for its levels.
func TestBoardProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b board
		now := ms
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			now += balance.Instant(rapid.Int64Range(0, int64(6*time.Second)).Draw(t, "wait"))
			name := rapid.SampledFrom([]string{balance.InFlight, balance.CPUUtilization, balance.QueueDepth, "named_metrics.x"}).Draw(t, "name")
			b.put(now, rapid.Bool().Draw(t, "level"), list(m{name, rapid.Float64().Draw(t, "value")}))
			if !rapid.Bool().Draw(t, "report") {
				continue
			}
			metrics, age, _ := b.take(now)
			seen := make(map[string]bool)
			for _, m := range metrics {
				if seen[m.Name] || !believable(m.Value) {
					t.Fatalf("report %v has %q twice or an impossible value", metrics, m.Name)
				}
				seen[m.Name] = true
			}
			if age < 0 {
				t.Fatalf("age %v", age)
			}
			if b.urgent(now) {
				t.Fatalf("urgent right after the report %v", metrics)
			}
		}
	})
}

func TestWindowIsThatOfTheUtilisationThatCounts(t *testing.T) {
	cpu, app := m{balance.CPUUtilization, .5}, m{balance.ApplicationUtilization, .5}
	for _, test := range []struct {
		name    string
		sampled []balance.Metric
		pushed  []balance.Metric
		want    time.Duration
	}{
		{"sampled", list(cpu), nil, 500 * time.Millisecond},
		{"none", list(m{balance.MemUtilization, .5}), nil, 0},
		{"told by the application", list(cpu), list(cpu), 0},
		{"the application's beside it", list(cpu), list(app), 0},
	} {
		b := board{window: 500 * time.Millisecond}
		b.put(100*ms, true, test.pushed)
		b.put(100*ms, false, test.sampled)
		if _, _, window := b.take(100 * ms); window != test.want {
			t.Errorf("%s: a window of %v, want %v", test.name, window, test.want)
		}
	}
}
