package balance

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Names of the metrics that the core itself understands. They are ORCA's
// (xds.data.orca.v3.OrcaLoadReport), without units where ORCA has none; anything
// else is kept, shown and open to a pool's own formula.
const (
	CPUUtilization         = "cpu_utilization"         // fraction of the CPU available to the server; may exceed 1
	MemUtilization         = "mem_utilization"         // fraction of memory, 0 to 1
	ApplicationUtilization = "application_utilization" // how full the application says it is; may exceed 1
	RPS                    = "rps_fractional"          // requests a second, of everybody
	EPS                    = "eps"                     // errors a second, of everybody
	InFlight               = "named_metrics.in_flight" // requests being worked on or waiting at the server, of everybody
	QueueDepth             = "named_metrics.queue"     // requests waiting at the server, if InFlight does not count them
)

// MaxMetrics is how many metrics one report may carry and one server may have.
const MaxMetrics = 64

// MaxMetricName is the longest name of a metric, in bytes.
const MaxMetricName = 128

// Metric is one named load figure.
type Metric struct {
	Name  string
	Value float64
}

// Report is what is known of one server's load at one time.
type Report struct {
	Server  ServerID
	Age     time.Duration // how old the figures are on arrival
	Window  time.Duration // that the utilisations are means over, up to when the figures were taken; zero: not known
	Metrics []Metric
}

// Sane splits a report's metrics into those that can be believed, clamped where
// their meaning sets a bound, and an error that names the others. A figure that is
// NaN, infinite, negative or beyond 1e15 is not clamped but dropped: the sender of
// it is broken, and any number in its stead would be ours, not the server's.
func (r *Report) Sane(keep []Metric) ([]Metric, error) {
	var bad error
	for i, m := range r.Metrics {
		if problem := impossible(m); problem != "" {
			bad = fmt.Errorf("report from server %s: metric %q: %s", r.Server, clip(m.Name), problem)
			continue
		}
		if i >= MaxMetrics {
			return keep, fmt.Errorf("report from server %s: %d metrics, at most %d are kept", r.Server, len(r.Metrics), MaxMetrics)
		}
		if m.Name == MemUtilization {
			m.Value = min(m.Value, 1)
		}
		keep = append(keep, m)
	}
	return keep, bad
}

