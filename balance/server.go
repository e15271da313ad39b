package balance

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ServerSpec is what is declared of a server, in the file, by its agent or on the command line.
type ServerSpec struct {
	ID       ServerID
	Address  string  // host:port, https://host:port or unix:/path
	Public   string  // base URL that redirected clients can reach; empty: http:// and Address
	Slots    float64 // how many requests it works on at once; zero: not declared
	Speed    float64 // of one slot, relative to the pool's others; zero: 1
	Labels   []Label
	Location string

	MaxInFlight int  // cap: it never has more requests than that; zero: none
	Backup      bool // it gets only requests that would be refused otherwise
}

// Validate calls bad once for every field that makes the spec unusable.
func (s *ServerSpec) Validate(bad func(field, problem string)) {
	if problem := BadName(string(s.ID)); problem != "" {
		bad("id", problem)
	}
	if problem := BadAddress(s.Address); problem != "" {
		bad("address", problem)
	}
	if s.Public != "" {
		if problem := BadPublic(s.Public); problem != "" {
			bad("public", problem)
		}
	}
	if problem := BadText(s.Location, MaxName); problem != "" {
		bad("location", problem)
	}
	validateLabels(s.Labels, bad)
	if !(s.Slots == 0 || s.Slots >= leastSlots && s.Slots <= mostSlots) {
		bad("slots", fmt.Sprintf("%v, want %v to %d, or 0 if they are not known", s.Slots, leastSlots, mostSlots))
	}
	if s.MaxInFlight < 0 || s.MaxInFlight > MostInFlight {
		bad("max_in_flight", fmt.Sprintf("%d, want 1 to %d; leave it out for no cap", s.MaxInFlight, MostInFlight))
	}
	if !(s.Speed == 0 || s.Speed >= leastSpeed && s.Speed <= 1e6) {
		bad("speed", fmt.Sprintf("%v, want %v to 1000000, such as 2 for twice as fast as the others; leave it out if it is as fast as they are", s.Speed, leastSpeed))
	}
}

// What is less cannot be meant, and is too little to calculate with.
const (
	leastSlots = .001
	leastSpeed = 1e-6
)

const mostSlots = 1_000_000

// Check returns all that Validate finds, or nil.
func (s *ServerSpec) Check() error {
	var problems []error
	s.Validate(func(field, problem string) {
		problems = append(problems, fmt.Errorf("server %q: %s: %s", clip(string(s.ID)), field, problem))
	})
	return errors.Join(problems...)
}

// secureScheme begins the address of a server that speaks TLS.
const secureScheme = "https://"

// SplitAddress takes the scheme off a server's address: whether it speaks TLS, and
// where it is reached.
func SplitAddress(address string) (secure bool, hostPort string) {
	hostPort, secure = strings.CutPrefix(address, secureScheme)
	return secure, hostPort
}

// BaseURL is the URL of a server's root; empty for a unix socket, which has none.
func BaseURL(address string) string {
	if IsUnix(address) {
		return ""
	}
	if secure, _ := SplitAddress(address); secure {
		return address
	}
	return "http://" + address
}

// Server is a pool's record of one server. Policies read it; only its Pool writes it.
//
// What every pick and done reads stands here, in three cache lines: among thousands of
// servers it is memory that a decision waits for.
type Server struct {
	index     int32 // where it stands in Pool.servers
	leases    int32 // open leases on it, of all pools in which it stands
	isHeld    bool  // held says until when, and to how many leases
	draining  bool
	gone      bool
	reporting bool    // a report has told of its load
	limit     float32 // L, infinite for none
	granted   uint64  // leases ever
	capacity  capacity
	ratio     float64 // b over the pool's usual one, when it was last brought up to date
	speed     float64 // the declared one, 1 if none was
	health    health
	load      external
	pace      pace
	*details
	pool     *Pool
	answer   answer
	serial   uint32    // of answer: it changes with it
	turn     uint32    // among equals the lowest goes first: grows with each lease
	location *Location // nil: its address needs no look-up
	cap      int32     // of leases, by max_in_flight and by its refusals; noCap: none
	standing standing
	side     side        // its own kind
	labelled *membership // nil: no request has asked for labels, and the pool shares no servers; a record of 192 bytes fills whole lines
}

