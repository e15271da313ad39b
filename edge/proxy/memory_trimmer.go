package proxy

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/internal/memory"
)

// memoryTrimmer returns memory to the system after a burst of requests. Requests beyond maxFreeRequests become
// garbage, which is not collected while the loop allocates nothing.
type memoryTrimmer struct {
	eventloop.Timer
	worker  *worker
	dropped int // requests that were not kept
}

const (
	trimThreshold = maxFreeRequests // for which it pays
	trimAfter     = time.Second     // after the last of them
)

// noteDropped records that a request was not kept.
func (t *memoryTrimmer) noteDropped() {
	if t.dropped++; t.dropped >= trimThreshold {
		t.worker.Timers.Set(&t.Timer, t.worker.Now.Add(trimAfter))
	}
}

// OnTimer implements the timer's owner: the burst is over.
func (t *memoryTrimmer) OnTimer() {
	t.dropped = 0
	t.worker.engine.background.Go(func() {
		if err := memory.Return(); err != nil {
			t.worker.engine.deps.Log.Debug("memory of a burst could not be returned in full", "err", err)
		}
	})
}
