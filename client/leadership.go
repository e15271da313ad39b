package client

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// seat is who leads one pool.
type seat struct {
	pool   string
	leader atomic.Pointer[Client] // is asked; nil: nobody known leads
	keeper atomic.Pointer[Client] // has the leases: the leader, or the one that led last

	mu     sync.Mutex    // guards the following
	fence  uint64        // the largest seen
	moved  chan struct{} // closed when leader changes
	vacant time.Time     // since when there is no leader
	low    uint64        // the fence of a master that claims to lead, lower than fence; zero: none does
	lower  string        // its address
	had    bool          // there has been one
}

// setLow notes that a master claims to lead with a fence lower than one that was seen;
// zero: none does.
func (s *seat) setLow(fence uint64, address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.low, s.lower = fence, address
}

// problem returns why no master leads the pool, if a person must mend it; else nil.
func (s *seat) problem() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.low == 0 || time.Since(s.vacant) < lowFor {
		return nil
	}
	return fmt.Errorf("master %s leads pool %s with fence %d, and %d was seen before: the election's store has lost data. Make sure that no master runs with the former store, then: evenkeel election raise",
		s.lower, s.pool, s.low, s.fence)
}

// vacate returns for how long there has been no leader.
func (s *seat) vacate() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leader.Swap(nil) != nil {
		s.vacant = time.Now()
	}
	return time.Since(s.vacant)
}

func (s *seat) seat(c *Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leader.Swap(c) == c {
		return
	}
	s.had = true
	close(s.moved)
	s.moved = make(chan struct{})
}

// move takes the open leases of the pool to another leader, or tells the same one again
// that leads anew. Dones go there first, asks last.
func (s *seat) move(to *Client, fence uint64) {
	s.vacate()
	to.expect(s.pool)
	from := s.keeper.Swap(to)
	var open []openLease
	if from != nil && from != to {
		open = from.yield(s.pool)
	}
	to.adopt(s.pool, open)
	s.fence = fence
	s.seat(to)
}
