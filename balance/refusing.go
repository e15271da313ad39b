package balance

import "time"

// This file learns from responses with status 503 how many requests a server takes before it refuses more. A server that
// answers so whenever more requests are present than it serves is full, and not unhealthy, with a Retry-After or without.
// It gets one less than the fewest at which it refused. Once in a while it gets one more, and keeps it if it serves it.
// The first few times, what full.go does is enough: there the server itself says for how long it is full. Status 429 is more often meant for
// one client than for all. It teaches the same, but only if three in a row come at more requests than the server serves, and
// if no server of the pool has answered so of late where it usually serves.

// refusing is that number, as it is known now. The zero value: it has refused none.
type refusing struct {
	from  int32   // it refuses when so many requests are present, the refused one included; zero: not known
	until Instant // then it is tried with one more
	rows  uint8   // how often it has refused, less what it has served since
	by429 bool    // with status 429 alone
}

const (
	tooManyRequests    = 429 // RFC 6585, 4
	serviceUnavailable = 503 // RFC 9110, 15.6.4
)

const (
	sureRefusals      = 3                // of a server that says that it is full, after which it is kept to what it takes
	firstRefusalTrial = 10 * time.Second // from then on; doubles with each that is in vain
	mostRefusals      = sureRefusals + 5 // that are counted
	refusalMemory     = 10 * time.Minute
)

// length returns for how long the server is not tried with more.
func (r *refusing) length() time.Duration {
	return firstRefusalTrial << (max(r.rows, sureRefusals) - sureRefusals)
}

// most returns how many requests the server takes; noCap: as many as come, as far as is known.
func (r *refusing) most() int32 {
	if r.from < 2 || r.rows < sureRefusals {
		return noCap
	}
	return r.from - 1
}

// isTooMany reports whether the outcome is one by which servers say that they, or one of their clients, have too much.
func (o *Outcome) isTooMany() bool { return o.Result == Full && o.Status == tooManyRequests }

// isRefusal reports whether the outcome is one by which servers say that they have too much.
func (o *Outcome) isRefusal() bool {
	return (o.Result == Full || o.Result == Fault) && o.Status == serviceUnavailable
}

// isCrowded reports whether more requests were present than the server serves, when it was given one.
func (s *Server) isCrowded(crowd float32) bool { return s.hasServed() && crowd > s.okCrowd+crowdError }

// refusesMore takes an outcome that may say that the server has too much, and reports whether it does.
func (p *Pool) refusesMore(now Instant, s *Server, l *lease, o *Outcome) bool {
	by429 := o.isTooMany()
	if by429 && p.meansClients(now, s, l) {
		return false
	}
	if !by429 && !o.isRefusal() || l.crowd < 2 || !s.isCrowded(l.crowd) {
		return false
	}
	if s.full == nil {
		s.full = new(fullness)
	}
	if now.Sub(s.full.last) > crowdMemory {
		s.full.crowd = l.crowd
	}
	r := &s.full.refusing
	if from := int32(l.crowd); r.from == 0 || from <= r.from {
		r.from, r.by429 = from, by429 && (r.by429 || r.rows == 0)
		if r.rows = min(r.rows+1, mostRefusals); o.Result == Fault {
			r.rows = max(r.rows, sureRefusals)
		}
		r.until = now.Add(r.length())
		p.recap(s)
	}
	s.full.last = now
	return true
}

// meansClients takes a response with status 429, and reports whether those of the pool say nothing of how many requests a server takes: one has come in the
// last ten minutes where fewer were present than the server usually serves. Servers of a pool are alike, so all forget what such responses have taught.
func (p *Pool) meansClients(now Instant, s *Server, l *lease) bool {
	known := p.clientsAt != 0 && now.Sub(p.clientsAt) <= refusalMemory
	if !s.hasServed() || l.crowd > max(1, s.okCrowd-crowdError) {
		return known
	}
	p.clientsAt = now
	if known {
		return true // nothing has been learnt since
	}
	for _, other := range p.servers {
		if other.full != nil && other.full.refusing.by429 {
			other.full.refusing = refusing{}
			p.recap(other)
		}
	}
	return true
}

// takesMore takes that the server has served one of so many requests.
func (p *Pool) takesMore(s *Server, l *lease) {
	if f := s.full; f != nil && f.refusing.from > 0 && int32(l.crowd) >= f.refusing.from && l.started > f.last {
		f.refusing.from = int32(l.crowd) + 1
		if f.refusing.rows /= 2; f.refusing.by429 {
			f.refusing.rows = 0
		}
		p.recap(s)
	}
}

// tryMore lets the server have one more than it served, when its time has come.
func (p *Pool) tryMore(now Instant, s *Server) {
	f := s.full
	if f == nil || f.refusing.from == 0 || now < f.refusing.until {
		return
	}
	if now.Sub(f.last) > refusalMemory {
		f.refusing = refusing{}
	} else {
		f.refusing.from++
		f.refusing.until = now.Add(f.refusing.length())
	}
	p.recap(s)
}

// recap brings up to date how many leases the server may have by its cap and its refusals.
func (p *Pool) recap(s *Server) {
	s.cap = s.mostDeclared()
	if s.full != nil {
		s.cap = min(s.cap, s.full.refusing.most())
	}
}
