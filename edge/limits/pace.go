package limits

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Window is the time over which a body must come at its least rate, if nothing else is set.
const Window = 10 * time.Second

// Pace judges whether a body comes at a least rate, by windows of time. It runs only while
// the sender is waited for: a receiver that takes nothing is not the sender's fault. The zero value
// does not run.
type Pace struct {
	since balance.Instant // when the window began; zero: it does not run
	due   balance.Instant // when it ends
	bytes int64           // that have come in it
}

// Start begins a window, unless one runs, and returns when it ends.
func (p *Pace) Start(now balance.Instant, window time.Duration) (due balance.Instant) {
	if p.since == 0 {
		p.since, p.due, p.bytes = now, now.Add(window), 0
	}
	return p.due
}

// Stop ends the window without a judgement.
func (p *Pace) Stop() { p.since = 0 }

// Took counts n bytes that have come.
func (p *Pace) Took(n int64) { p.bytes += n }

// Over reports whether a window has ended by now, which Judge must be asked about.
func (p *Pace) Over(now balance.Instant) bool { return p.since != 0 && now >= p.due }

// Judge ends the window, and reports whether fewer than perSecond bytes came a second.
func (p *Pace) Judge(now balance.Instant, perSecond int64) (slow bool) {
	slow = float64(p.bytes) < float64(perSecond)*now.Sub(p.since).Seconds()
	p.Stop()
	return slow
}
