package agent

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// board holds the server's last known metrics, and which of them have been reported to the masters.
type board struct {
	readings []reading     // in order of first appearance, at most balance.MaxMetrics
	window   time.Duration // that the CPU's utilisation is a mean over, where we have sampled it
}

type reading struct {
	balance.Metric
	at    balance.Instant
	level bool    // holds until the next push; a sample stands for its moment only
	due   bool    // a sample that no report has carried yet
	sent  float64 // the value that the last report had
}

// levelLife is how long a level holds without another push, and how long a sample of
// the requests in flight is reckoned with.
const levelLife = 10 * time.Second

// believable reports whether a value may stand in a report.
func believable(v float64) bool { return v >= 0 && v <= 1e15 }

// put takes samples or levels read at now. Values that cannot be are dropped, and so
// is a sample of what the application has told us itself. It returns the names of
// those that cannot be and of those for which there is no room.
func (b *board) put(now balance.Instant, level bool, metrics []balance.Metric) (dropped []string) {
	for _, m := range metrics {
		i := slices.IndexFunc(b.readings, func(r reading) bool { return r.Name == m.Name })
		switch {
		case !believable(m.Value), i < 0 && !b.room(now):
			dropped = append(dropped, m.Name)
			continue
		case i < 0:
			b.readings = append(b.readings, reading{})
			i = len(b.readings) - 1
		case !level && b.readings[i].level && b.readings[i].live(now):
			continue
		}
		b.readings[i] = reading{Metric: m, at: now, level: level, due: !level, sent: b.readings[i].sent}
	}
	return dropped
}

// room makes room for one more reading, if there is a dead one to give up.
func (b *board) room(now balance.Instant) bool {
	if len(b.readings) < balance.MaxMetrics {
		return true
	}
	b.readings = slices.DeleteFunc(b.readings, func(r reading) bool { return !r.live(now) })
	return len(b.readings) < balance.MaxMetrics
}

func (r *reading) live(now balance.Instant) bool { return now.Sub(r.at) < levelLife }

// next returns the indices of the readings that a report made now would have.
//
// Without a count of the requests in flight a master estimates it from utilisation.
// So while such a count is sampled less often than reports are made, utilisation
// waits for it: the estimate would undo what the count has told.
func (b *board) next(now balance.Instant, keep []int) []int {
	counts := false
	for _, r := range b.readings {
		counts = counts || r.Name == balance.InFlight && !r.level && !r.due && r.live(now)
	}
	for i := range b.readings {
		r := &b.readings[i]
		if !(r.due || r.level && r.live(now)) || counts && weighed(r.Name) {
			continue
		}
		keep = append(keep, i)
	}
	return keep
}

func weighed(name string) bool {
	return name == balance.CPUUtilization || name == balance.ApplicationUtilization || name == balance.QueueDepth
}

// urgent reports whether a report made now would differ much from the last one.
func (b *board) urgent(now balance.Instant) bool {
	var room [balance.MaxMetrics]int
	return slices.ContainsFunc(b.next(now, room[:0]), func(i int) bool { return b.readings[i].moved() })
}

func (r *reading) moved() bool {
	change := math.Abs(r.Value - r.sent)
	switch {
	case r.Name == balance.InFlight:
		return change > max(1, r.sent/10)
	case strings.HasSuffix(r.Name, "_utilization"), strings.HasPrefix(r.Name, "utilization."):
		return change > .1
	}
	return false
}

// take returns what a report made now says, its age, and the time that its utilisation is a
// mean over; zero: not known. The caller owns the metrics.
func (b *board) take(now balance.Instant) (metrics []balance.Metric, age, window time.Duration) {
	var room [balance.MaxMetrics]int
	next := b.next(now, room[:0])
	if len(next) == 0 {
		return nil, 0, 0
	}
	metrics = make([]balance.Metric, 0, len(next))
	app := false
	for _, i := range next {
		r := &b.readings[i]
		metrics = append(metrics, r.Metric)
		if r.due {
			age = max(age, now.Sub(r.at))
		}
		if r.Name == balance.CPUUtilization && !r.level {
			window = b.window
		}
		app = app || r.Name == balance.ApplicationUtilization
		r.due, r.sent = false, r.Value
	}
	if app { // the application's utilisation is the one used, and its window is unknown
		window = 0
	}
	return metrics, age, window
}

// canonical returns the full name of a metric that the application or the
// configuration may have named in short.
func canonical(name string) string {
	switch name {
	case balance.CPUUtilization, balance.MemUtilization, balance.ApplicationUtilization, balance.RPS, balance.EPS:
		return name
	}
	for _, prefix := range []string{"named_metrics.", "utilization.", "request_cost."} {
		if strings.HasPrefix(name, prefix) {
			return name
		}
	}
	return "named_metrics." + name
}
