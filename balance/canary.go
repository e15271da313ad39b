package balance

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// This file gives the servers that carry certain labels, such as those of a new version, a fixed share of a pool's requests: a canary.
//
// The share is exact, not left to chance: each request adds its part to what the canary is due, and the canary gets the request with
// which that is a whole one. The pool counts for all edges. What the canary has no room for goes to the others, and only a little of
// it is made up for later.
//
// A canary whose requests fail more often than the others', or take longer, gets nothing for a while. What is compared is alike: times
// are compared with those at other servers that had as many requests, or more. Any server is faster with fewer, so that can only
// excuse the canary. Requests that name the canary's labels themselves go where they ask to go and are not part of the share, but
// what becomes of them counts.

// Canary is which share of a pool's requests goes to the servers that carry certain labels. The zero value: there is none.
type Canary struct {
	Labels []Label
	Part   float64 // 0 to 1
}

// Validate calls bad with what makes the share unusable.
func (c *Canary) Validate(bad func(field, problem string)) {
	validateLabels(c.Labels, bad)
	if !(c.Part >= 0 && c.Part <= 1) {
		bad("", fmt.Sprintf("%.4g%%, want 0%% to 100%%", canaryPercent*c.Part))
	}
}

// LabelText returns the labels as the file has them, such as "version=2".
func (c *Canary) LabelText() string {
	texts := make([]string, len(c.Labels))
	for i, l := range c.Labels {
		texts[i] = l.Key + "=" + l.Value
	}
	return strings.Join(texts, ",")
}

// String returns the share as the file has it, such as "version=2: 5%".
func (c *Canary) String() string {
	return fmt.Sprintf("%s: %.4g%%", c.LabelText(), canaryPercent*c.Part)
}

// canary is a Canary as it goes. It is nil in a pool without one.
type canary struct {
	Canary
	due    float64 // requests that it is to get
	given  uint64  // requests that took part, ever
	got    uint64  // of these, by the canary
	own    results // of its servers
	others results

	held  string        // why it gets nothing, or got nothing last; empty: it was never held back, or has been well since
	since Instant       // it was held back
	until Instant       // it is tried again
	next  time.Duration // for how long it is held back next
}

// results is what became of the requests on one side. Older ones count less.
type results struct {
	ended  float64
	errors float64
	times  [canaryCrowds]logs // of good answers, by the requests present
}

// logs adds up logarithms of times.
type logs struct{ n, sum, square float64 }

const (
	mostDue      = 3    // requests that the canary had no room for and that are made up for
	dueSlack     = 1e-9 // by which sums of parts may be off
	canaryCrowds = 8    // 1, 2, 3 to 4, 5 to 8, …, more than 64 requests present

	canaryErrors  = 4                // errors of the canary before they tell
	canaryTimed   = 30               // its good answers before their times tell
	othersEnough  = 30               // requests of the others that ended before anything tells
	likeEnough    = 10               // of the others' answers with as many requests present
	canaryLevel   = 10.              // minus the logarithm of the chance with which errors are none of the canary's doing
	canarySlower  = 1.25             // times as long as at the others, and
	canaryDoubt   = 4.               // standard errors more
	canaryMemory  = 1000.            // of its requests; then all count half
	canaryWell    = canaryMemory / 2 // of its requests, after which it is forgotten that it was held back
	firstHeld     = 5 * time.Minute  // doubles each time, up to
	longestHeld   = time.Hour
	canaryPercent = 100.
)

// setCanary takes the pool's canary. One that is the same goes on as it was; another begins anew.
func (p *Pool) setCanary(c Canary) {
	switch {
	case len(c.Labels) == 0:
		p.canary = nil
	case p.canary == nil || p.canary.Part != c.Part || !slices.Equal(p.canary.Labels, c.Labels):
		p.canary = &canary{Canary: c, next: firstHeld}
	default:
		return
	}
	for _, s := range p.servers {
		p.assignSide(s)
	}
}

// isHeld reports whether the canary gets nothing now. c may be nil.
func (c *canary) isHeld(now Instant) bool { return c != nil && now < c.until }

// namesCanary reports whether the request says itself whether it wants the canary, or by one of its labels.
func (p *Pool) namesCanary(req *Request) bool {
	return p.canary != nil && slices.ContainsFunc(req.Labels, func(l Label) bool {
		return slices.ContainsFunc(p.canary.Labels, func(c Label) bool { return c.Key == l.Key })
	})
}

