package edge

import (
	"sync"
	"time"
)

// Replace says, before Run's context ends, that another edge goes on in this one's place
// within the same process: then what is open, tunnels too, may take as long as it does,
// until Finish.
func (e *Edge) Replace() { e.replaced.Store(true) }

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
