package balance

import (
	"fmt"
	"strings"
	"time"
)

// Outage is one reason why a server gets nothing, or less than its share, for people and
// programs. Nothing is chosen by it.
type Outage struct {
	Kind  OutageKind
	Since time.Duration // ago
	By    string        // whose word it rests on, such as "edge e1" or "an operator"; empty: the pool's own
	What  string        // what happened, in a clause; empty: Kind says it all
	Error string        // the last error, in words; empty: none
	Ago   time.Duration // of Error; negative: not known
	Next  string        // when the server is tried again, such as "in 1.2s" or "by the next request", or until when it gets nothing, such as "until it is undrained"
}

// OutageKind is why a server is out. There are few, so it may be a metric's label.
type OutageKind uint8

const (
	NoOutage       OutageKind = iota
	OutGone                   // it has left
	OutDraining               // an operator drains it
	OutMaintenance            // an operator has put it into maintenance
	OutUnhealthy              // a check finds it unhealthy
	OutUnreachable            // no edge that tried of late could reach it
	OutEjected                // it fails requests that others do not
	OutHeldBack               // it fails, but cannot be spared: it gets less
	OutSilent                 // it has requests, and nothing comes from it: it gets nothing new
	OutFull                   // it says that it has no room: it gets less
	OutCanary                 // it carries the labels of a canary that is held back: it gets nothing
	OutForEdge                // some edges cannot reach it, others can
	OutOfDate                 // its name cannot be looked up: it is taken to be where it was
	OutWarming                // it is new or has come back, and gets more gradually
	outageKinds    = iota
)

var outageNames = [outageKinds]string{"", "gone", "draining", "maintenance", "unhealthy", "unreachable", "ejected", "held-back", "silent", "full", "canary-held-back", "unreachable-from-edge", "name-fails", "warming"}

// String returns the word by which the kind goes through the API, metrics and logs.
func (k OutageKind) String() string { return outageNames[k] }

// IsTrouble reports whether the outage is something that an operator should look into, and has not made. That a canary is held back is
// told once for the pool.
func (k OutageKind) IsTrouble() bool {
	return k >= OutUnhealthy && k <= OutOfDate && k != OutFull && k != OutCanary
}

func (o *Outage) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s since %v ago", o.Kind, inWords(o.Since))
	if o.By != "" {
		b.WriteString(" by " + o.By)
	}
	if o.What != "" {
		b.WriteString(": " + o.What)
	}
	if o.Error != "" {
		b.WriteString("; last error: " + o.Error)
		if o.Ago >= 0 {
			fmt.Fprintf(&b, ", %v ago", inWords(o.Ago))
		}
	}
	switch {
	case strings.HasPrefix(o.Next, "until "):
		b.WriteString("; " + o.Next)
	case o.Next != "":
		b.WriteString("; tried next " + o.Next)
	}
	return b.String()
}

// OutageWords joins outages to what is told of a server's health; empty: it is well.
func OutageWords(all []Outage) string {
	words := make([]string, len(all))
	for i := range all {
		words[i] = all[i].String()
	}
	return strings.Join(words, ". ")
}

// departure is a way in which servers leave.
type departure struct {
	by   string
	what string
	next string
}

var (
	byGoodbye = &departure{by: "its agent", what: "it said goodbye", next: "when it registers again"}
	byFile    = &departure{by: "the file", what: "the file names it no more", next: "when the file names it again"}
	byLease   = &departure{by: "an edge", what: "it is known only by a lease that an edge holds", next: "when it registers"}
)

// since is when what is told of a server began. None of it decides anything.
type since struct {
	departure  *departure // nil: it has not left
	left       Instant
	overridden *overridden // what operators have said; nil: nothing
	ejected    Instant     // the first ejection in a row
	held       Instant     // the first answer of the present hold
}

// outKind returns the first reason for which the server is out, but for warming up.
func (s *Server) outKind(now Instant) OutageKind {
	switch {
	case s.gone:
		return OutGone
	case s.draining && !s.isDrained():
		return OutMaintenance
	case s.draining:
		return OutDraining
	case s.obstacle != "":
		return OutUnhealthy
	case s.isOut(now) && s.health.cause == byReach:
		return OutUnreachable
	case s.isOut(now):
		return OutEjected
	case s.isHeld && s.held.why == heldForFailing:
		return OutHeldBack
	case s.isSilent(now):
		return OutSilent
	case s.isLimited() && s.held.why != heldForSilence:
		return OutFull
	case s.side == canaries && s.pool.canary.isHeld(now):
		return OutCanary
	case s.unreached > 0:
		return OutForEdge
	case s.isOutOfDate():
		return OutOfDate
	}
	return NoOutage
}

