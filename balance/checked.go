package balance

import "fmt"

// Witness is who checks a server from outside. Each has a verdict of its own.
type Witness uint8

const (
	ByMaster  Witness = iota // the master's check of the pool
	ByAgent                  // the agent beside the server
	ByName                   // the component that looks the server's name up
	witnesses = iota
)

// SetHealth takes what checking a server from outside has found: what is wrong with it, in
// words, or "" if nothing is. A server gets nothing while any witness finds it unhealthy, and
// is then given work gradually. SetHealth returns whether that changed anything: what the
// server's own answers have told stays as it is.
func (p *Pool) SetHealth(now Instant, id ServerID, by Witness, problem string) (changed bool, err error) {
	s := p.byID[id]
	if s == nil {
		return false, fmt.Errorf("pool %s has no server %q", p.cfg.Name, id)
	}
	p.account(now, s)
	s.finds(now, by, problem)
	changed = p.examine(now, s)
	for _, c := range s.counterparts() {
		c.pool.account(now, c)
		c.pool.examine(now, c)
	}
	return changed, nil
}

// examine has what checks have found decide whether the server gets anything. It reports whether that has changed.
func (p *Pool) examine(now Instant, s *Server) (changed bool) {
	s.obstacle = s.Unhealthy()
	healthy, ejected := s.obstacle == "", s.health.ejectedUntil == forever
	switch {
	case healthy && ejected:
		s.health.ejectedUntil = now
		p.warm(s, now)
	case !healthy && !ejected:
		s.health.ejectedUntil, s.health.cause = forever, byCheck
		s.health.success = 1 // it pays by this for what it failed, most of all for requests that broke off when it went down
	default:
		return false
	}
	p.version++
	p.rank(now, s)
	return true
}

// findings is what each witness finds wrong with a server.
type findings [witnesses]struct {
	problem string // empty: nothing
	since   Instant
}

// finds takes what a witness has found.
func (s *Server) finds(now Instant, by Witness, problem string) {
	if s.findings == nil {
		if problem == "" {
			return
		}
		s.findings = new(findings)
	}
	f := &s.findings[by]
	if f.problem == "" {
		f.since = now
	}
	f.problem = problem
}

// found returns what a witness finds wrong, "" if nothing.
func (s *Server) found(by Witness) string {
	if s.findings == nil {
		return ""
	}
	return s.findings[by].problem
}

var witnessNames = [witnesses]string{ByMaster: "the master's check", ByAgent: "its agent", ByName: "its name"}

// Unhealthy returns what checks from outside find wrong with the server, in whichever of its pools, "" if nothing.
func (s *Server) Unhealthy() string {
	problem := s.unhealthyHere()
	for _, c := range s.counterparts() {
		if found := c.unhealthyHere(); problem == "" && found != "" {
			problem = "in pool " + c.pool.cfg.Name + ": " + found
		}
	}
	return problem
}

// unhealthyHere is Unhealthy by the checks of the server's own pool.
func (s *Server) unhealthyHere() string {
	if problem := s.found(ByAgent); problem != "" {
		return problem
	}
	for _, by := range []Witness{ByName, ByMaster} { // a server whose name leads nowhere cannot be checked
		if problem := s.found(by); problem != "" {
			return witnessNames[by] + ": " + problem
		}
	}
	return ""
}

// Member is a server that has not left.
type Member struct {
	ID      ServerID
	Address string
	At      string // as in a Grant
}

// Members ranges over the servers that have not left.
func (p *Pool) Members(yield func(Member) bool) {
	for _, s := range p.servers {
		if !s.gone && !yield(Member{s.spec.ID, s.spec.Address, s.answer.at()}) {
			return
		}
	}
}
