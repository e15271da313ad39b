package flight

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Facts are what a Flight must know of its request.
type Facts struct {
	Method string
	Link   balance.Link
}

// Limits bound one Flight.
type Limits struct {
	Attempts int // links tried at most; zero: 3
}

const (
	defaultAttempts = 3
	soon            = time.Second // Retry-After if no better value is known
)

// Do is what the owner of a Flight does next.
type Do uint8

const (
	Wait     Do = iota // nothing new: what is under way goes on, or all is over
	Ask                // ask the master, with Step.Exclude; then Granted, Refused or NoMaster
	Choose             // choose from the snapshot, with Step.Exclude; then Chosen or NoChoice
	Link               // link client and server, Step.Grant; then Failed or Finished
	Redirect           // send the client to Step.Grant; the flight is over
	Respond            // answer the client with Step.Answer; the flight is over
	Abort              // cut the client's connection, so that it takes no part for the whole; the flight is over
	End                // the flight is over
)

var doNames = [...]string{"wait", "ask", "choose", "link", "redirect", "respond", "abort", "end"}

func (d Do) String() string { return doNames[d] }

// Step is what follows from an event.
type Step struct {
	Do      Do
	Exclude []balance.ServerID // of Ask and Choose; the Flight's own, to be read only
	Grant   *balance.Grant     // of Link and Redirect; likewise. Its Lease is zero if it was chosen without a master
	Answer  Answer             // of Respond
	Done    Done               // a lease to end, whatever Do says
}

// Done ends a lease. With a zero lease there is nothing to end.
type Done struct {
	Lease   balance.LeaseID
	Outcome balance.Outcome
}

// Answer is what a client is told when no server answers it.
type Answer struct {
	Status     int           // HTTP
	Reason     string        // a word for programs: a balance.Reason's, or one of those below
	RetryAfter time.Duration // zero: not told
	Server     balance.ServerID
}

// Reasons of an Answer beside those of balance.
const (
	ReasonUnreachable = "unreachable" // no connection to Answer.Server could be made
	ReasonUnresolved  = "unresolved"  // the name of Answer.Server leads nowhere
	ReasonBroken      = "broken"      // Answer.Server broke the connection off
	ReasonNotTaken    = "not-taken"   // Answer.Server did not take the request, and it could not be sent again
	ReasonTimeout     = "timeout"     // Answer.Server did not answer in time
	ReasonEdge        = "edge"        // the edge itself lacks a resource, such as file descriptors
	ReasonNoMaster    = "no-master"   // no master answers, and there is no choosing without one
)

// Status codes of an Answer (RFC 9110, 15; 429: RFC 6585, 4).
const (
	badRequest      = 400
	tooManyRequests = 429
	badGateway      = 502
	unavailable     = 503
	gatewayTimeout  = 504
)

// Failure is how a link came to nothing.
type Failure struct {
	Unreachable bool   // no connection could be made
	Sent        bool   // the server may have got a part of the request
	Spent       bool   // a part of the request's body is gone and cannot be sent again
	Begun       bool   // the client has got a part of the response
	Late        bool   // the server did not answer in time
	Ours        bool   // the failure is the edge's own, such as no free file descriptor
	Kept        bool   // the server closed a connection that had served before, and said nothing to this request
	NotTaken    bool   // the server said that it has done nothing for the request (RFC 9113, 6.8 and 8.7); with Kept, because it closes a connection that has served others
	Unresolved  bool   // with Unreachable: because the server's name leads nowhere
	Error       string // for people: what happened
}

type phase uint8

const (
	asking phase = iota
	choosing
	linked
	over
)

// Flight is one client request. New makes one.
type Flight struct {
	facts    Facts
	attempts int // links that may still be tried
	phase    phase
	grant    balance.Grant   // of the link under way, or of the redirect
	since    balance.Instant // when it began
	exclude  []balance.ServerID
	failed   Answer // what the last failure alone would have been answered; zero Status: none yet
	resent   int    // times that the request was sent again on the same grant
}

// New returns a Flight and its first step, which is to ask.
func New(facts Facts, limits Limits) (*Flight, Step) {
	f := new(Flight)
	return f, f.Begin(facts, limits)
}

