package flight

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Budget bounds how many retries an edge makes, so that a pool in trouble is not
// finished off by them: a tenth of the requests, and a few a second beside. The
// zero value is full. It is not safe for concurrent use.
type Budget struct {
	spent float64 // tokens missing from the most there can be
	at    balance.Instant
}

const (
	budgetShare = .1  // tokens a request earns
	budgetFloor = 10. // tokens a second
	budgetMost  = 100.
)

// Request says that a request came in: a first attempt, not a retry.
func (b *Budget) Request() { b.spent = max(0, b.spent-budgetShare) }

// Full reports whether nothing is missing, so that Request changes nothing.
func (b *Budget) Full() bool { return b.spent == 0 }

// Retry takes one retry from the budget, and returns false if there is none.
func (b *Budget) Retry(now balance.Instant) bool {
	b.spent = max(0, b.spent-budgetFloor*min(now.Sub(b.at), time.Minute).Seconds())
	b.at = now
	if b.spent > budgetMost-1 {
		return false
	}
	b.spent++
	return true
}