// takesPart reports whether the request counts for the share. One that a server has failed does not: it was counted before.
func (p *Pool) takesPart(req *Request) bool {
	return p.canary != nil && len(req.Exclude) == 0 && !p.namesCanary(req)
}

// canaryIsDue reports whether the request is one of the canary's share.
func (p *Pool) canaryIsDue(now Instant, req *Request) bool {
	c := p.canary
	return c != nil && c.due+c.Part >= 1-dueSlack && !c.isHeld(now) && p.takesPart(req)
}

// countShare counts that a request went to the server.
func (p *Pool) countShare(now Instant, req *Request, s *Server) {
	c := p.canary
	if c == nil || !p.takesPart(req) || c.isHeld(now) {
		return
	}
	c.given++
	c.due += c.Part
	if s.side == canaries {
		c.got++
		c.due--
	}
	c.due = max(-1, min(c.due, mostDue))
}

// CanaryPart returns which part of its requests an edge that chooses by itself is to give to the canary: its share, or 0 while it is held
// back or where there is none.
func (p *Pool) CanaryPart(now Instant) float64 {
	if p.canary == nil || p.canary.isHeld(now) {
		return 0
	}
	return p.canary.Part
}

// watchCanary takes how a lease ended.
func (p *Pool) watchCanary(now Instant, s *Server, l *lease, o *Outcome) {
	c := p.canary
	if c == nil || s.side == backups || c.isHeld(now) {
		return
	}
	if c.until != 0 && l.started < c.until && s.side == canaries {
		return // of the time before it was tried again
	}
	of := &c.others
	if s.side == canaries {
		of = &c.own
	}
	if !of.add(s, (float64(l.crowd)+s.crowd(now))/2, l, o) || s.side != canaries {
		return
	}
	if c.own.ended > canaryMemory {
		c.own.halve()
		c.others.halve()
	}
	if why := c.worse(); why != "" {
		p.holdCanary(now, why)
	} else if c.own.ended >= canaryWell {
		c.held, c.next = "", firstHeld
	}
}

// holdCanary has the canary get nothing for a while. Then it is tried with its share, and what it did before is forgotten.
func (p *Pool) holdCanary(now Instant, why string) {
	c := p.canary
	for _, s := range p.servers {
		if s.side == canaries {
			p.account(now, s)
		}
	}
	c.held, c.since, c.until = why, now, now.Add(c.next)
	c.next = min(2*c.next, longestHeld)
	c.own, c.due = results{}, 0
	p.version++
}

// add takes an outcome, and reports whether it says something. crowd is how many requests were present meanwhile: the mean of those at the
// begin and at the end, as in a burst the first ends among those that the last has begun among.
func (r *results) add(s *Server, crowd float64, l *lease, o *Outcome) bool {
	switch o.Result {
	case OK:
		if o.Duration > 0 && !l.idle && l.crowd > 0 {
			r.times[canaryCrowd(crowd)].add(math.Log(s.comparable(crowd, o.Duration)))
		}
	case Fault, Broken, Unreachable, ClientError:
		r.errors++
	default:
		return false
	}
	r.ended++
	return true
}

// comparable returns the seconds of an answer as they compare with those of other servers with as many requests: at speed 1, and where
// more requests were present than the slots that are declared, of the share of the slots that it had.
func (s *Server) comparable(crowd float64, took time.Duration) float64 {
	t := seconds(took) * s.speed
	if declared := s.spec.Slots; declared > 0 && crowd > declared {
		t *= declared / crowd
	}
	return t
}

// canaryCrowd returns where the times of answers are added up, to requests with which so many were present.
func canaryCrowd(crowd float64) int {
	return int(max(0, min(math.Ceil(math.Log2(crowd)), canaryCrowds-1)))
}

func (g *logs) add(log float64) {
	g.n++
	g.sum += log
	g.square += log * log
}

func (g *logs) mean() float64 { return g.sum / g.n }

// spread returns the sum of squares around the mean.
func (g *logs) spread() float64 {
	if g.n == 0 {
		return 0
	}
	return max(0, g.square-g.sum*g.sum/g.n)
}

func (r *results) halve() {
	r.ended, r.errors = r.ended/2, r.errors/2
	for i := range r.times {
		g := &r.times[i]
		g.n, g.sum, g.square = g.n/2, g.sum/2, g.square/2
	}
}

