package sim

import "time"

// Request is one request of a scenario, for those who send it to real servers.
type Request struct {
	At     time.Duration // since the start of the run
	Work   float64       // seconds on a slot of speed 1
	Edge   int           // that it arrives at; -1: it goes to Server, past all edges
	Server int           // of a request that passes the edges; otherwise without meaning
}

// Requests returns the requests of a scenario's run with a seed, in order of arrival:
// the same that Run gives to every policy and to the ideal. The scenario must be valid.
func Requests(s Scenario, seed uint64) []Request {
	s = s.WithDefaults()
	t := newTrace(&s, s.Fleet(), seed)
	requests := make([]Request, 0, s.Requests)
	for a, ok := t.next(); ok; a, ok = t.next() {
		requests = append(requests, Request{At: time.Duration(a.at - start), Work: a.work, Edge: int(a.edge), Server: int(a.server)})
	}
	return requests
}

// Fleet returns the kind of every server, in order.
func (s Scenario) Fleet() []Kind { return s.WithDefaults().Servers.fleet() }

// RequestsIn returns how many requests arrive in a time, on average.
func (s Scenario) RequestsIn(length time.Duration) int {
	s = s.WithDefaults()
	return int(length.Seconds() / s.gap(s.Fleet()))
}

// WarmupRequests returns how many requests at the start of a run do not count.
func (s Scenario) WarmupRequests() int {
	s = s.WithDefaults()
	return int(max(0, s.Warmup) * float64(s.Requests))
}
