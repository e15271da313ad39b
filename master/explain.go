package master

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// This part of the API reports why a server was chosen, or would be.

const (
	someDecisions = 20   // listed if the caller sets no limit
	listedAtMost  = 1000 // decisions
)

type leaseBody struct {
	Lease     string        `json:"lease"`
	Pool      string        `json:"pool"`
	Open      bool          `json:"open"`
	Server    string        `json:"server"`
	Edge      string        `json:"edge,omitempty"`
	AgeMS     float64       `json:"age_ms"`
	ExpiresMS *float64      `json:"expires_ms,omitempty"`
	Decision  *decisionBody `json:"decision,omitempty"`
}

type decisionBody struct {
	Lease      string          `json:"lease,omitempty"`
	Pool       string          `json:"pool"`
	Policy     string          `json:"policy"`
	AgeMS      *float64        `json:"age_ms,omitempty"`
	Request    factsBody       `json:"request"`
	Chosen     string          `json:"chosen"`
	Waiting    *int            `json:"queue_length,omitempty"`
	Servers    int             `json:"server_count"`
	Note       string          `json:"note,omitempty"`
	Candidates []candidateBody `json:"candidates"`

	Work *float64 `json:"work,omitempty"`      // that the request is expected to be; nil: the choice is not by work
	Mean *float64 `json:"mean_work,omitempty"` // of all requests
}

type factsBody struct {
	Key      string `json:"key,omitempty"`
	Tenant   string `json:"tenant,omitempty"`
	Belief   string `json:"tenant_belief,omitempty"`
	Location string `json:"location,omitempty"`
	Priority int    `json:"priority,omitempty"`
	Link     string `json:"link"`

	Size  float64 `json:"size,omitempty"`
	Class string  `json:"class,omitempty"`
}

type candidateBody struct {
	Server    string         `json:"server"`
	Why       string         `json:"why"`
	Score     *float64       `json:"score"`
	Weighed   *weighedBody   `json:"by_work,omitempty"` // nil: the choice is not by work
	Load      float64        `json:"load"`
	External  float64        `json:"external_load"`
	Slots     float64        `json:"slots"`
	Service   float64        `json:"service_s"`
	Growth    float64        `json:"growth"`
	Samples   float64        `json:"service_samples"`
	SampleMS  *float64       `json:"service_age_ms,omitempty"` // nil: there are none
	SlotsBy   string         `json:"slots_from"`
	Told      *float64       `json:"slots_told,omitempty"` // nil: none are
	Limit     *float64       `json:"limit,omitempty"`      // nil: there is none
	Room      *int           `json:"room,omitempty"`       // nil: there is no limit
	Success   float64        `json:"success_ratio"`
	Affinity  float64        `json:"affinity"`
	Distance  float64        `json:"distance"`
	AgeMS     *float64       `json:"report_age_ms,omitempty"`
	Health    string         `json:"health,omitempty"`
	Outages   []outage       `json:"outages,omitempty"`
	Overrides []overrideBody `json:"overrides,omitempty"` // what operators have set; of a recorded decision what they had by then
	Doubt     string         `json:"doubt,omitempty"`
	elsewhereBody
}

// weighedBody is what the score of a choice by work is made of.
type weighedBody struct {
	Left  float64 `json:"work_left"`
	Time  float64 `json:"expected_s"`
	Stay  float64 `json:"stay"`
	Slows float64 `json:"slows"`
	Price float64 `json:"price"`
}

// elsewhereBody is a server's part in other pools.
type elsewhereBody struct {
	Pools    []string `json:"other_pools,omitempty"`           // in which it stands as well
	InFlight int      `json:"other_pools_in_flight,omitempty"` // their open leases on it
}