// isOutOfDate reports whether the server's name cannot be looked up, and led somewhere before.
func (s *Server) isOutOfDate() bool {
	return s.location != nil && s.location.Problem != "" && s.found(ByName) == ""
}

// isOut reports whether the server is ejected, or was and has not shown since that it is well.
func (s *Server) isOut(now Instant) bool {
	switch {
	case now < s.health.ejectedUntil:
		return true
	case s.health.ejections == 0 || s.health.cause == byCheck:
		return false
	case s.health.cause == bySuspicion:
		return s.answers.errors > 0
	}
	return s.health.inRow > 0
}

// outages returns why the server gets nothing, or less, the weightiest first; nil: it is well.
func (p *Pool) outages(now Instant, s *Server) (all []Outage) {
	add := func(o Outage, from Instant) {
		o.Since = max(0, now.Sub(from))
		all = append(all, o)
	}
	if s.gone {
		d := s.since.departure
		add(Outage{Kind: OutGone, By: d.by, What: d.what, Next: d.next}, s.since.left)
	}
	if o := s.since.overridden; o != nil {
		all = append(all, o.outages(now)...)
	}
	for by := range Witness(witnesses) {
		if problem := s.found(by); problem != "" {
			add(Outage{Kind: OutUnhealthy, By: witnessNames[by], Error: problem, Ago: -1, Next: "when that finds it well"}, s.findings[by].since)
		}
	}
	last, ago, by := s.lastError(now)
	if s.obstacle == "" && s.isOut(now) {
		o := Outage{Kind: OutEjected, By: p.edgeName(by), Error: last, Ago: ago, Next: tried(now, s.health.ejectedUntil)}
		switch s.health.cause {
		case byReach:
			o.Kind, o.What = OutUnreachable, "no edge that tried of late could reach it"
		case bySuspicion:
			o.What = "it answers client errors where the others do not"
		default:
			o.What = "it failed several times in a row"
		}
		add(o, s.since.ejected)
	}
	switch {
	case s.isSilent(now):
		all = append(all, p.stillOutage(now, s))
	case s.isLimited() && s.held.why != heldForSilence:
		h := &s.held
		o := Outage{Kind: OutFull, By: "its own answers to " + p.edgeName(by), Error: last, Ago: ago, Next: tried(now, h.until), What: atMost("takes", h.most)}
		if h.why == heldForFailing {
			o.Kind, o.What = OutHeldBack, "it fails, but so do the others: "+atMost("gets", h.most)
		}
		add(o, s.since.held)
	}
	if s.side == canaries && p.canary.isHeld(now) {
		all = append(all, p.canaryOutage(now))
	}
	if s.unreached > 0 && s.outKind(now) != OutUnreachable {
		all = append(all, p.edgeOutages(now, s)...)
	}
	if s.isOutOfDate() {
		l := s.location
		add(Outage{Kind: OutOfDate, By: witnessNames[ByName], What: "it is taken to be where its name led last, " + l.At, Error: l.Problem, Ago: -1, Next: "in some seconds"}, l.Since)
	}
	if age := now.Sub(s.warmFrom); s.outKind(now) == NoOutage && age >= 0 && p.warmth(now, s) < forAll {
		add(Outage{Kind: OutWarming, What: "its share grows gradually", Next: fmt.Sprintf("for all that others get in %v", inWords(warmTime-age))}, s.warmFrom)
	}
	return all
}

// steadyFor returns how long the first of the server's outages has lasted or, without one,
// how long the server has been well: since it joined, or came back, whichever was later.
func (s *Server) steadyFor(now Instant, all []Outage) time.Duration {
	if len(all) > 0 {
		return all[0].Since
	}
	return max(0, now.Sub(max(s.warmFrom, s.toldOut.back)))
}

const forAll = 1e18 // a warmth that holds nothing back is infinite