func impossible(m Metric) string {
	switch {
	case m.Name == "":
		return "has no name"
	case len(m.Name) > MaxMetricName:
		return fmt.Sprintf("name of %d bytes, at most %d", len(m.Name), MaxMetricName)
	case !isPlain(m.Name):
		if problem := BadText(m.Name, MaxMetricName); problem != "" {
			return "name " + problem
		}
	}
	switch {
	case math.IsNaN(m.Value), math.IsInf(m.Value, 0):
		return fmt.Sprintf("%v is not a number", m.Value)
	case m.Value < 0:
		return fmt.Sprintf("%v is negative", m.Value)
	case m.Value > 1e15:
		return fmt.Sprintf("%v is beyond 1e15", m.Value)
	}
	return ""
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

// Report takes what is known of a server's load. What can be believed is kept even
// if the error names something that cannot. A *Contradiction says that what is told of the
// server contradicts itself, now and then for as long as it does.
func (p *Pool) Report(now Instant, r *Report) error {
	s := p.byID[r.Server]
	if s == nil {
		return fmt.Errorf("report from server %q, which is not in pool %s", clip(string(r.Server)), p.cfg.Name)
	}
	if r.Age < 0 || r.Age > time.Hour {
		return fmt.Errorf("report from server %s: age %v, want 0 to 1 h", r.Server, r.Age)
	}
	if r.Window < 0 || r.Window > time.Hour {
		return fmt.Errorf("report from server %s: window %v, want 0 (not known) to 1 h", r.Server, r.Window)
	}
	var keep [MaxMetrics]Metric
	sane, err := r.Sane(keep[:0])
	if problem := p.reported(now, s, r, sane); problem != nil {
		err = problem
	}
	for _, c := range s.counterparts() {
		_ = c.pool.reported(now, c, r, sane) // as above
	}
	if len(r.Metrics) == 0 {
		return nil
	}
	if err == nil {
		if c := s.contradiction(now); c != nil {
			return c
		}
	}
	return err
}

// reported takes what is sane of a report of the server's load.
func (p *Pool) reported(now Instant, s *Server, r *Report, sane []Metric) (err error) {
	if r.isSign() {
		at := now
		if len(r.Metrics) == 0 {
			at = now.Add(-r.Age)
		}
		p.alive(now, s, at)
	}
	if len(r.Metrics) == 0 {
		return nil
	}
	if s.evidence == silence {
		s.evidence = new(evidence)
	}
	taken := now.Add(-r.Age)
	for i, m := range sane {
		if !s.take(i, m, taken) {
			err = fmt.Errorf("report from server %s: metric %q: it has %d others already, the most that are kept", r.Server, clip(m.Name), MaxMetrics)
		}
	}
	s.weigh(now, r, sane)
	p.rank(now, s)
	return err
}

// take keeps one figure, unless a newer one is known. It returns false if there is no
// room for another name. The figure most often stands where it stood in the last report.
func (s *Server) take(at int, m Metric, taken Instant) bool {
	if at >= len(s.metrics) || s.metrics[at].Name != m.Name {
		at = slices.IndexFunc(s.metrics, func(have reading) bool { return have.Name == m.Name })
	}
	switch {
	case at < 0 && len(s.metrics) == MaxMetrics:
		return false
	case at < 0:
		m.Name = s.pool.intern(m.Name)
		s.metrics = append(s.metrics, reading{m, taken})
	case taken >= s.metrics[at].at:
		s.metrics[at].Value, s.metrics[at].at = m.Value, taken
	}
	return true
}

// intern returns a copy of a metric's name that all servers share, as far as names are
// few enough to be meant.
func (p *Pool) intern(name string) string {
	if own, ok := p.names[name]; ok {
		return own
	}
	name = strings.Clone(name)
	if len(p.names) < mostNames {
		p.names[name] = name
	}
	return name
}

const mostNames = 4096

// weigh corrects x and c by what a report says of everybody's load. A count of
// requests is best. Failing that, the utilisation which our own leases do not explain
// stands for as many requests as a processor-sharing server with such a utilisation has,
// unless it has turned out to have nothing to do with our leases.
func (s *Server) weigh(now Instant, r *Report, metrics []Metric) {
	count, utilization, vague := facts(metrics)
	if formula := s.pool.cfg.Utilization; formula != nil {
		utilization, vague = s.combined(now, formula), false
	}
	if count < 0 && utilization < 0 {
		return
	}
	first := !s.reporting
	if first {
		s.reporting = true
		s.usage.begin(now, s.capacity.slots)
		s.slots.taken = now.Add(-r.Age)
	}
	s.settle(now)
	if s.leases > 0 || s.load.x <= 0 {
		s.touched(now)
	}
	s.counted = count >= 0 || s.counted && now.Sub(s.load.reported) < countHolds
	if utilization >= 0 {
		s.slots.vague = vague
		s.compare(now, r, utilization, first)
	}
	if count >= 0 {
		s.voice.report(now, count, float64(s.leases), s.mean())
		s.correct(now, count-float64(s.leases), s.freshness(r.Age))
	}
}

// compare holds a utilisation against the ledger over the same time. first says that it is the
// first report.
func (s *Server) compare(now Instant, r *Report, utilization float64, first bool) {
	taken := now.Add(-r.Age)
	gap := taken.Sub(s.slots.taken)
	s.slots.taken = taken
	window := r.Window
	if window == 0 {
		window = gap
		s.usage.mark(now)
	}
	s.usage.every = max(leastEvery, window/marksAWindow)
	own, known := s.usage.mean(taken.Add(-window), taken)
	known = known && (r.Window > 0 || !overdue(gap, s.load.usual()))
	if known {
		s.agrees.observe(utilization, own, min(seconds(window), seconds(gap)))
	}
	if first { // nothing is remembered yet, and what is there now will have to do
		own, known = min(1, s.crowd(now)/s.usage.slots), true
	}
	s.slots.reported(utilization, r.Window, s.load.usual())
	if c := s.slots.learnt; c > 0 && math.Abs(c/s.usage.slots-1) > recount {
		s.usage.begin(now, c)
		s.agrees = agreement{verdict: s.agrees.verdict}
	}
	s.pool.survey(s)
	if s.counted {
		return
	}
	sample := 0.
	switch {
	case s.agrees.verdict == contradict:
	case !known:
		sample = s.load.faded(now)
	default:
		most := mostBelieved
		if s.slots.vague {
			most = mostBelievedCPU
		}
		rest := max(-most, min(utilization-own, most))
		sample = s.capacity.slots * rest / (1 - rest)
	}
	s.correct(now, sample, s.freshness(r.Age))
}

// recount is how far learnt slots may move, as a part, before the ledger is counted anew by them.
const recount = .2

// combined returns what the pool's formula makes of the server's metrics, -1 if nothing.
func (s *Server) combined(now Instant, formula func(func(string) (float64, bool)) (float64, bool)) float64 {
	u, ok := formula(func(name string) (float64, bool) {
		value, _, ok := s.Metric(now, name)
		return value, ok
	})
	if !ok || !(u >= 0 && u <= 1e15) {
		return -1
	}
	return u
}

// How much of a utilisation that our own leases do not explain is taken for other requests.
// Beyond it queue lengths say little, and a CPU that other programs use is no queue at all: its
// server counts as one that is full.
const (
	mostBelieved    = .75
	mostBelievedCPU = .5
)

// facts reads a report: requests present and utilisation, each -1 if not told, and
// whether the utilisation is only that of the CPU, which others may use too.
func facts(metrics []Metric) (count, utilization float64, vague bool) {
	count = -1
	var queue, cpu, app float64 = -1, -1, -1
	for _, m := range metrics {
		switch m.Name {
		case InFlight:
			count = m.Value
		case QueueDepth:
			queue = m.Value
		case CPUUtilization:
			cpu = m.Value
		case ApplicationUtilization:
			app = m.Value
		}
	}
	if count >= 0 && queue > 0 {
		count += queue
	}
	if app >= 0 {
		return count, app, false
	}
	return count, cpu, true
}
