package station

import (
	"math"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// quota is the CPU time that a station may use in each period, as the Linux scheduler's
// bandwidth control (CFS) hands it out: the station runs faster than the quota would let it
// in the long run, until the period's share is used up, and then stands still until the next.
type quota struct {
	period balance.Instant // zero: no quota
	burst  float64         // how much faster it runs than the quota lasts for
	share  float64         // slot-seconds of CPU time in a period
	used   float64         // of them, in this period
	ends   balance.Instant // this period
	halted bool            // used up
}

// SetQuota gives the station in each period the CPU time that all its slots need at its
// speed, and lets it run burst times as fast until that is used up. The first period ends
// at ends, which must not have passed.
func (s *Station) SetQuota(now balance.Instant, period time.Duration, burst float64, ends balance.Instant) {
	s.advance(now)
	s.quota = quota{period: balance.Instant(period), burst: burst, share: float64(s.Slots()) * period.Seconds(), ends: ends}
	s.plan()
}

// CPU returns the CPU time used so far in slot-seconds. Over a time T it grows by at most
// Slots · T, give or take a period's share.
func (s *Station) CPU(now balance.Instant) float64 {
	s.advance(now)
	return s.cpu
}

// gear is how fast a slot runs over its speed.
func (q *quota) gear() float64 {
	switch {
	case q.period == 0:
		return 1
	case q.halted:
		return 0
	}
	return q.burst
}

// next returns when the gear changes if so many slots work from now on.
func (q *quota) next(now balance.Instant, slots int) balance.Instant {
	if q.period == 0 {
		return never
	}
	if q.halted {
		return q.ends
	}
	return min(q.ends, now+balance.Instant(math.Ceil((q.share-q.used)/(q.burst*float64(slots))*1e9)))
}

// spend accounts for CPU time used up to now.
func (q *quota) spend(now balance.Instant, cpu float64) {
	if q.period == 0 {
		return
	}
	q.used += cpu
	q.halted = q.used >= q.share-1e-9
	if now >= q.ends {
		q.ends += ((now-q.ends)/q.period + 1) * q.period
		q.used, q.halted = 0, false
	}
}
