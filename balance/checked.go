package balance

import (
	"fmt"
	"time"
)

// SetHealth tells what checking a server from outside has found. A sick one gets
// nothing until it is well again, and is then given work by and by. It returns whether
// that changed anything: what the server's own answers have told stays as it is.
func (p *Pool) SetHealth(now Instant, id ServerID, well bool) (changed bool, err error) {
	s := p.byID[id]
	if s == nil {
		return false, fmt.Errorf("pool %s has no server %q", p.cfg.Name, id)
	}
	sick := s.health.ejectedUntil == forever
	switch {
	case well && sick:
		s.health.ejectedUntil = now
		p.warm(s, now)
	case !well && !sick:
		s.health.ejectedUntil = forever
	default:
		return false, nil
	}
	p.version++
	p.rank(now, s)
	return true, nil
}

// Members ranges over the id and address of every server that has not left.
func (p *Pool) Members(yield func(id ServerID, address string) bool) {
	for _, s := range p.servers {
		if !s.gone && !yield(s.spec.ID, s.spec.Address) {
			return
		}
	}
}

// forgiveness is the part of a server's lost success that is given back each tendCycle.
const forgiveness = float32(tendCycle) / float32(30*time.Second)

// forgive lets faults grow old, so that a server which nobody needs to choose is tried again.
func (h *health) forgive() { h.success += (1 - h.success) * forgiveness }
