package edge

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/memory"
)

// memoryTrimmer gives memory back to the system that a rush of requests took. A task that is one too
// many to be kept is garbage, which nothing would collect while the loop allocates no more.
type memoryTrimmer struct {
	timer
	loop    *loop
	dropped int // tasks that were not kept
}

const (
	trimThreshold = maxFreeRequests // for which it pays
	trimAfter     = time.Second     // without another
)

// noteDropped says that a task was not kept.
func (t *memoryTrimmer) noteDropped() {
	if t.dropped++; t.dropped >= trimThreshold {
		t.loop.timers.set(&t.timer, t.loop.now.Add(trimAfter))
	}
}

// onTimer implements the timer's owner: the rush is over.
func (t *memoryTrimmer) onTimer() {
	t.dropped = 0
	t.loop.engine.background.Go(func() {
		if err := memory.Return(); err != nil {
			t.loop.engine.edge.cfg.Log.Debug("what a rush took of memory stays in part", "err", err)
		}
	})
}