func (p *pool) newDecisionBody(now balance.Instant, d *balance.Decision) decisionBody {
	r := &d.Request
	b := decisionBody{Pool: p.name, Policy: p.cfg.Policy, Chosen: string(d.Chosen), Servers: d.Servers, Note: d.Note, Candidates: make([]candidateBody, len(d.Candidates)),
		Request: factsBody{Key: hashOf(r.Key), Tenant: r.Tenant, Location: r.Location, Priority: r.Priority, Link: r.Link.String(), Size: r.Size, Class: r.Class}}
	if r.Tenant != "" || r.Belief == balance.Disbelieved {
		b.Request.Belief = r.Belief.String()
	}
	if d.Lease != 0 {
		age := toMS(now.Sub(d.At))
		b.Lease, b.AgeMS = d.Lease.String(), &age
	}
	if d.Work > 0 {
		b.Work, b.Mean = &d.Work, &d.Mean
	}
	for i := range d.Candidates {
		c := &d.Candidates[i]
		b.Candidates[i] = candidateBody{Server: string(c.Server), Why: c.Why, Load: c.Load, External: c.External, Slots: c.Slots,
			Service: c.Service, Growth: c.Growth, Success: c.Success, Affinity: c.Affinity, Distance: c.Distance, Health: balance.OutageWords(c.Outages), Outages: newOutages(c.Outages), Doubt: c.Doubt.String(), elsewhereBody: elsewhereBody{c.Pools, c.Shared}}
		b.Candidates[i].Score = finite(c.Score)
		if d.Work > 0 {
			w := weighedBody(c.Weighed)
			b.Candidates[i].Weighed = &w
		}
		b.Candidates[i].Overrides = p.overridesOfCandidateLocked(c.Server, d.At)
		b.Candidates[i].Samples, b.Candidates[i].SlotsBy = c.Learnt.Samples, c.Learnt.Slots
		if c.Learnt.Told > 0 {
			b.Candidates[i].Told = &c.Learnt.Told
		}
		if !math.IsInf(c.Learnt.Limit, 1) {
			b.Candidates[i].Limit = &c.Learnt.Limit
		}
		if c.Learnt.Room >= 0 {
			b.Candidates[i].Room = &c.Learnt.Room
		}
		if c.Learnt.Age >= 0 {
			age := toMS(c.Learnt.Age)
			b.Candidates[i].SampleMS = &age
		}
		if c.Reported >= 0 {
			age := toMS(c.Reported)
			b.Candidates[i].AgeMS = &age
		}
	}
	return b
}

// finite returns a score for JSON; nil: there is none.
func finite(score float64) *float64 {
	if math.IsNaN(score) || math.IsInf(score, 0) {
		return nil
	}
	return &score
}

func (m *Master) getLease(w http.ResponseWriter, r *http.Request) *document {
	id, err := balance.ParseLeaseID(untagged(r.PathValue("lease")))
	if err != nil {
		return malformed(err)
	}
	now := clock.Now()
	for _, p := range m.pools.Load().list {
		if body, known := p.tell(now, id); known {
			return write(w, body)
		}
	}
	if d, kept := m.stream.sampledDecision(now, id); kept {
		return write(w, leaseBody{Lease: id.String(), Pool: d.Pool, Server: d.Chosen, AgeMS: *d.AgeMS, Decision: &d})
	}
	return newProblem(http.StatusNotFound, noSuchLease, fmt.Sprintf("lease %s: not open, and not among the recent decisions", id))
}

// untagged returns the id of a lease that is given with its tag. Asking about a lease needs no proof.
func untagged(lease string) string {
	if tagged, err := balance.ParseTaggedLease(lease); err == nil {
		return tagged.ID.String()
	}
	return lease
}

// tell returns what the pool knows about a lease.
func (p *pool) tell(now balance.Instant, id balance.LeaseID) (leaseBody, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, open := p.core.Lease(id)
	d, kept := p.core.Decision(now, id)
	b := leaseBody{Lease: id.String(), Pool: p.name, Open: open, Server: string(d.Chosen), AgeMS: toMS(now.Sub(d.At))}
	if kept {
		decision := p.newDecisionBody(now, &d)
		b.Decision = &decision
	}
	if open {
		b.Server, b.Edge, b.AgeMS = string(l.Server), string(l.Edge), toMS(now.Sub(l.Started))
		if l.Expires != 0 {
			left := toMS(max(0, l.Expires.Sub(now)))
			b.ExpiresMS = &left
		}
	}
	return b, open || kept
}

// getRequest returns the decisions for one request, by the id in access logs.
func (m *Master) getRequest(w http.ResponseWriter, r *http.Request) *document {
	id := r.PathValue("request")
	now, bodies, refusals := clock.Now(), make([]decisionBody, 0), make([]refusalBody, 0)
	for _, p := range m.pools.Load().list {
		bodies = append(bodies, p.decisionsFor(now, balance.HashID(id))...)
		refusals = append(refusals, p.refusalsOf(now, balance.HashID(id))...)
	}
	if len(bodies)+len(refusals) == 0 {
		return newProblem(http.StatusNotFound, noSuchRequest, fmt.Sprintf("request %s: not among the recent decisions and refusals of this master", clip(id)))
	}
	return write(w, map[string]any{"decisions": bodies, "refusals": refusals})
}

