package balance

import "time"

// usage remembers how busy a server was with the requests that we know of, so that a
// utilisation it reports can be held against the very time that it is a mean over, and not
// against what was last. It keeps a fixed number of marks, so a window is never longer than
// their span; one that is cannot be compared.
type usage struct {
	slots float64 // c by which busy is counted; zero: nothing is recorded yet
	busy  float64 // seconds of full utilisation so far
	since Instant // the number of requests at the server has been constant since then
	every time.Duration
	marks [usageMarks]mark // a ring
	last  int              // the newest
	n     int              // how many there are
}

// mark is what busy was at a moment.
type mark struct {
	at   Instant
	busy float64
}

// usageMarks lie an eighth of a report's window apart, so that they reach back two windows.
const (
	usageMarks   = 16
	marksAWindow = 8
	leastEvery   = time.Millisecond
)

// begin forgets everything and counts by another c.
func (u *usage) begin(now Instant, slots float64) {
	*u = usage{slots: slots, busy: 0, since: now, every: u.every}
	u.mark(now)
}

// step accounts for the time up to now, in which n requests were present.
func (u *usage) step(now Instant, n float64) {
	u.busy += min(1, n/u.slots) * seconds(now.Sub(u.since))
	u.since = now
	if now.Sub(u.marks[u.last].at) >= u.every {
		u.mark(now)
	}
}

func (u *usage) mark(now Instant) {
	u.last = (u.last + 1) % usageMarks
	u.marks[u.last] = mark{now, u.busy}
	u.n = min(u.n+1, usageMarks)
}

// mean returns the utilisation that the known requests make, from one moment to another that
// is not after the last step; ok is false if that is longer ago than the marks reach.
func (u *usage) mean(from, to Instant) (utilization float64, ok bool) {
	begin, known := u.at(from)
	end, _ := u.at(to)
	if !known || to <= from {
		return 0, false
	}
	return (end - begin) / seconds(to.Sub(from)), true
}

// at returns busy as it was at a moment. Between two marks it is taken to have grown evenly.
func (u *usage) at(t Instant) (busy float64, known bool) {
	after := mark{u.since, u.busy}
	for i := range u.n {
		before := u.marks[(u.last-i+usageMarks)%usageMarks]
		if t >= before.at {
			if after.at <= before.at {
				return after.busy, true
			}
			return before.busy + (after.busy-before.busy)*float64(min(t, after.at)-before.at)/float64(after.at-before.at), true
		}
		after = before
	}
	return after.busy, false
}
