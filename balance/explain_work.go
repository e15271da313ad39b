package balance

import (
	"fmt"
	"math"
	"slices"
)

// This file tells of a choice by work what it was made of.

// ByWork is the request's part of a choice by work. The zero value: the choice was by the policy's score.
type ByWork struct {
	Work float64 // z: that the request is expected to be; 1 is that of a request of the usual size
	Mean float64 // m, of all requests
}

// Weighed is what a request of known work would cost at a server. Their sum, over the square of the success ratio, is Candidate.Score.
type Weighed struct {
	Left  float64 // work that the server has left; if it has no room, with that of the requests which wait for it
	Time  float64 // how long the request is expected to take there, its wait for a slot included, in seconds
	Stay  float64 // T: that time over that of a request of mean work at a server of mean speed
	Slows float64 // S: what those present lose
	Price float64 // of the server's time
}

// weighed returns what e says to people, without its total.
func (p *Pool) weighed(e *expense) Weighed {
	return Weighed{Left: e.left, Time: e.stay / p.prices().unit * p.times.usual, Stay: e.stay, Slows: e.slows, Price: e.price}
}

// expenseOf returns what a request of that work costs at the server: now, if that has room, or later.
func (p *Pool) expenseOf(now Instant, s *Server, work float64) expense {
	with := p.prices()
	if p.hasRoom(now, s) {
		var e expense
		s.cost(now, work, &with, &e)
		e.left = s.workLeft(now, s.Load(now), with.mean)
		return e
	}
	return s.costLater(now, work, &with, nil)
}

// byWork returns the request's part of a choice by work, and its server: one with room, or one that it had better wait for. Both are nil if the choice goes
// by score, as it does also if no server is left to compare.
func (p *Pool) byWork(now Instant, req *Request) (by ByWork, best, later *Server) {
	if !p.weighs(req) {
		return by, nil, nil
	}
	if best, later = p.lightest(now, req); best == nil && later == nil {
		return by, nil, nil
	}
	return ByWork{p.sizes.workOf(p.kindOf(now, req)), p.sizes.meanWork()}, best, later
}

// isCompared reports whether the choice by work looks at the server: in a large pool only at few.
func (p *Pool) isCompared(now Instant, req *Request, s *Server) bool {
	if servers, _ := p.among(now, req); len(servers) <= mostWeighed {
		return true
	}
	var few [maxBest]int32
	o := p.orderOf(now, req, p.beyond(now, req.Edge))
	return o != nil && slices.Contains(o.finalists(few[:0]), s.index)
}

const notCompared = "not compared by work: others came closer by the policy's score"

// explainWork enters the work's terms into a decision that goes by it, before it is settled. Servers with an obstacle have theirs already.
func (p *Pool) explainWork(now Instant, req *Request, d *Decision, best, later *Server) {
	switch {
	case later != nil:
		d.Note = fmt.Sprintf("it would wait for %s, which has no room now: it is done sooner there", later.spec.ID)
	case d.Chosen == "" && best != nil:
		d.Chosen = best.spec.ID
	}
	for i := range d.Candidates {
		c := &d.Candidates[i]
		s := p.byID[c.Server]
		e := p.expenseOf(now, s, d.ByWork.Work)
		c.Weighed, c.Score, c.rank, c.turn = p.weighed(&e), e.total, 0, s.turn
		switch {
		case s == later:
			c.Why = "waited for: the request is done sooner there"
		case c.Why != "", c.Server == d.Chosen:
		case !p.isCompared(now, req, s):
			c.Why = notCompared
		case later != nil:
			c.Why = "would take longer than to wait for " + string(later.spec.ID)
		}
	}
}

// rivals appends to dst the servers other than s that come closest in a choice for the request: up to width-1 of them, lowest first, by work if work is not zero.
func (p *Pool) rivals(now Instant, req *Request, s *Server, work float64, dst []int32) []int32 {
	servers, _ := p.among(now, req)
	if work == 0 || len(servers) > mostWeighed {
		return p.order.finalists(dst)
	}
	var costs [width - 1]float64
	for _, other := range servers {
		if other == s || other.standing == isOut {
			continue
		}
		cost := p.expenseOf(now, other, work).total
		if p.order.of(other.index) == never {
			cost = math.MaxFloat64 // behind those that it competes with
		}
		at := len(dst)
		for at > 0 && costs[at-1] > cost {
			at--
		}
		if at == len(costs) {
			continue
		}
		if len(dst) == len(costs) {
			dst = dst[:len(dst)-1]
		}
		dst = slices.Insert(dst, at, other.index)
		copy(costs[at+1:], costs[at:])
		costs[at] = cost
	}
	return dst
}
