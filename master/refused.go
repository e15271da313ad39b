package master

import (
	"fmt"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// lately is what became of a pool's requests in the last minute, as the API tells it.
type lately struct {
	Requests uint64 `json:"requests"`
	Refused  uint64 `json:"refused"`          // of these
	Reason   string `json:"reason,omitempty"` // for which most of them were
	most     balance.Reason
}

func (p *pool) lately(now balance.Instant) lately {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.refused.Sum(now)
	l := lately{Requests: s.Requests, Refused: s.Refused, most: s.Most}
	if s.Refused > 0 {
		l.Reason = s.Most.String()
	}
	return l
}

// refusedFor says why requests are refused, for people.
var refusedFor = map[balance.Reason]string{
	balance.NoServer:    "no server could take them",
	balance.Saturated:   "full",
	balance.Shed:        "full, and no server would have come free in time",
	balance.UnknownPool: "the pool has been removed",
	balance.Declined:    "every server refused the dispatch",
}

// problem says that the pool refuses; empty: it does not.
func (l *lately) problem(pool string) string {
	if l.Refused == 0 {
		return ""
	}
	noun := "requests"
	if l.Requests == 1 {
		noun = "request"
	}
	return fmt.Sprintf("pool %s refused %d of %d %s in the last minute: %s", pool, l.Refused, l.Requests, noun, refusedFor[l.most])
}

// refusalBody is one refusal, as the API tells it.
type refusalBody struct {
	Pool     string  `json:"pool"`
	Reason   string  `json:"reason"`
	Detail   string  `json:"detail,omitempty"`
	AgeMS    float64 `json:"age_ms"`
	WaitedMS float64 `json:"waited_ms"` // in the queue
}

// refusalsOf returns the refusals of one request that are still known. id is its balance.HashID.
func (p *pool) refusalsOf(now balance.Instant, id uint64) (bodies []refusalBody) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.refused.Of(id) {
		bodies = append(bodies, refusalBody{p.name, r.Refusal.Reason.String(), r.Refusal.Detail, toMS(now.Sub(r.At)), toMS(r.Waited)})
	}
	return bodies
}
