package balance

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// ServerSpec is what is declared of a server, in the file, by its agent or on the command line.
type ServerSpec struct {
	ID       ServerID
	Address  string  // host:port, or https://host:port
	Public   string  // base URL that redirected clients can reach; empty: http:// and Address
	Slots    float64 // how many requests it works on at once; zero: not declared
	Speed    float64 // of one slot, relative to the pool's others; zero: 1
	Labels   []Label
	Location string
}

// Validate calls bad once for every field that makes the spec unusable.
func (s *ServerSpec) Validate(bad func(field, problem string)) {
	if s.ID == "" || len(s.ID) > maxID {
		bad("id", fmt.Sprintf("%d bytes, want 1 to %d", len(s.ID), maxID))
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

const maxID = 255 // bytes

// secureScheme begins the address of a server that speaks TLS.
const secureScheme = "https://"

// SplitAddress takes the scheme off a server's address: whether it speaks TLS, and
// where it is reached.
func SplitAddress(address string) (secure bool, hostPort string) {
	hostPort, secure = strings.CutPrefix(address, secureScheme)
	return secure, hostPort
}

// BaseURL is the URL of a server's root.
func BaseURL(address string) string {
	if secure, _ := SplitAddress(address); secure {
		return address
	}
	return "http://" + address
}

func badAddress(address string) string {
	_, hostPort := SplitAddress(address)
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil || host == "" {
		return fmt.Sprintf("%q, want host:port, such as 10.0.0.5:8000, or https://host:port", address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Sprintf("%q: port %q, want 1 to 65535", address, port)
	}
	return ""
}

// Server is a pool's record of one server. Policies read it; only its Pool writes it.
//
// What every pick and done reads stands here, in three cache lines: among thousands of
// servers it is memory that a decision waits for.
type Server struct {
	index     int32 // where it stands in Pool.servers
	leases    int32 // own outstanding: open leases on it
	fixed     bool
	draining  bool
	gone      bool
	reporting bool    // a report has told of its load
	limit     float32 // L, infinite for none
	granted   uint64  // leases ever
	capacity  capacity
	service   float64 // b in seconds, of pace and the pool's prior when it was last brought up to date
	speed     float64 // the declared one, 1 if none was
	health    health
	load      external
	pace      pace
	*details
	pool   *Pool
	answer answer
}

// answer is what an edge is told of a server.
type answer struct {
	id              ServerID
	address, public string
	serial          uint32 // changes with the others
}

// details is what is needed of a server less often.
type details struct {
	spec     ServerSpec
	warmFrom Instant // when it joined or came back
	stretch  float64 // learnt addition to its limit
	delay    float64 // moving average of log(latency / b)
	usage    usage
	slots    slots
	knee     knee
	memory   memory
	metrics  []reading
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
func (s *Server) Leases() int { return int(s.leases) }

// Load returns n, the requests in flight at the server: ours by the ledger, and
// everybody else's as far as reports tell.
func (s *Server) Load(now Instant) float64 {
	if s.load.x <= 0 {
		return float64(s.leases)
	}
	return float64(s.leases) + s.load.faded(now)
}

// Success returns sr, the share of recent requests that did not fail by the
// server's fault, from .01 to 1.
func (s *Server) Success() float64 { return float64(s.health.success) }

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

func (u *usage) step(now Instant, leases int32) {
	u.area += float64(leases) * seconds(now.Sub(u.since))
	u.since = now
}

// mean ends the window and returns the mean over it.
func (u *usage) mean(now Instant, leases int32) float64 {
	u.step(now, leases)
	window := seconds(now.Sub(u.from))
	mean := float64(leases)
	if window > 0 {
		mean = u.area / window
	}
	u.area, u.from = 0, now
	return mean
}
