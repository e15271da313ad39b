package edge

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// HTTP/2 has frames that cost their sender next to nothing and bring no request
// further: PING, SETTINGS, PRIORITY, RST_STREAM, CONTINUATION, unknown ones, and DATA
// without any. Clients in good order send few of them, in proportion to what they are
// given; an attack is made of them. So a connection may send so many at once and so
// many a second, more with what it brings and gets, and beyond that it is read
// no faster. It is not ended: measurements of bandwidth send a PING in every round trip.
const (
	idleFramesAtOnce = 2000
	idleFramesRate   = 1000. // a second
	bytesPerFrame    = 512   // of payload that allow one more
)

// floodLimit is a connection's leave to send frames that bring nothing. The zero value
// is full.
type floodLimit struct {
	spent float64 // frames
	at    balance.Instant
}

// credit gives frames back for bytes.
func (a *floodLimit) credit(bytes int64) { a.spent = max(0, a.spent-float64(bytes)/bytesPerFrame) }

// charge spends n frames and returns how long to read nothing.
func (a *floodLimit) charge(now balance.Instant, n int) time.Duration {
	a.spent = max(0, a.spent-now.Sub(a.at).Seconds()*idleFramesRate) + float64(n)
	a.at = now
	return a.delay()
}

// delay returns how long it takes until what was spent too much is earned again.
func (a *floodLimit) delay() time.Duration {
	return time.Duration(max(0, a.spent-idleFramesAtOnce) / idleFramesRate * float64(time.Second))
}
