package client

import (
	"sync"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// LeaseEnd is the end of a lease that a server has accepted by a dispatch.
type LeaseEnd struct {
	Dispatch Dispatch
	Result   balance.Result // how it ended, unless it is Lost
	Lost     bool           // the master does not know how: it ended while no master had it
}

// accepted are the dispatches that the server has accepted, or is being asked about, and of whose end the agent has not
// heard. All connections of an Agent share it, since the end may come from another master than the dispatch. It is safe
// for concurrent use.
type accepted struct {
	mu     sync.Mutex
	leases map[balance.LeaseID]*acceptedLease
}

type acceptedLease struct {
	dispatch Dispatch
	from     *masterConn // that sent the dispatch
	asking   bool        // the server has not answered yet
	end      *LeaseEnd   // it has ended while the server was asked; nil: it has not
}

// maxAccepted bounds the leases that are remembered. The ends of further ones are not heard.
const maxAccepted = 1 << 16

func newAccepted() *accepted { return &accepted{leases: make(map[balance.LeaseID]*acceptedLease)} }

// begin remembers a dispatch, about which the server is asked now.
func (s *accepted) begin(d Dispatch, from *masterConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.leases) < maxAccepted {
		s.leases[d.Lease] = &acceptedLease{dispatch: d, from: from, asking: true}
	}
}

// answered records the server's answer. It returns the end of the lease if that has come meanwhile and concerns the
// server; else nil.
func (s *accepted) answered(lease balance.LeaseID, accepts bool) *LeaseEnd {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.leases[lease]
	if l == nil {
		return nil
	}
	l.asking = false
	if accepts && l.end == nil {
		return nil
	}
	delete(s.leases, lease)
	if !accepts {
		return nil
	}
	return l.end
}

// ended takes a master's word that a lease is over. It returns the end if the server is to be told of it now; else nil.
func (s *accepted) ended(m *wire.Ended, from *masterConn, elected bool) *LeaseEnd {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.leases[m.Lease]
	if l == nil || l.from != from && !elected {
		return nil
	}
	end := &LeaseEnd{Dispatch: l.dispatch, Result: m.Result, Lost: m.Lost}
	if l.asking {
		l.end = end
		return nil
	}
	delete(s.leases, m.Lease)
	return end
}

// askable returns the leases of which a master knows whether they are over: those that it has dispatched or, with an
// election, all.
func (s *accepted) askable(from *masterConn, elected bool) (list []balance.LeaseID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, l := range s.leases {
		if len(list) == wire.MaxWorking {
			break
		}
		if !l.asking && (elected || l.from == from) {
			list = append(list, id)
		}
	}
	return list
}
