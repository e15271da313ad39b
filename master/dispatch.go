package master

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// dispatch asks the server of a grant to accept the request. If it refuses, the next best is asked, until one
// accepts, none is left, or all others are at their limit: then it returns what to wait for. Otherwise it
// returns the grant of the server that accepted, a *balance.Refusal, or ctx's cause. It blocks; the pool must
// not be locked.
func (m *Master) dispatch(ctx context.Context, p *pool, began balance.Instant, first asked, req *balance.Request, grant balance.Grant) (balance.Grant, *waitingAsk, error) {
	for {
		ended, detail := m.dispatchTo(ctx, p, req, grant)
		if ended != accepted {
			m.log.Debug("dispatch", "pool", p.name, "server", grant.Server, "lease", grant.Lease, "verdict", outcomeNames[ended], "err", detail)
		}
		next, wait, err := p.afterDispatch(began, first, req, grant, ended, detail)
		switch {
		case ended == withdrawn:
			return balance.Grant{}, nil, context.Cause(ctx)
		case wait == nil || wait.result != nil:
			return next, wait, err
		}
		grant = wait.grant
	}
}

// afterDispatch handles the outcome of one dispatch. It returns the ask's answer, or what it has to wait for.
func (p *pool) afterDispatch(began balance.Instant, first asked, req *balance.Request, grant balance.Grant, ended outcome, detail string) (next balance.Grant, wait *waitingAsk, err error) {
	p.mu.Lock()
	defer p.unlock()
	now := clock.Now()
	p.stats.dispatches[ended]++
	switch ended {
	case withdrawn:
		p.endByMasterLocked(now, grant.Lease, balance.Outcome{Result: balance.Canceled})
		return balance.Grant{}, nil, nil
	case accepted:
		next = grant
	default:
		p.endByMasterLocked(now, grant.Lease, balance.Outcome{Result: balance.Refused})
		req.Exclude = append(req.Exclude, grant.Server)
		if next, wait, err = p.pickAgainLocked(now, req, grant, detail); wait != nil {
			wait.asked = first
			return next, wait, nil
		}
	}
	p.countAnswerLocked(now, first, err, 0)
	p.stats.answerTimes.Observe(answerScale, now.Sub(began), 1)
	return next, nil, err
}

// pickAgainLocked picks for a request that the server of a grant has just refused.
func (p *pool) pickAgainLocked(now balance.Instant, req *balance.Request, grant balance.Grant, detail string) (balance.Grant, *waitingAsk, error) {
	var next balance.Grant
	wait, err := p.pickOrWaitLocked(now, req, &next)
	if r := refusal(err); r != nil && r.Reason == balance.NoServer {
		err = &balance.Refusal{Reason: balance.Declined, RetryAfter: r.RetryAfter,
			Detail: fmt.Sprintf("pool %s: every eligible server has refused the dispatch; the last, %s: %s", p.name, grant.Server, detail)}
	}
	return next, wait, err
}

// dispatchTo sends one server, through its agent, a dispatch and waits for its verdict. detail says why it was
// not accepted.
func (m *Master) dispatchTo(ctx context.Context, p *pool, req *balance.Request, grant balance.Grant) (ended outcome, detail string) {
	a := m.peers.agentOf(p.name, grant.Server)
	if a == nil {
		return agentless, "it has no agent"
	}
	answer := a.expectVerdict(grant.Lease)
	if answer == nil {
		return agentless, "its agent is just leaving"
	}
	defer a.forgetVerdict(grant.Lease)
	limit := p.dispatchLimit()
	if req.Deadline != 0 {
		limit = min(limit, max(0, req.Deadline.Sub(clock.Now())))
	}
	a.send((&wire.Dispatch{Lease: grant.Lease, Pool: p.name, Edge: req.Edge, Request: p.dispatchedRequest(req), Limit: limit, Fence: grant.Fence, Tag: grant.Tag}).Append(nil))
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return withdrawn, ""
	case <-timer.C:
		return silent, fmt.Sprintf("no verdict within %v", limit)
	case v, ok := <-answer:
		switch {
		case !ok:
			return agentless, "its agent was lost"
		case !v.Accepted:
			return declined, cmp.Or(v.Detail, "it gave no reason")
		}
		return accepted, ""
	}
}

func (p *pool) dispatchLimit() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cfg.DispatchLimit
}

// own copies a request, so that it outlives the caller's buffers.
func own(r *balance.Request, edge balance.EdgeID) *balance.Request {
	c := *r
	c.Edge = edge
	for _, s := range []*string{&c.Key, &c.Tenant, &c.Location, &c.Method, &c.Host, &c.Path, &c.Class} {
		*s = strings.Clone(*s)
	}
	c.Exclude = slices.Clone(c.Exclude)
	for i, id := range c.Exclude {
		c.Exclude[i] = balance.ServerID(strings.Clone(string(id)))
	}
	c.Labels = slices.Clone(c.Labels)
	for i, l := range c.Labels {
		c.Labels[i] = balance.Label{Key: strings.Clone(l.Key), Value: strings.Clone(l.Value)}
	}
	return &c
}
