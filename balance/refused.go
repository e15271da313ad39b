package balance

import "time"

// Refusals remembers which requests of the last minute were refused, for people: nothing is chosen by it. The zero value has
// seen nothing and is ready. Not safe for concurrent use.
type Refusals struct {
	newest  int64 // period since the clock's zero
	periods [lossPeriods]refusalCounts
	ring    []PastRefusal // made with the first refusal
	next    int           // in ring
}

type refusalCounts struct {
	asked   uint32 // requests: an ask that tries another server for one of these is not counted
	refused [reasons]uint32
}

const (
	reasons     = int(Overflowed) + 1
	refusedKept = 256
)

// PastRefusal is a request that got no server.
type PastRefusal struct {
	Request uint64 // HashID of its id; zero: it had none
	At      Instant
	Refusal *Refusal
	Waited  time.Duration // in the queue
}

// Asked counts the final answer to an ask: refused is nil if it was granted. retry says that a server has failed the request before.
func (r *Refusals) Asked(now Instant, id uint64, retry bool, refused *Refusal, waited time.Duration) {
	c := r.counts(now)
	if !retry {
		c.asked++
	}
	if refused == nil || int(refused.Reason) >= reasons {
		return
	}
	c.refused[refused.Reason]++
	if r.ring == nil {
		r.ring = make([]PastRefusal, refusedKept)
	}
	r.ring[r.next] = PastRefusal{id, now, refused, waited}
	r.next = (r.next + 1) % len(r.ring)
}

// counts returns those of the present period.
func (r *Refusals) counts(now Instant) *refusalCounts {
	no := int64(now) / int64(lossPeriod)
	for begun := max(r.newest+1, no-lossPeriods+1); begun <= no; begun++ {
		r.periods[begun%lossPeriods] = refusalCounts{}
	}
	r.newest = max(r.newest, no)
	return &r.periods[no%lossPeriods]
}

// RefusalSum is what became of the requests of the last minute.
type RefusalSum struct {
	Requests, Refused uint64
	Most              Reason // for which most were refused; zero: none was
}

// Sum returns what became of the requests of the last minute. Requests that are impossible are their client's fault, and
// asks of a master that does not lead were answered by another, those that overflow by another pool: none of these counts as refused.
func (r *Refusals) Sum(now Instant) (s RefusalSum) {
	r.counts(now)
	var by [reasons]uint64
	for i := range r.periods {
		s.Requests += uint64(r.periods[i].asked)
		for reason, n := range r.periods[i].refused {
			by[reason] += uint64(n)
		}
	}
	most := uint64(0)
	for reason, n := range by {
		switch Reason(reason) {
		case Malformed, NotLeader, Overflowed:
			s.Requests -= min(n, s.Requests)
			continue
		}
		if s.Refused += n; n > most {
			most, s.Most = n, Reason(reason)
		}
	}
	s.Requests = max(s.Requests, s.Refused)
	return s
}

// Of returns the refusals of one request that are still known, newest first. id is its HashID.
func (r *Refusals) Of(id uint64) (list []PastRefusal) {
	for back := 1; back <= len(r.ring) && id != 0; back++ {
		x := r.ring[(r.next-back+len(r.ring))%len(r.ring)]
		if x.Refusal == nil {
			break
		}
		if x.Request == id {
			list = append(list, x)
		}
	}
	return list
}
