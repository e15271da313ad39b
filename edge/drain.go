package edge

import (
	"sync"
	"time"
)

// Replace announces, before Run's context ends, that another edge of the same process continues in this one's
// place: then open requests, tunnels too, may take as long as they do, until Finish.
func (e *Edge) Replace() {
	e.Linger()
	e.replaced.Store(true)
}

// Linger announces, before Run's context ends, that another edge continues in this one's place, in the same
// process or in a new one, so that there is no hurry.
func (e *Edge) Linger() { e.keepsRunning.Store(true) }

// lastGrace is how long a connection that has been served may stay without another
// request. When it is closed a request may just be on its way, and its client cannot
// know whether it has been read: one that may not be repeated is lost. The answer to
// one more says that the connection ends, so where there is no haste that is waited for.
func (e *Edge) lastGrace() time.Duration {
	if e.keepsRunning.Load() {
		return lingerGrace
	}
	return idleGrace
}

// firstGrace is how long a connection that has brought no request yet may stay without one. A client that has just
// connected may be slow to send, and cannot send again what it may not repeat if the connection ends before.
func (e *Edge) firstGrace() time.Duration {
	if e.keepsRunning.Load() {
		return lingerGrace
	}
	return freshGrace
}

// Finish starts the drain time of an edge that was replaced. It may be called again.
func (e *Edge) Finish() { e.finishing() }

// afterGrace calls cut when what is still open has had its time: the drain time from now
// on or, in an edge that was replaced, from Finish on. It does not once stop has returned.
func (e *Edge) afterGrace(cut func()) (stop func()) {
	over := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if e.replaced.Load() {
			select {
			case <-e.finish:
			case <-over:
				return
			}
		}
		limit := time.NewTimer(e.cfg.DrainTime)
		defer limit.Stop()
		select {
		case <-limit.C:
			cut()
		case <-over:
		}
	})
	return func() {
		close(over)
		waiting.Wait()
	}
}
