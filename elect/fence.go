package elect

import (
	"context"
	"errors"
	"fmt"
	"maps"
)

// A fence is a generation and a number. The Store makes the number grow with each lead of a pool. A Store that has lost data, such as an
// etcd restored from an old snapshot, starts again with numbers that were used before. Edges and agents refuse these, because the lead may
// be an old one. An operator who has made sure that no master leads by the former Store raises the generation, and so all later fences.

// numberBits is how many bits of a fence are the Store's number: 17 million million leads.
const numberBits = 44

// LastGeneration is the largest. A fence with a larger one is not believed.
const LastGeneration = 1 << 16

// Fence makes a fence. The number is the Store's.
func Fence(generation, number uint64) uint64 { return generation<<numberBits | number }

// Generation returns that of a fence.
func Generation(fence uint64) uint64 { return fence >> numberBits }

// seenFences returns the largest fence that edges and agents have reported for each pool that we lead.
func (e *Elector) seenFences() map[string]uint64 {
	seen := make(map[string]uint64, len(e.held))
	for pool := range e.held {
		seen[pool] = e.host.Seen(pool)
	}
	return seen
}

// judgeFences checks whether a pool's fence has decreased, and ends leads of an older generation, to take them again. A fence that was seen
// before the Store was looked at, and that is larger than that of the lead which the Store has now, was given by a Store that has forgotten
// it.
func (e *Elector) judgeFences(ctx context.Context, view View, seen map[string]uint64) error {
	for pool, fence := range maps.Clone(e.held) {
		if Generation(fence) < view.Generation {
			if err := e.leave(ctx, pool); err != nil {
				return err
			}
			continue
		}
		if seen[pool] > fence {
			e.refuse(pool, seen[pool])
		} else {
			e.refuse(pool, 0)
		}
	}
	for pool := range maps.Clone(e.refused) {
		if _, held := e.held[pool]; !held {
			e.refuse(pool, 0)
		}
	}
	return nil
}

// refuse tells the host that our lead of a pool is not accepted; by zero: that it is, or is over.
func (e *Elector) refuse(pool string, by uint64) {
	if e.refused[pool] == by {
		return
	}
	if e.refused[pool] = by; by == 0 {
		delete(e.refused, pool)
		e.cfg.Log.Info("the lead of the pool is not refused any more", "pool", pool)
	} else {
		e.cfg.Log.Error("the election's store has lost data: edges and agents have seen a larger fence, and refuse this master's lead", "pool", pool,
			"fence", e.held[pool], "seen", by, "hint", "make sure that no master runs with the former store, then: evenkeel election raise")
	}
	e.host.Refused(pool, by)
}

// errStopping answers a Raise of an Elector that does not run.
var errStopping = errors.New("the election is starting or stopping, or takes too long to answer")

// Raise raises the generation above that of every reported fence. All masters take their leads again.
func (e *Elector) Raise(ctx context.Context) error {
	answer := make(chan error, 1)
	select {
	case e.raise <- answer:
		return <-answer
	case <-ctx.Done():
		return errStopping
	}
}

func (e *Elector) raiseNow(ctx context.Context) error {
	view, err := call(ctx, e, e.store.Look)
	if err != nil {
		return err
	}
	last := view.Generation
	for _, pool := range e.cfg.Pools() {
		last = max(last, Generation(e.host.Seen(pool)), Generation(e.held[pool]))
	}
	if last >= LastGeneration {
		return fmt.Errorf("generation %d is the last", last)
	}
	_, err = call(ctx, e, func(ctx context.Context) (struct{}, error) { return struct{}{}, e.store.Raise(ctx, last+1) })
	if err == nil {
		e.cfg.Log.Warn("the generation of fences is raised", "generation", last+1)
	}
	return err
}
