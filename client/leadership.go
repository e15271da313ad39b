package client

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// poolLeadership is which master leads one pool, and which has its leases.
type poolLeadership struct {
	pool        string
	leader      atomic.Pointer[Client] // the master that is asked; nil: no leader is known
	leaseHolder atomic.Pointer[Client] // has the leases: the leader, or the last one; nil: there was none

	mu          sync.Mutex    // guards the following
	fence       uint64        // the largest seen
	changed     chan struct{} // closed when leader changes
	vacantSince time.Time     // since when there is no leader
	lowFence    uint64        // fence of a master that claims to lead, lower than fence; zero: none does
	lowAddress  string        // its address
	hadLeader   bool          // there has been a leader
}

// setLowFence records that a master claims to lead with a fence lower than one seen before; zero: none does.
func (s *poolLeadership) setLowFence(fence uint64, address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lowFence, s.lowAddress = fence, address
}

// lowFenceError returns why no master leads the pool, if a person has to fix it; else nil.
func (s *poolLeadership) lowFenceError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lowFence == 0 || time.Since(s.vacantSince) < lowFenceGrace {
		return nil
	}
	return fmt.Errorf("master %s leads pool %s with fence %d, and %d was seen before: the election's store has lost data. Make sure that no master runs with the former store, then: evenkeel election raise",
		s.lowAddress, s.pool, s.lowFence, s.fence)
}

// clearLeader returns for how long there has been no leader.
func (s *poolLeadership) clearLeader() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leader.Swap(nil) != nil {
		s.vacantSince = time.Now()
	}
	return time.Since(s.vacantSince)
}

func (s *poolLeadership) setLeader(c *Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leader.Swap(c) == c {
		return
	}
	s.hadLeader = true
	close(s.changed)
	s.changed = make(chan struct{})
}

// moveTo moves the open leases of the pool to another leader, or confirms them to the same one if it leads
// anew. Dones go there first, asks last.
func (s *poolLeadership) moveTo(to *Client, fence uint64) {
	s.clearLeader()
	to.beginMove(s.pool)
	last := s.lastSnapshot()
	from := s.leaseHolder.Swap(to)
	var open []openLease
	if from != nil && from != to {
		open = from.releasePool(s.pool)
	}
	to.adoptLeases(s.pool, open)
	if from != to {
		to.recall(last)
	}
	s.fence = fence
	s.setLeader(to)
}
