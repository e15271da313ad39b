package limits

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Turn says when one connection has had its share of a turn of its event loop, so that others are served: by time, since
// bytes say little of what they cost. What the connection does counts by about how long it takes, and the clock is looked at
// once in a while only.
type Turn struct {
	Most  time.Duration   // from the first look at the clock on
	spent int             // since the last look
	began balance.Instant // the first look; zero: there was none
	over  bool
}

const (
	// TurnLook is the cost after which the clock is looked at. 1 is about that of a small frame of HTTP/2.
	TurnLook = 16
	// TurnCall is the cost of a call of the system that moves bytes.
	TurnCall = TurnLook
)

// Spend says what was done.
func (t *Turn) Spend(cost int) { t.spent += cost }

// Over reports whether the turn is over. It stays so.
func (t *Turn) Over(now func() balance.Instant) bool {
	if t.over || t.spent < TurnLook {
		return t.over
	}
	t.spent = 0
	at := now()
	if t.began == 0 {
		t.began = at
	}
	t.over = at.Sub(t.began) > t.Most
	return t.over
}