// worse says in which way the canary is worse than the others; empty: it is not, as far as is known.
func (c *canary) worse() string {
	if c.others.ended < othersEnough {
		return ""
	}
	rate, usual := c.own.errors/c.own.ended, (c.others.errors+.5)/(c.others.ended+1)
	if c.own.errors >= canaryErrors && rate > usual && c.own.ended*divergence(rate, usual) >= canaryLevel {
		return fmt.Sprintf("%.3g %% of its requests failed, of the others' %.3g %%", canaryPercent*rate, canaryPercent*c.others.errors/c.others.ended)
	}
	if slower, doubt, known := c.slower(); known && slower-canaryDoubt*doubt > math.Log(canarySlower) {
		return fmt.Sprintf("its requests took %.3g times as long as the others' where as many were present", math.Exp(slower))
	}
	return ""
}

// slower returns the logarithm of how many times as long the canary's requests take as the others', and its standard error; false:
// too little is known. The canary's times are compared with those of the others with as many requests present or, failing
// that, with the next more.
func (c *canary) slower() (slower, doubt float64, known bool) {
	var n, off, share, square, freedom float64
	for i := range c.own.times {
		own := &c.own.times[i]
		like := c.others.like(i)
		if own.n == 0 || like == nil {
			continue
		}
		n += own.n
		off += own.n * (own.mean() - like.mean())
		share += own.n * own.n * (1/own.n + 1/like.n)
		square += own.spread() + like.spread()
		freedom += own.n + like.n - 2
	}
	if n < canaryTimed {
		return 0, 0, false
	}
	return off / n, math.Sqrt(square/max(1, freedom)*share) / n, true
}

// like returns the times with which those of a crowd are compared; nil: there are none.
func (r *results) like(crowd int) *logs {
	for i := crowd; i < canaryCrowds; i++ {
		if r.times[i].n >= likeEnough {
			return &r.times[i]
		}
	}
	return nil
}

// divergence returns Kullback and Leibler's, of one rate from another: e to the power of -n times it bounds the chance of so high a rate
// among n (Chernoff).
func divergence(rate, usual float64) float64 {
	d := rate * math.Log(rate/usual)
	if rate < 1 {
		d += (1 - rate) * math.Log((1-rate)/(1-usual))
	}
	return d
}

// canaryOutage says that the canary, of which the server is one, is held back.
func (p *Pool) canaryOutage(now Instant) Outage {
	c := p.canary
	return Outage{Kind: OutCanary, Since: max(0, now.Sub(c.since)), By: "the share of " + c.LabelText(), What: c.held,
		Next: tried(now, c.until) + ", or when a reload changes the share"}
}

// CanaryView is how a pool's canary stands, for people and programs.
type CanaryView struct {
	Canary
	Servers  int           // that carry the labels, but for those that have left
	Requests uint64        // that took part in the share
	Got      uint64        // of these, by the canary
	Ended    float64       // of the canary's requests, older ones counting less
	Errors   float64       // of these, failed
	Others   float64       // of the other servers' requests that ended
	Failed   float64       // of these
	Slower   float64       // how many times as long the canary's requests take, as many being present; zero: not known
	Held     bool          // it gets nothing now
	Why      string        // it is held back, or was last
	Since    time.Duration // ago, that it was
	Next     time.Duration // until it is tried again; zero: it is not held back
}

// CanaryView returns how the canary stands; false: the pool has none.
func (p *Pool) CanaryView(now Instant) (v CanaryView, ok bool) {
	c := p.canary
	if c == nil {
		return v, false
	}
	v = CanaryView{Canary: c.Canary, Requests: c.given, Got: c.got, Ended: c.own.ended, Errors: c.own.errors, Others: c.others.ended, Failed: c.others.errors,
		Held: c.isHeld(now), Why: c.held}
	for _, s := range p.servers {
		if s.side == canaries && !s.gone {
			v.Servers++
		}
	}
	if slower, _, known := c.slower(); known {
		v.Slower = math.Exp(slower)
	}
	if c.held != "" {
		v.Since, v.Next = now.Sub(c.since), max(0, c.until.Sub(now))
	}
	return v, true
}

// String says in one clause how the canary stands.
func (v *CanaryView) String() string {
	words := v.Canary.String()
	switch {
	case v.Held:
		return fmt.Sprintf("%s, held back since %v ago: %s; tried again in %v, or when a reload changes the share", words, inWords(v.Since), v.Why, inWords(v.Next))
	case v.Why != "":
		words += fmt.Sprintf(", tried again since %v ago, when it was held back: %s", inWords(v.Since), v.Why)
	}
	return fmt.Sprintf("%s, %d of %d requests so far", words, v.Got, v.Requests)
}
