package balance

import "time"

// hold limits a server for a while to the leases it has. It is what follows when a server
// says that it has no room (full.go), and when one that fails cannot be spared. Beside the
// limit it costs the server nothing. When its time is over one more lease is allowed, and what
// comes of that decides.
type hold struct {
	why   holdReason
	most  int32   // leases
	since Instant // the last answer that said so
	until Instant
}

type holdReason uint8

const (
	heldForFull    holdReason = iota + 1 // the server says that it has no room
	heldForFailing                       // it fails, and the pool cannot spare it
	heldForSilence                       // it is suspect of standing still, or found to
	onlyCounted                          // it may have as many leases as ever; fullness.counted are added to them
)

const leastTypical = 10 * time.Millisecond

// restrain has the server get no more leases than so many until the time is over.
func (p *Pool) restrain(now Instant, s *Server, why holdReason, most int32, length time.Duration) {
	h := &s.held
	if s.isHeld && h.why == why && now < h.until { // several that were under way say the same
		most, length = min(most, h.most), max(length, h.until.Sub(now))
	}
	p.account(now, s)
	if !s.isHeld || h.why != why {
		s.since.held = now
	}
	s.isHeld = true
	h.why, h.most, h.since, h.until = why, max(0, most), now, now.Add(length)
	p.wakeAt(s, h.until)
}

// served takes an answer that the server gave as it should. One to a request that came
// after the server had said to be full shows that it has room for so many.
func (p *Pool) served(now Instant, s *Server, l *lease) {
	p.serves(now, s, l)
	h := &s.held
	if !s.isLimited() || l.started <= h.since {
		return
	}
	switch {
	case h.why == heldForSilence:
		return // alive has released it, if this is a sign
	case now < h.until && l.crowd <= float32(h.most):
		return // as the hold allows
	case h.why == heldForFull && 2*s.leases > 2*h.most+1:
		h.most, h.since, h.until = 2*h.most+1, now, now // gradually, so that not all waiting requests go to it at once
	default:
		p.release(now, s)
	}
}

// release ends a server's hold.
func (p *Pool) release(now Instant, s *Server) {
	p.account(now, s)
	s.isHeld = false
}

// isLimited reports whether the server is held to a number of leases.
func (s *Server) isLimited() bool { return s.isHeld && s.held.why != onlyCounted }

// length returns how long the hold lasts in all.
func (h *hold) length() time.Duration { return h.until.Sub(h.since) }

// holdRoom reports whether the server, which is held, may have one more lease now.
func (s *Server) holdRoom(now Instant) bool {
	if s.held.why == onlyCounted {
		return true
	}
	if s.held.why == heldForSilence {
		return !s.held.isTried() // else it gets what onTrial gives it
	}
	if now < s.held.until {
		return s.leases < s.held.most
	}
	return s.held.why == heldForFailing || s.leases <= s.held.most
}

// typical returns how long a request takes, as far as it is known.
func (p *Pool) typical() time.Duration {
	if p.times.weight == 0 {
		return 10 * leastTypical
	}
	return max(leastTypical, time.Duration(p.times.usual*p.times.spread*float64(time.Second)))
}
