package balance

import (
	"fmt"
	"math"
	"net"
	"strconv"
	"time"
)

// ServerSpec is what is declared of a server, in the file, by its agent or on the command line.
type ServerSpec struct {
	ID       ServerID
	Address  string  // host:port
	Public   string  // base URL that redirected clients can reach; empty: http:// and Address
	Slots    float64 // how many requests it works on at once; zero: not declared
	Speed    float64 // of one slot, relative to the pool's others; zero: 1
	Labels   []Label
	Location string
}

// Validate calls bad once for every field that makes the spec unusable.
func (s *ServerSpec) Validate(bad func(field, problem string)) {
	if s.ID == "" || len(s.ID) > 255 {
		bad("id", fmt.Sprintf("%d bytes, want 1 to 255", len(s.ID)))
	}
	if problem := badAddress(s.Address); problem != "" {
		bad("address", problem)
	}
	if !(s.Slots >= 0 && s.Slots <= 1e6) {
		bad("slots", fmt.Sprintf("%v, want 0 (not declared) to 1000000", s.Slots))
	}
	if !(s.Speed >= 0 && s.Speed <= 1e6) {
		bad("speed", fmt.Sprintf("%v, want 0 (as the others) to 1000000", s.Speed))
	}
}

func badAddress(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return fmt.Sprintf("%q, want host:port, such as 10.0.0.5:8000", address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Sprintf("%q: port %q, want 1 to 65535", address, port)
	}
	return ""
}

// Server is a pool's record of one server. Policies read it; only its Pool writes it.
type Server struct {
	spec     ServerSpec
	index    int // where it stands in Pool.servers
	fixed    bool
	draining bool
	gone     bool

	leases int // own outstanding: open leases on it
	usage  usage
	load   external
	health health

	granted uint64
	metrics []reading
}

// reading is the last value of one metric.
type reading struct {
	Metric
	at Instant
}

// ID returns the server's id.
func (s *Server) ID() ServerID { return s.spec.ID }

// Spec returns what was declared of the server. Its slices are shared: do not write to them.
func (s *Server) Spec() ServerSpec { return s.spec }

// Leases returns the number of open leases on the server: exact, and only ours.
func (s *Server) Leases() int { return s.leases }

// Load returns n, the requests in flight at the server: ours by the ledger, and
// everybody else's as far as reports tell.
func (s *Server) Load(now Instant) float64 { return float64(s.leases) + s.load.at(now) }

// Slots returns c, how many requests the server works on at once, and whether that
// is known; if not it is 1.
func (s *Server) Slots() (c float64, known bool) {
	if s.spec.Slots > 0 {
		return s.spec.Slots, true
	}
	return 1, false
}

// Service returns b, the time of one request alone at this server, relative to the
// pool's other servers.
func (s *Server) Service() float64 { return 1 / s.Speed() }

// Speed returns the declared speed of one slot, 1 if none was declared.
func (s *Server) Speed() float64 {
	if s.spec.Speed > 0 {
		return s.spec.Speed
	}
	return 1
}

// Weight returns the throughput the server is good for, relative to the pool's others.
func (s *Server) Weight() float64 {
	c, _ := s.Slots()
	return c / s.Service()
}

// Success returns sr, the share of recent requests that did not fail by the
// server's fault, from .01 to 1.
func (s *Server) Success() float64 { return s.health.success }

// State returns whether the server may be given work.
func (s *Server) State(now Instant) State {
	switch {
	case s.gone:
		return Gone
	case s.draining:
		return Draining
	case now < s.health.ejectedUntil:
		return Ejected
	}
	return Up
}

// Metric returns the last reported value of a metric and its age.
func (s *Server) Metric(now Instant, name string) (value float64, age time.Duration, ok bool) {
	for i := range s.metrics {
		if s.metrics[i].Name == name {
			return s.metrics[i].Value, now.Sub(s.metrics[i].at), true
		}
	}
	return 0, 0, false
}

func (s *Server) carries(labels []Label) bool {
	for _, want := range labels {
		found := false
		for _, have := range s.spec.Labels {
			found = found || have == want
		}
		if !found {
			return false
		}
	}
	return true
}

// usage integrates the leases over time, to tell their mean between two reports.
type usage struct {
	area  float64 // lease-seconds since from
	from  Instant
	since Instant // leases has been constant since then
}

func (u *usage) step(now Instant, leases int) {
	u.area += float64(leases) * now.Sub(u.since).Seconds()
	u.since = now
}

// mean ends the window and returns the mean over it.
func (u *usage) mean(now Instant, leases int) float64 {
	u.step(now, leases)
	window := now.Sub(u.from).Seconds()
	mean := float64(leases)
	if window > 0 {
		mean = u.area / window
	}
	u.area, u.from = 0, now
	return mean
}

// external estimates x, the load that our ledger does not know of: other
// balancers' requests, direct traffic, a neighbour on the machine.
type external struct {
	x        float64
	reported Instant       // when x was last corrected; zero: never
	interval time.Duration // moving average of the time between reports
}

const externalGain = .2

// correct takes a sample of x from a report. The first one counts in full.
func (e *external) correct(now Instant, sample float64) {
	sample = max(0, sample)
	if e.reported == 0 {
		*e = external{x: sample, reported: now, interval: time.Second}
		return
	}
	e.x = e.at(now)
	e.x += externalGain * (sample - e.x)
	e.interval += time.Duration(externalGain * float64(min(now.Sub(e.reported), 10*time.Second)-e.interval))
	e.reported = now
}

// at returns x: it halves with every 5 reports that should have come and did not,
// so a server is neither shunned nor trusted for long on an old word.
func (e *external) at(now Instant) float64 {
	if e.x == 0 {
		return 0
	}
	late := now.Sub(e.reported) - e.interval
	if late <= 0 {
		return e.x
	}
	return e.x * math.Exp2(-float64(late)/float64(5*max(e.interval, 10*time.Millisecond)))
}
