package edge

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// patience is a deadline of a connection that is moved on by every sign of life. To
// move it each time would cost more than the reading, so it is set an eighth too
// late, and then left alone until that eighth is used up.
type patience struct{ until balance.Instant } // zero: none is set

// hold returns the deadline to set for a wait of at least this long; zero: it stands.
func (p *patience) hold(now balance.Instant, wait time.Duration) time.Time {
	if left := p.until.Sub(now); left >= wait && left <= wait+wait/8 {
		return time.Time{}
	}
	p.until = now.Add(wait + wait/8)
	return clock.Time(p.until)
}

// past is a deadline that ends a wait at once.
var past = time.Unix(1, 0)
