package balance

import (
	"math"
	"slices"
	"time"
)

// health keeps what outcomes tell of a server. A server that fails fast looks
// idle, and without this it would draw most of the traffic.
//
// Four things are kept apart. A server that cannot be reached, or whose check fails, goes out
// at once and without bound. Its own faults, and client errors that only it answers
// (suspicion), put it out too, but only as far as the pool can spare it and others do
// better. A server that is full is held to what it has (hold.go). What one edge cannot
// reach is kept from that edge only (reach.go).
type health struct {
	ejectedUntil Instant
	success      float32 // moving average of 1 for success, 0 for the server's fault
	inRow        uint16  // faults since the last success
	ejections    uint8   // since the last success
	cause        ejection
}

// ejection is why a server is ejected. What is told of it lasts until the next one.
type ejection uint8

const (
	byFaults    ejection = iota + 1 // faults in a row
	bySuspicion                     // client errors that the others do not answer
	byReach                         // no edge reaches it
	byCheck                         // a check from outside fails
)

// forAnswers reports whether the server is ejected for what it answered.
func (e ejection) forAnswers() bool { return e == byFaults || e == bySuspicion }

const (
	successGain  = .05
	successFloor = .01
	faultsInRow  = 5                // faults in a row that eject a server
	firstEject   = 10 * time.Second // after faults; doubles with each further one
	firstUnreach = time.Second      // after no edge could reach it; doubles likewise
	longestEject = 15 * time.Second // a server that is well again has its work back within half a minute
	maxDoublings = 4
	wellSuccess  = .85 // a server whose success is above, and that did not fail last, does better than one that fails
)

// succeed takes one answer that is no fault.
func (h *health) succeed() {
	if h.success < 1 {
		h.success += successGain * (1 - h.success)
	}
	h.inRow = 0
}

func (h *health) fail() {
	h.success = max(successFloor, h.success*(1-successGain))
	h.inRow = min(h.inRow+1, math.MaxUint16-1)
}

// eject puts the server out, and reports whether it was in. The first failure after its
// return puts it out again.
func (p *Pool) eject(now Instant, s *Server, cause ejection, first, longest time.Duration) bool {
	h := &s.health
	if now < h.ejectedUntil {
		return false // late word of the failures that ejected it
	}
	p.account(now, s)
	if !s.isOut(now) || h.ejections == 0 {
		s.since.ejected = now
	}
	h.ejectedUntil, h.cause = now.Add(min(first<<h.ejections, longest)), cause
	h.ejections = min(h.ejections+1, maxDoublings)
	h.success = 1 // it pays for its faults by this; where all others are idle, a lower rate would keep it out for good
	h.inRow = faultsInRow - 1
	return true
}

// Faults are forgiven, so that a server which is not chosen for them is tried again: a part of
// the lost success each maintenanceCycle, and a little more. Where others are idle, the last bit of
// it would keep a server out for long.
const (
	forgiveness = float32(maintenanceCycle) / float32(25*time.Second)
	pardon      = float32(maintenanceCycle) / float32(66*time.Second)
)

func (h *health) forgive() {
	h.success = min(1, h.success+(1-h.success)*forgiveness+pardon)
}

// isWell reports whether the server takes requests and does not fail them.
func (s *Server) isWell(now Instant) bool {
	return s.State(now) == Up && s.health.inRow < 2 && s.health.success >= wellSuccess
}

// judge takes how a lease ended: what follows for the server, and for its edge.
func (p *Pool) judge(now Instant, s *Server, l *lease, o *Outcome) {
	switch o.Result {
	case OK:
		p.succeeded(now, s)
	case ClientError:
		s.remember(now, l.edge, o)
		switch p.suspects(now, s) {
		case unsuspected:
			s.health.succeed()
		case unclear:
			p.restrain(now, s, heldForFailing, s.leases-1, p.typical())
		case suspected:
			p.blame(now, s, bySuspicion)
		}
	}
	p.judgeServer(now, s, l, o)
}

// judgeServer takes of how a lease ended what follows for the server in whichever pool it stands. Client errors are a matter of the pool
// whose clients they are.
func (p *Pool) judgeServer(now Instant, s *Server, l *lease, o *Outcome) {
	switch o.Result {
	case OK:
		s.health.succeed()
		s.health.ejections = 0
		p.reached(now, s, l.edge)
		p.served(now, s, l)
		p.prove(now, s, l.started)
	case ClientError:
		p.reached(now, s, l.edge)
	case Full:
		s.remember(now, l.edge, o)
		p.reached(now, s, l.edge)
		p.full(now, s, l, o.RetryAfter)
		p.refusesMore(now, s, l, o)
	case Fault, Broken:
		if p.refusesMore(now, s, l, o) {
			s.remember(now, l.edge, o)
			p.reached(now, s, l.edge)
			return
		}
		s.health.fail()
		s.remember(now, l.edge, o)
		if o.Result == Fault {
			p.reached(now, s, l.edge)
		}
		if s.health.inRow >= faultsInRow {
			p.blame(now, s, byFaults)
		}
	case Unreachable:
		s.remember(now, l.edge, o)
		p.unreachable(now, s, l)
	case Refused: // as good as a report that the slots are taken; it fades like one
		s.correct(now, s.load.at(now)+s.capacity.slots, 1)
	}
}

