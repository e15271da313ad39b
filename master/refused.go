package master

import (
	"fmt"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// lastMinute summarises a pool's requests of the last minute for the API.
type lastMinute struct {
	Requests uint64 `json:"requests"`
	Refused  uint64 `json:"refused"`          // of these
	Reason   string `json:"reason,omitempty"` // the most frequent one
	most     balance.Reason
}

func (p *pool) lastMinute(now balance.Instant) lastMinute {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.refused.Sum(now)
	l := lastMinute{Requests: s.Requests, Refused: s.Refused, most: s.Most}
	if s.Refused > 0 {
		l.Reason = s.Most.String()
	}
	return l
}

// refusedFor explains reasons to people.
var refusedFor = map[balance.Reason]string{
	balance.NoServer:    "no server could take them",
	balance.Saturated:   "full",
	balance.Shed:        "full, and no server would have come free in time",
	balance.UnknownPool: "the pool has been removed",
	balance.Declined:    "every server refused the dispatch",
}

// problem says that the pool refuses requests; empty: it does not.
func (l *lastMinute) problem(pool string) string {
	if l.Refused == 0 {
		return ""
	}
	noun := "requests"
	if l.Requests == 1 {
		noun = "request"
	}
	return fmt.Sprintf("pool %s refused %d of %d %s in the last minute: %s", pool, l.Refused, l.Requests, noun, refusedFor[l.most])
}

// refusalBody is one refusal in the API.
type refusalBody struct {
	Pool     string  `json:"pool"`
	Reason   string  `json:"reason"`
	Detail   string  `json:"detail,omitempty"`
	AgeMS    float64 `json:"age_ms"`
	WaitedMS float64 `json:"waited_ms"` // in the queue
}

// refusalsOf returns the remembered refusals of one request. id is its balance.HashID.
func (p *pool) refusalsOf(now balance.Instant, id uint64) (bodies []refusalBody) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.refused.Of(id) {
		bodies = append(bodies, refusalBody{p.name, r.Refusal.Reason.String(), r.Refusal.Detail, toMS(now.Sub(r.At)), toMS(r.Waited)})
	}
	return bodies
}
