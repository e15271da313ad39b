package balance

import (
	"cmp"
	"fmt"
	"math"
	"time"
)

// This file judges a server's word that it has no room until a time.
//
// There are servers that mean it, and servers that say it to one client which asks for too
// much, while they go on serving others. Both are told apart by what the server answers to
// requests that are sent after such a word has come back. One that is full refuses those beyond
// a number that it serves; so the requests present are more when it refuses than when it serves.
// One that limits a client refuses and serves at any number. Of the first the word is believed and
// it is held to what it has; that of the second costs it nothing but that such an answer counts
// for as long as one that does the work, lest the server look idle by it.
//
// A server that says nothing else any more is believed in any case, unless the others say it
// as often.

// fullness is what a server's answers that it has no room tell. It is nil until the first.
type fullness struct {
	inRow  uint8   // answers that said so, each to a request that was sent after the one before had come; a request sent after the first that is served ends them
	first  Instant // of those in a row
	last   Instant
	told   Instant // until when it says that it is full
	crowd  float32 // mean of the requests at the server, the refused one included
	good   uint64  // the pool's good answers until first
	others uint64  // the other servers' answers that said so until first

	refuted time.Duration // how long the longest row lasted that a served request has ended; fades

	counted   float32 // answers that are counted as requests for as long as one takes, and
	countedAt Instant // faded to then
	own       uint64  // answers that said so

	refusing refusing
}

const (
	longestFull = 15 * time.Second // however long the server says; then it is tried
	longestTold = time.Hour        // that clients are told of
	untoldFull  = time.Second      // the server does not say how long
	lastFull    = time.Second      // no server has room: one is tried so often
	surelyFull  = 4                // answers in a row that leave no doubt, if the others do not say it too
	surelyGood  = 4                // good answers that each of the others has given meanwhile, on average
	surelyTimes = 10               // times as long as a request takes, for which it has served none meanwhile; clients come in turns
	fullGrowth  = 4                // the least time grows by this with each in a row, from as long as a request takes
	crowdMemory = 10 * time.Second
	crowdGain   = .2
	crowdRise   = .5 // gains of okCrowd, which is nearer to the most than to the mean
	crowdFall   = .1
	crowdError  = .5                     // by which okCrowd and fullness.crowd are off
	countedFor  = 4                      // times as long as a request takes, then no counted one is left
	refutedKeep = .9                     // of refuted, with each row that is ended
	gathering   = 250 * time.Millisecond // before a server is tried, requests wait for what comes of it
)

// full takes an answer that the server has no room, for the time that it told; zero: it did not.
func (p *Pool) full(now Instant, s *Server, l *lease, told time.Duration) {
	told = max(0, min(told, longestTold))
	f := p.refuses(now, s, l, cmp.Or(told, untoldFull))
	switch {
	case p.isSurelyFull(now, f), !s.hasServed() && !p.limitsClients(now):
		p.believe(now, s, s.leases-1, told)
	case s.hasServed() && f.crowd > s.okCrowd+crowdError:
		p.believe(now, s, max(s.leases-1, int32(s.okCrowd)), told)
	default:
		if s.isHeld && s.held.why == heldForFull {
			p.release(now, s)
		}
		p.countRefused(now, s)
	}
}

// refuses enters the answer into the server's record.
func (p *Pool) refuses(now Instant, s *Server, l *lease, told time.Duration) *fullness {
	f := s.full
	if f == nil {
		f = new(fullness)
		s.full = f
	}
	if f.inRow == 0 {
		f.first, f.good, f.others = now, p.good, p.fulls-f.own
	}
	if now.Sub(f.last) > crowdMemory {
		f.crowd = l.crowd
	}
	if f.inRow == 0 || l.started > f.last { // of several that were under way, one counts
		f.inRow = min(f.inRow+1, 250)
	}
	f.crowd += crowdGain * (l.crowd - f.crowd)
	f.last, f.told = now, now.Add(told)
	f.own++
	p.fulls++
	return f
}

// serves enters that the server has served a request.
func (p *Pool) serves(now Instant, s *Server, l *lease) {
	switch up := l.crowd - s.okCrowd; {
	case !s.hasServed():
		s.okCrowd = l.crowd
	case up > 0:
		s.okCrowd += crowdRise * up
	default:
		s.okCrowd += crowdFall * up
	}
	p.takesMore(s, l)
	f := s.full
	if f == nil || f.inRow == 0 || l.started <= f.first {
		return // nearly always
	}
	f.inRow = 0
	f.refuted = min(max(now.Sub(f.first), time.Duration(refutedKeep*float64(f.refuted))), crowdMemory)
	if l.started < f.told && l.crowd > f.crowd-crowdError {
		p.findLimiting(now)
	}
}

// findLimiting takes that a server has served as many requests as it said it had no room for, before it
// was to have room again. Servers of a pool are alike: the others' word is doubted too.
func (p *Pool) findLimiting(now Instant) {
	known := p.limitsClients(now)
	p.limitsAt = now
	if known {
		return
	}
	for _, s := range p.servers {
		if s.isHeld && s.held.why == heldForFull && !s.hasServed() {
			s.full.inRow, s.held.until = 0, now
			p.wakeAt(s, now)
		}
	}
}