// details is what is needed of a server less often.
type details struct {
	fixed   bool    // the file names it
	waking  bool    // it stands in Pool.waking
	isAlike bool    // others are equal to it within their error, in a pool whose servers differ
	counted bool    // load.x is of requests that were counted, not worked out from a utilisation
	idle    int32   // of leases, those on which it owes nothing
	group   float64 // mean logarithm of theirs and its own, less what the pool's would be; if isAlike
	held    hold
	lifeSigns
	okCrowd   float32   // requests at the server when it served one, itself included: nearly the most of late; fades
	unreached int32     // edges that could not reach it when they tried last
	work      *workload // nil: no request with a size has been there
	full      *fullness // nil: it has never said that it has no room
	answers   answers
	reaches   reaches
	spec      ServerSpec
	proof
	trials
	strain strain
	knee   *knee // unheardKnee until a request has ended from which slots are to be learnt
	memory memory
	figures
	*evidence // what reports tell; silence until the first

	judgement
	losses  losses
	sampled Instant // the last duration that b was learnt from; zero: none
}

// figures are what was reported of a server, and what was sent to it.
type figures struct {
	metrics []reading
	traffic *traffic // nil: no request has ended yet
}

// trials is how far beyond its limit a server is tried.
type trials struct {
	stretch float64 // learnt addition to its limit
	probe   Instant // when a server that is believed full is tried, if none of our leases is there
}

// lifeSigns is when a server has shown that it lives.
type lifeSigns struct {
	sign   Instant // the last sign of life, or when it began to owe an answer and owed none
	gaveUp Instant // when the last of those that it owed ended without a sign
	ended  Instant // when the last lease did
}

// proof is what a server has shown since it joined or came back, or since it said that it is full.
type proof struct {
	warmFrom Instant // when it joined or came back
	proven   int32   // good answers since then, as long as it warms up
	confirms uint8   // answers in a row that bore out that it is full
}

// judgement is what the witnesses of a server find, and what has been said of it.
type judgement struct {
	findings *findings // nil: no witness finds anything wrong
	obstacle string    // what Unhealthy returns
	since    since
	toldOut  toldOut
}

// evidence is what a server's reports are held against, and what is learnt from them. It is
// as large as all else, and many servers never report.
type evidence struct {
	usage   usage
	slots   slots
	agrees  agreement
	doubted doubted
	voice   voice
	claimed float64 // moving average of others' requests as counted, and
	allowed float64 // of the most that answers made possible; zero: they made anything possible
}

// unheardKnee is the knee of every server that latencies have told nothing of. It is only read.
var unheardKnee = new(knee)

// silence is the evidence of every server that has not reported. It is only read.
var silence = new(evidence)

// reading is the last value of one metric.
type reading struct {
	Metric
	at Instant
}

// ID returns the server's id.
func (s *Server) ID() ServerID { return s.spec.ID }

// Spec returns what was declared of the server. Its slices are shared: do not write to them.
func (s *Server) Spec() ServerSpec { return s.spec }

// Leases returns the number of open leases on the server, those of other pools included: exact, and only ours.
func (s *Server) Leases() int { return int(s.leases) }

// Load returns n, the requests in flight at the server: ours by the ledgers of all its pools, and
// everybody else's as far as reports tell.
func (s *Server) Load(now Instant) float64 {
	n := float64(s.leases)
	if s.load.x > 0 {
		n += s.foreign(now)
	}
	if s.isHeld && s.held.why == onlyCounted {
		n += float64(s.full.refused(now, s.pool.typical()))
	}
	return n
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

func (s *Server) carries(labels []Label) bool { return carries(s.spec.Labels, labels) }
