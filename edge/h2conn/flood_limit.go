package h2conn

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// HTTP/2 has frames that cost their sender nearly nothing and advance no request: PING, SETTINGS, PRIORITY,
// RST_STREAM, CONTINUATION, unknown ones, and empty DATA. Normal clients send few of them, in proportion to
// what they receive; attacks consist of them. So a connection may send a burst of them and then so many a
// second, more for the bytes it sends and receives; beyond that it is read more slowly. It is not closed:
// bandwidth measurements send a PING in every round trip.
const (
	IdleFramesAtOnce = 2000
	IdleFramesRate   = 1000. // a second
	BytesPerFrame    = 512   // of payload, for one more
)

// floodLimit limits a connection's frames that make no progress. The zero value has spent nothing.
type floodLimit struct {
	spent float64 // frames
	at    balance.Instant
}

// credit gives back frames for bytes.
func (a *floodLimit) credit(bytes int64) { a.spent = max(0, a.spent-float64(bytes)/BytesPerFrame) }

// charge spends n frames and returns how long to read nothing.
func (a *floodLimit) charge(now balance.Instant, n int) time.Duration {
	a.spent = max(0, a.spent-now.Sub(a.at).Seconds()*IdleFramesRate) + float64(n)
	a.at = now
	return a.delay()
}

// delay returns how long it takes until the excess is given back.
func (a *floodLimit) delay() time.Duration {
	return time.Duration(max(0, a.spent-IdleFramesAtOnce) / IdleFramesRate * float64(time.Second))
}