// edgeOutages returns an outage for each edge that cannot reach the server, for a few of them.
func (p *Pool) edgeOutages(now Instant, s *Server) (all []Outage) {
	const most = 3 // edges that are named
	n := 0
	for i := range p.edges {
		e := &p.edges[i]
		if e.beyond == nil || e.beyond.servers[s] == nil {
			continue
		}
		if n++; n > most {
			continue
		}
		x := e.beyond.servers[s]
		all = append(all, Outage{Kind: OutForEdge, Since: now.Sub(x.since), By: p.edgeName(int32(i)), What: "this edge cannot reach it",
			Error: x.err, Ago: now.Sub(x.last), Next: tried(now, x.until)})
	}
	if n > most {
		all[most-1].What = fmt.Sprintf("this edge and %d more cannot reach it", n-most)
	}
	return all
}

// atMost says how many requests a server may have.
func atMost(does string, n int32) string {
	if n == 0 {
		return "it " + does + " no new requests, except one from time to time that tries it"
	}
	return fmt.Sprintf("it %s no more than %d %s at once", does, n, requests(n))
}

func requests(n int32) string {
	if n == 1 {
		return "request"
	}
	return "requests"
}

// lastError returns the server's last failure in words, how long ago it was, and to which edge.
func (s *Server) lastError(now Instant) (text string, ago time.Duration, edge int32) {
	f := s.answers.last
	if f == nil {
		return "", -1, 0
	}
	return f.outcome.Cause(), now.Sub(f.at), f.edge
}

// edgeName names an edge for people. No number is out of range, since numbers are given anew and never taken away.
func (p *Pool) edgeName(no int32) string {
	if id := p.edges[no].id; id != "" {
		return "edge " + string(id)
	}
	return "clients of the API, or the edge in the master's process"
}

// tried says when something that lasts until an instant is tried again.
func tried(now, until Instant) string {
	if now >= until {
		return "by the next request"
	}
	return fmt.Sprintf("in %v", inWords(until.Sub(now)))
}

// Turn is a server that has gone out, or is back in, since it was told last.
type Turn struct {
	Server ServerID
	Out    *Outage       // nil: it is back in
	Was    OutageKind    // before; NoOutage: it was in
	After  time.Duration // that it was out for; zero if it was not
}

// toldOut is what Turns has told of a server.
type toldOut struct {
	kind  OutageKind
	since Instant // the server went out, as far as it was told
	quiet Instant // it was seen well first since; zero: it was not
	back  Instant // it was told to be back in
}

// A state that passes at once is told neither when it begins nor when it ends.
const steadyHold = time.Second

// Turns appends the servers from place from to before place to that have gone out or are
// back in since Turns was called last. Warming up is not told, nor a hold that lasts less
// than a second.
func (p *Pool) Turns(now Instant, dst []Turn, from, to int) []Turn {
	from, to = min(from, len(p.servers)), min(to, len(p.servers))
	for _, s := range p.servers[from:to] {
		if t := &s.toldOut; t.kind == NoOutage && s.outKind(now) == NoOutage {
			continue // nearly always
		}
		if turn, ok := p.turn(now, s); ok {
			dst = append(dst, turn)
		}
	}
	return dst
}

func (p *Pool) turn(now Instant, s *Server) (Turn, bool) {
	t, kind := &s.toldOut, s.outKind(now)
	switch {
	case (kind == OutFull || kind == OutHeldBack) && now.Sub(s.since.held) < steadyHold && t.kind != kind:
		return Turn{}, false
	case kind == OutForEdge && t.kind != kind && (t.kind != NoOutage || !p.failedAfter(s, t.back)):
		kind = NoOutage // edges that have not tried since it is back
	}
	if kind == t.kind {
		t.quiet = 0
		return Turn{}, false
	}
	if kind != NoOutage {
		out := p.outages(now, s)
		turn := Turn{Server: s.spec.ID, Out: &out[0], Was: t.kind}
		if t.kind == NoOutage {
			t.since = now.Add(-out[0].Since)
		}
		t.kind, t.quiet = kind, 0
		return turn, true
	}
	if t.quiet == 0 {
		t.quiet = now
	}
	if (t.kind == OutFull || t.kind == OutHeldBack) && now.Sub(t.quiet) < steadyHold {
		return Turn{}, false
	}
	turn := Turn{Server: s.spec.ID, Was: t.kind, After: t.quiet.Sub(t.since)}
	*t = toldOut{back: now}
	return turn, true
}

// failedAfter reports whether an edge could not reach the server after an instant.
func (p *Pool) failedAfter(s *Server, at Instant) bool {
	for i := range p.edges {
		if b := p.edges[i].beyond; b != nil && b.servers[s] != nil && b.servers[s].last > at {
			return true
		}
	}
	return false
}