func (p *pool) decisionsFor(now balance.Instant, id uint64) (bodies []decisionBody) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.core.DecisionsFor(now, id) {
		bodies = append(bodies, p.newDecisionBody(now, &d))
	}
	return bodies
}

// lossesBody is why a server did not get requests that others got.
type lossesBody struct {
	Pool     string       `json:"pool"`
	Server   string       `json:"server"`
	State    string       `json:"state"`
	Reason   string       `json:"reason,omitempty"` // why it is out, in status's words; empty: it is not
	OverS    float64      `json:"over_s"`
	Requests uint64       `json:"requests"`
	Won      uint64       `json:"won"`
	Refused  uint64       `json:"refused"` // besides, requests that got no server
	Lost     []lossBody   `json:"lost"`
	Now      decisionBody `json:"now"` // for any request
}

type lossBody struct {
	Why   string `json:"why"`
	Count uint64 `json:"count"`
}

func (m *Master) getLosses(w http.ResponseWriter, r *http.Request) *document {
	p, missing := m.lookup(r)
	if missing != nil {
		return missing
	}
	id := balance.ServerID(r.PathValue("server"))
	body, known := p.losses(clock.Now(), id)
	if !known {
		return newProblem(http.StatusNotFound, noSuchHost, fmt.Sprintf("pool %s has no server %q", p.name, clip(string(id))))
	}
	return write(w, body)
}

func (p *pool) losses(now balance.Instant, id balance.ServerID) (b lossesBody, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l, known := p.core.Losses(now, id)
	if !known {
		return b, false
	}
	b = lossesBody{Pool: p.name, Server: string(id), State: l.State.String(), OverS: min(l.Over, now.Sub(p.created)).Seconds(), Refused: p.refused.Sum(now).Refused, Requests: l.Placed, Won: l.Won, Lost: make([]lossBody, 0, len(l.Lost))}
	if l.Out != balance.NoOutage {
		b.Reason = l.Out.String()
	}
	for _, loss := range l.Lost {
		b.Lost = append(b.Lost, lossBody(loss))
	}
	d := p.core.Explain(now, &balance.Request{})
	d.Candidates = slices.DeleteFunc(d.Candidates, func(c balance.Candidate) bool { return c.Server != id && c.Server != d.Chosen })
	b.Now = p.newDecisionBody(now, &d)
	return b, true
}

// postExplain returns what a request would be granted now, and grants nothing.
func (m *Master) postExplain(w http.ResponseWriter, r *http.Request) *document {
	var body pickBody
	if p := read(r, &body); p != nil {
		return p
	}
	req, err := body.request()
	switch {
	case err != nil:
		return malformed(err)
	case len(body.Reports) > 0:
		return malformed(fmt.Errorf("reports: an explanation changes nothing; post them to /v1/pools/%s/report", clip(r.PathValue("pool"))))
	}
	p, missing := m.lookup(r)
	if missing != nil {
		return missing
	}
	return write(w, p.explain(clock.Now(), req))
}

func (p *pool) explain(now balance.Instant, req *balance.Request) decisionBody {
	p.mu.Lock()
	defer p.mu.Unlock()
	d, waiting := p.core.Explain(now, req), p.core.Waiting()
	b := p.newDecisionBody(now, &d)
	b.Waiting = &waiting
	return b
}

func (m *Master) getDecisions(w http.ResponseWriter, r *http.Request) *document {
	p, missing := m.lookup(r)
	if missing != nil {
		return missing
	}
	limit := someDecisions
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > listedAtMost {
			return malformed(fmt.Errorf("limit: %q, want 1 to %d", clip(text), listedAtMost))
		}
		limit = n
	}
	return write(w, map[string]any{"decisions": p.decisions(clock.Now(), limit)})
}

func (p *pool) decisions(now balance.Instant, limit int) []decisionBody {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.core.Decisions(now, limit)
	bodies := make([]decisionBody, len(list))
	for i := range list {
		bodies[i] = p.newDecisionBody(now, &list[i])
	}
	return bodies
}
