package audit

import (
	"sync"
	"time"
)

// Denials bounds how much of an audit log strangers can fill by being refused. Its zero value is ready; any
// goroutine may use it.
type Denials struct {
	mu     sync.Mutex
	second time.Time // when the present second began
	in     int       // entries in it
	left   int       // refused and not written down
}

// DenialsPerSecond is how many refusals are written down.
const DenialsPerSecond = 5

// Take reports whether a refusal is written down now, and how many before it were not.
func (d *Denials) Take(now time.Time) (more int, write bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now.Sub(d.second) >= time.Second {
		d.second, d.in = now, 0
	}
	if d.in >= DenialsPerSecond {
		d.left++
		return 0, false
	}
	d.in++
	more, d.left = d.left, 0
	return more, true
}