// Begin initializes a zero Flight, for callers that embed one.
func (f *Flight) Begin(facts Facts, limits Limits) Step {
	f.facts, f.attempts = facts, limits.Attempts
	if f.attempts == 0 {
		f.attempts = defaultAttempts
	}
	return Step{Do: Ask}
}

// Granted says that the master granted a lease. The grant is copied.
func (f *Flight) Granted(now balance.Instant, g *balance.Grant) Step {
	if f.phase != asking {
		return Step{Done: Done{g.Lease, balance.Outcome{Result: balance.Canceled}}}
	}
	return f.take(now, g)
}

// Chosen says which server the edge chose for itself, and the lease of which it will tell a master; zero: none.
func (f *Flight) Chosen(now balance.Instant, s balance.SnapshotServer, lease balance.LeaseID) Step {
	if f.phase != choosing {
		return Step{Done: Done{lease, balance.Outcome{Result: balance.Canceled}}}
	}
	return f.take(now, &balance.Grant{Lease: lease, Server: s.ID, Address: s.Address, At: s.At, Public: s.Public})
}

func (f *Flight) take(now balance.Instant, g *balance.Grant) Step {
	f.grant = *g
	// A client cannot be sent to a unix socket: without a public address such a server is routed to.
	if f.facts.Link == balance.LinkRedirect && !(g.Public == "" && balance.IsUnix(g.Address)) {
		f.phase = over
		return Step{Do: Redirect, Grant: &f.grant}
	}
	f.phase, f.since, f.resent = linked, now, 0
	f.attempts--
	return Step{Do: Link, Grant: &f.grant}
}

// Refused says that the master refused.
func (f *Flight) Refused(r *balance.Refusal) Step {
	if f.phase != asking {
		return Step{}
	}
	if r.Reason == balance.NotLeader {
		return f.NoMaster()
	}
	return f.respond(f.refusal(r))
}

// Elsewhere says that another pool is to be asked, for which the last one refused, and which of its servers have failed the request: a server's
// id is its own only within its pool.
func (f *Flight) Elsewhere(failed []balance.ServerID) Step {
	if f.phase != asking {
		return Step{}
	}
	f.exclude = failed
	return Step{Do: Ask, Exclude: f.exclude}
}

// NoMaster says that no master answered in time.
func (f *Flight) NoMaster() Step {
	if f.phase != asking {
		return Step{}
	}
	f.phase = choosing
	return Step{Do: Choose, Exclude: f.exclude}
}

// NoChoice says that there was nothing to choose, for a reason that Fallback gave.
func (f *Flight) NoChoice(reason string) Step {
	if f.phase != choosing {
		return Step{}
	}
	if f.failed.Status != 0 {
		return f.respond(f.failed)
	}
	return f.respond(Answer{Status: unavailable, Reason: reason, RetryAfter: soon})
}

// Finished says that the link is over in good order, and what the server's response says.
func (f *Flight) Finished(now balance.Instant, reply *Reply) Step {
	if f.phase != linked {
		return Step{}
	}
	f.phase = over
	return Step{Do: End, Done: f.done(now, reply.Outcome())}
}

// Failed says that the link came to nothing. mayRetry is asked last, and only if
// everything else allows another attempt; it takes from the edge's Budget. A request
// that was not taken is sent elsewhere without it.
func (f *Flight) Failed(now balance.Instant, why Failure, mayRetry func() bool) Step {
	if f.phase != linked {
		return Step{}
	}
	if !why.Begun && f.repeatable(why) && f.resent < resends(why) {
		f.resent++
		return Step{Do: Link, Grant: &f.grant}
	}
	step := Step{Done: f.done(now, blame(&why))}
	f.failed = answer(why, f.grant.Server)
	switch {
	case why.Begun:
		f.phase = over
		step.Do = Abort
	case f.repeatable(why) && f.attempts > 0 && (why.NotTaken || mayRetry()):
		f.phase = asking
		f.exclude = append(f.exclude, f.grant.Server)
		step.Do, step.Exclude = Ask, f.exclude
	default:
		f.phase = over
		step.Do, step.Answer = Respond, f.failed
	}
	return step
}

