package edge

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/memory"
)

// tidy gives memory back to the system that a rush of requests took. A task that is one too
// many to be kept is garbage, which nothing would collect while the loop allocates no more.
type tidy struct {
	timer
	loop  *loop
	spilt int // tasks that were not kept
}

const (
	muchSpilt = mostTasks   // for which it pays
	tidyAfter = time.Second // without another
)

// spill says that a task was not kept.
func (t *tidy) spill() {
	if t.spilt++; t.spilt >= muchSpilt {
		t.loop.wheel.set(&t.timer, t.loop.now.Add(tidyAfter))
	}
}

// expired implements the timer's owner: the rush is over.
func (t *tidy) expired() {
	t.spilt = 0
	t.loop.engine.aside.Go(func() {
		if err := memory.Return(); err != nil {
			t.loop.engine.edge.cfg.Log.Debug("what a rush took of memory stays in part", "err", err)
		}
	})
}
