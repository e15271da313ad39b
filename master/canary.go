package master

import (
	"fmt"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// This file reports how a pool's canary stands: in the API, in the metrics and as a problem.

// canaryBody is a balance.CanaryView in JSON.
type canaryBody struct {
	Labels   map[string]string `json:"labels"`
	Share    float64           `json:"share"`
	Servers  int               `json:"servers"`
	Requests uint64            `json:"requests"`
	Got      uint64            `json:"got"`
	Ended    float64           `json:"ended"`
	Failed   float64           `json:"failed"`
	Others   float64           `json:"others_ended"`
	OthersF  float64           `json:"others_failed"`
	Slower   *float64          `json:"slower"` // null: not known
	Held     bool              `json:"held_back"`
	Why      string            `json:"why,omitempty"`
	SinceS   *float64          `json:"since_s,omitempty"` // ago; nil: it was not held back of late
	NextS    *float64          `json:"tried_in_s,omitempty"`
	Words    string            `json:"words"`
}

// newCanaryBody returns how the pool's canary stands; nil: it has none.
func newCanaryBody(v *balance.CanaryView, has bool) *canaryBody {
	if !has {
		return nil
	}
	b := &canaryBody{Labels: make(map[string]string, len(v.Labels)), Share: v.Part, Servers: v.Servers, Requests: v.Requests, Got: v.Got, Ended: v.Ended, Failed: v.Errors,
		Others: v.Others, OthersF: v.Failed, Held: v.Held, Why: v.Why, Words: v.String()}
	for _, l := range v.Labels {
		b.Labels[l.Key] = l.Value
	}
	if v.Slower > 0 {
		b.Slower = &v.Slower
	}
	if v.Why != "" {
		since := v.Since.Seconds()
		b.SinceS = &since
	}
	if v.Held {
		next := v.Next.Seconds()
		b.NextS = &next
	}
	return b
}

// problem says what is wrong with the canary; empty: nothing is, or there is none.
func (c *canaryBody) problem(pool string) string {
	switch {
	case c == nil:
		return ""
	case c.Servers == 0:
		return fmt.Sprintf("pool %s has a share for labels that no server carries: %s", pool, c.Words)
	case c.Held:
		return fmt.Sprintf("pool %s: %s", pool, c.Words)
	}
	return ""
}

// logCanary logs that the pool's canary is held back, and that it is tried again.
func (m *Master) logCanary(now balance.Instant, p *pool) {
	p.mu.Lock()
	v, has := p.core.CanaryView(now)
	was := p.canaryHeld
	p.canaryHeld = v.Held
	p.mu.Unlock()
	switch {
	case v.Held && !was:
		m.events.add(now, event{Kind: eventCanaryHeldBack, Pool: p.name, What: v.Why})
		m.log.Warn("the canary is held back", "pool", p.name, "labels", v.LabelText(), "why", v.Why, "next_s", seconds(v.Next))
	case was && !v.Held && has && v.Why != "":
		m.events.add(now, event{Kind: eventCanaryTried, Pool: p.name})
		m.log.Info("the canary is tried again", "pool", p.name, "labels", v.LabelText(), "after_s", seconds(v.Since.Round(time.Second)))
	}
}