// Gone says that the client went away or cannot be served for a reason of its own.
// A link under way is to be cut.
func (f *Flight) Gone(now balance.Instant) Step {
	was := f.phase
	f.phase = over
	switch was {
	case over:
		return Step{}
	case linked:
		return Step{Do: End, Done: f.done(now, balance.Outcome{Result: balance.Canceled})}
	}
	return Step{Do: End}
}

// Over reports whether the flight has ended.
func (f *Flight) Over() bool { return f.phase == over }

func (f *Flight) respond(a Answer) Step {
	f.phase = over
	return Step{Do: Respond, Answer: a}
}

func (f *Flight) done(now balance.Instant, o balance.Outcome) Done {
	o.Duration = now.Sub(f.since)
	return Done{f.grant.Lease, o}
}

// repeatable reports whether the request can be sent to another server without harm:
// "a client SHOULD NOT automatically retry a request with a non-idempotent method
// unless it has some means to know […] that the original request was never applied"
// (RFC 9110, 9.2.2). One that was slow is not repeated either: what made it slow is
// likely load, which a second copy would add to.
func (f *Flight) repeatable(why Failure) bool {
	return !why.Spent && !why.Late && !why.Ours && (!why.Sent || Idempotent(f.facts.Method))
}

// Idempotent reports whether a method's effect is the same however often it is sent (RFC 9110, 9.2.2).
func Idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// resends is how often a request may be sent again to the same server after such a failure.
// That is not a retry: the failure says nothing of the server, and the grant stays good.
//
// A server may close a connection that it has kept just when a request is on its way (RFC 9112,
// 9.5). One that closes a connection of HTTP/2 after so many requests, as nginx does, leaves out
// whatever is on its way beyond them; since it has served others meanwhile, the same request may
// be left out several times. One that takes nothing is tried once more, and then left alone.
func resends(why Failure) int {
	switch {
	case why.NotTaken && why.Kept:
		return mostResends
	case why.NotTaken, why.Kept:
		return 1
	}
	return 0
}

// mostResends bounds the resends on one grant.
const mostResends = 16

// blame returns the outcome that a failure means for the server. A server that did not process the request is busy; that is not a failure
// of the server.
func blame(why *Failure) balance.Outcome {
	switch {
	case why.Ours, why.NotTaken && (why.Kept || why.Spent):
		return balance.Outcome{Result: balance.Canceled}
	case why.NotTaken:
		return balance.Outcome{Result: balance.Full, Error: why.Error}
	case why.Unreachable:
		return balance.Outcome{Result: balance.Unreachable, Error: why.Error}
	}
	return balance.Outcome{Result: balance.Broken, Error: why.Error}
}

func answer(why Failure, server balance.ServerID) Answer {
	switch {
	case why.Ours:
		return Answer{Status: unavailable, Reason: ReasonEdge, RetryAfter: soon}
	case why.Late:
		return Answer{Status: gatewayTimeout, Reason: ReasonTimeout, Server: server}
	case why.Unresolved:
		return Answer{Status: badGateway, Reason: ReasonUnresolved, Server: server}
	case why.Unreachable:
		return Answer{Status: badGateway, Reason: ReasonUnreachable, Server: server}
	case why.NotTaken && why.Spent:
		return Answer{Status: badGateway, Reason: ReasonNotTaken, Server: server}
	case why.NotTaken:
		return Answer{Status: unavailable, Reason: ReasonNotTaken, RetryAfter: soon, Server: server}
	}
	return Answer{Status: badGateway, Reason: ReasonBroken, Server: server}
}

// refusal answers a refusal. If a server has just failed this request and no other takes it, the client gets that failure.
func (f *Flight) refusal(r *balance.Refusal) Answer {
	if f.failed.Status != 0 && r.Reason != balance.Malformed {
		return f.failed
	}
	a := Answer{Status: r.Reason.HTTPStatus(), Reason: r.Reason.String(), RetryAfter: r.RetryAfter}
	if a.Status == badRequest {
		a.RetryAfter = 0
		return a
	}
	if a.RetryAfter == 0 {
		a.RetryAfter = soon
	}
	return a
}