// hasServed reports whether the server has served a request lately.
func (s *Server) hasServed() bool { return s.okCrowd >= crowdError }

// limitsClients reports whether a server of the pool has said of late that it is full to some clients only.
func (p *Pool) limitsClients(now Instant) bool {
	return p.limitsAt != 0 && now.Sub(p.limitsAt) <= crowdMemory
}

// isSurelyFull reports whether the server has refused so many in a row that it would hardly have done
// so for its clients' sake: the others have served meanwhile, or no server has for some time.
func (p *Pool) isSurelyFull(now Instant, f *fullness) bool {
	if f.inRow < surelyFull {
		return false
	}
	if now.Sub(max(p.goodAt, f.first)) > max(untoldFull, 3*p.typical(), 3*f.refuted) {
		return true
	}
	good, wrong, others := p.good-f.good, p.fulls-f.own-f.others, len(p.servers)-1
	return others > 0 && now.Sub(f.first) > min(untoldFull, surelyTimes*p.typical()) && good >= uint64(surelyGood*others) && -float64(f.inRow)*math.Log((float64(wrong)+.5)/(float64(good+wrong)+1)) >= suspectLevel
}

// usualLeases returns how many a server has, on average.
func (p *Pool) usualLeases() float64 { return float64(p.ledger.open) / float64(len(p.servers)) }

// believe holds the server to so many leases for as long as it told. A time that is told again and again and
// turns out to be too short is not believed, be it none at all.
func (p *Pool) believe(now Instant, s *Server, most int32, told time.Duration) {
	grown := p.typical() * time.Duration(math.Pow(fullGrowth, float64(min(max(s.full.inRow, 1), 8)-1)))
	least := min(grown, 2*untoldFull)
	if told == 0 {
		least = max(least, untoldFull)
	}
	length := min(max(told, least), longestFull)
	if p.limitsClients(now) || p.allFull(now, s) {
		length = min(length, lastFull, grown)
	}
	p.restrain(now, s, heldForFull, most, length)
}

// countRefused has the answer count as a request for as long as one takes, but no more of them than
// make the server as busy as the others: where all refuse, it must show still which is busier.
func (p *Pool) countRefused(now Instant, s *Server) {
	if s.isLimited() {
		return
	}
	f := s.full
	f.counted, f.countedAt = min(f.refused(now, p.typical()), float32(p.usualLeases()))+1, now
	s.isHeld, s.held.why, s.held.until = true, onlyCounted, now.Add(countedFor*p.typical())
	p.wakeAt(s, s.held.until)
}

// refused returns how many refused requests count as if they were at the server.
func (f *fullness) refused(now Instant, typical time.Duration) float32 {
	return f.counted * float32(math.Exp2(-float64(now.Sub(f.countedAt))/float64(typical)))
}

// allFull reports whether no other server has room as far as it says.
func (p *Pool) allFull(now Instant, s *Server) bool {
	for _, other := range p.servers {
		if other != s && other.State(now) == Up && !(other.isHeld && other.held.why == heldForFull) {
			return false
		}
	}
	return true
}

// refuseAll returns the answer to a request that it is no use to keep waiting until giveUp, or nil: every
// server that it could go to says that it is full, for longer than that or not for the first time, and
// serves nothing meanwhile. Before one of them is tried requests wait again, so that one of
// them by lot can be the one that tries, and they know what comes of it.
func (p *Pool) refuseAll(now Instant, req *Request, giveUp Instant) *Refusal {
	var beyond *beyond
	soonest := forever
	servers, _ := p.among(now, req)
	for i, s := range servers {
		if i == 0 {
			beyond = p.beyond(now, req.Edge)
		}
		if s.State(now) != Up || !s.suits(now, req, beyond) {
			continue
		}
		if !p.isClosed(now, s, giveUp) {
			return nil // nearly always the first
		}
		soonest = min(soonest, s.full.told)
	}
	if soonest == forever {
		return nil
	}
	return &Refusal{Reason: Saturated, RetryAfter: min(max(time.Second, soonest.Sub(now)), time.Minute),
		Detail: fmt.Sprintf("pool %s: every server says that it is full, and serves nothing meanwhile", p.cfg.Name)}
}

// isClosed reports whether the server will hardly serve another request until giveUp.
func (p *Pool) isClosed(now Instant, s *Server, giveUp Instant) bool {
	if !s.isHeld || s.held.why != heldForFull || now >= s.held.until.Add(-gathering) {
		return false
	}
	f := s.full
	if s.leases == 0 {
		return f.inRow > 1 || f.inRow > 0 && f.told > giveUp
	}
	return f.inRow > 1 && now.Sub(max(p.goodAt, f.first)) > max(untoldFull, 3*p.typical())
}

// isTry reports whether a server's next lease is to show whether it is full still.
func (s *Server) isTry() bool {
	return s.isHeld && s.held.why == heldForFull && s.leases >= s.held.most
}