// blame puts a failing server out if the pool can spare it. If not, a failure that came
// fast must not free its place at once: the server would draw what others are too busy for.
// Where all fail alike, it is not the server's fault.
func (p *Pool) blame(now Instant, s *Server, cause ejection) {
	if now < s.health.ejectedUntil || !p.othersDoBetter(now, s) {
		return
	}
	if p.canSpare(now, s) && p.eject(now, s, cause, firstEject, longestEject) {
		if cause == bySuspicion {
			s.answers.errors = suspectAfter - againAfter
		}
		p.version++
		p.warm(s, s.health.ejectedUntil)
		return
	}
	if cause == bySuspicion {
		s.health.fail()
	}
	p.restrain(now, s, heldForFailing, s.leases-1, p.typical())
}

// othersDoBetter reports whether another server takes requests and does not fail them.
func (p *Pool) othersDoBetter(now Instant, s *Server) bool {
	if now < p.noneWellUntil {
		return false
	}
	for _, other := range p.servers {
		if other != s && other.isWell(now) {
			return true
		}
	}
	p.noneWellUntil = now.Add(maintenanceCycle) // among thousands this is not looked for at every failure
	return false
}

// canSpare reports whether the server may be put out for its answers, too: at most a third
// of the pool, and one of two. Where a backup stands in for it, all may.
func (p *Pool) canSpare(now Instant, failing *Server) bool {
	if p.backups > 0 && failing.side != backups && slices.ContainsFunc(p.servers, func(s *Server) bool { return s.side == backups && s.isWell(now) }) {
		return true
	}
	out, all := 0, 0
	for _, s := range p.servers {
		if s.gone || s.draining {
			continue
		}
		all++
		if s.State(now) == Ejected && s.health.cause.forAnswers() {
			out++
		}
	}
	return out+1 <= max(all/3, min(all/2, 1))
}

// takeBack ends the ejections for answers: no server does better any more, so those are not worse.
func (p *Pool) takeBack(now Instant) {
	for _, s := range p.servers {
		if s.State(now) == Ejected && s.health.cause.forAnswers() {
			p.account(now, s)
			s.health.ejectedUntil = now
			p.version++
			p.warm(s, now)
			p.rank(now, s)
		}
	}
}

// Suspicion. Client errors are the clients' affair as long as all servers answer them
// alike. A server that answers nothing else, where the others would hardly have done so by
// chance, is likely a wrong deployment. One client's wrong requests to one server do not make
// it look so: between them it still serves the others.

// answers is what a server has answered since its last good answer, and its last failure, for people.
type answers struct {
	errors    uint32   // client errors since then
	good      uint64   // the pool's good answers until then
	elsewhere uint64   // the pool's client errors until then
	last      *failure // nil: none yet
}

// suspicion is how much a server's client errors say of it.
type suspicion uint8

const (
	unsuspected suspicion = iota
	unclear               // they may be its own: nothing must be gained by them
	suspected             // they are its own
)

const (
	unclearAfter = 8  // client errors in a row
	suspectAfter = 14 // likewise
	againAfter   = 3  // after a return from suspicion
	unclearLevel = 4. // minus the logarithm of the chance that it is none of the server's doing
	suspectLevel = 10.
	drawnTimes   = 2 // client errors for each good answer elsewhere that show it to draw what comes
	suspectGood  = 8 // good answers that each of the others has given meanwhile, on average
)

// suspects takes a client error and says what it makes of the server.
func (p *Pool) suspects(now Instant, s *Server) suspicion {
	if now < s.health.ejectedUntil {
		return unsuspected // late word of what ejected it, or a try while all are out
	}
	r := &s.answers
	r.errors++
	p.clientErrors++
	if r.errors < unclearAfter {
		return unsuspected // nearly always
	}
	good, wrong := p.good-r.good, p.clientErrors-r.elsewhere-uint64(r.errors)
	level := math.Inf(1) // as long as the others have shown little
	if good+wrong >= unclearAfter {
		level = -float64(r.errors) * math.Log((float64(wrong)+.5)/(float64(good+wrong)+1))
	}
	switch {
	case level < unclearLevel:
		return unsuspected
	case level >= suspectLevel && r.errors >= suspectAfter && good >= uint64(suspectGood*(len(p.servers)-1)):
		return suspected
	case uint64(r.errors) > drawnTimes*good:
		return unclear // it draws what comes: let the others show what they answer
	}
	return unsuspected
}

// succeeded takes a good answer.
func (p *Pool) succeeded(now Instant, s *Server) {
	p.good, p.goodAt = p.good+1, now
	s.answers.errors, s.answers.good, s.answers.elsewhere = 0, p.good, p.clientErrors
}

type failure struct {
	at      Instant
	edge    int32 // that it was told
	outcome Outcome
}

// remember keeps a failure. Its text is copied unless it is the same as that of the last.
func (s *Server) remember(now Instant, edge int32, o *Outcome) {
	if s.answers.last == nil {
		s.answers.last = new(failure)
	}
	kept := s.answers.last
	text := kept.outcome.Error
	if text != o.Error {
		text = clipText(o.Error)
	}
	kept.at, kept.edge, kept.outcome = now, edge, *o
	kept.outcome.Error = text
}
