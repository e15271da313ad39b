package balance

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// This file sends requests on to another pool that would wait too long in this one, or be refused. The pool only says so; the edge asks
// the other pool, which another master may lead.

// Overflow is where requests go that would wait too long. The zero value: nowhere.
type Overflow struct {
	Pool string        // that takes them; empty: none
	Wait time.Duration // requests that wait longer, or are expected to
}

// ParseOverflowWait reads the condition of an overflow, such as "wait > 5s".
func ParseOverflowWait(text string) (time.Duration, error) {
	length, ok := strings.CutPrefix(strings.ReplaceAll(text, " ", ""), "wait>")
	if d, err := time.ParseDuration(length); ok && err == nil && d >= 0 && d <= mostWait {
		return d, nil
	}
	return 0, fmt.Errorf("want the longest wait in the pool, from 0s to %v, such as wait > 5s", mostWait)
}

// OverflowCircle returns the pools of a circle of overflows that begins and ends with the pool; nil: it is in none. next returns to which pool
// another's requests go, empty: to none.
func OverflowCircle(pool string, next func(string) string) (circle []string) {
	at := pool
	for {
		circle = append(circle, at)
		switch at = next(at); {
		case at == "":
			return nil
		case at == pool:
			return append(circle, pool)
		case slices.Contains(circle, at):
			return nil // the circle is of others
		}
	}
}

// mayOverflow reports whether the request can go on to another pool. What its tenant's own cap keeps waiting cannot.
func (p *Pool) mayOverflow(req *Request) bool {
	return p.cfg.Overflow.Pool != "" && req.MayOverflow && !p.tenantOf(req).isFull()
}

// orOverflow returns a refusal, or one that sends the request on to another pool, if it can go there and lacks nothing but room.
func (p *Pool) orOverflow(req *Request, r *Refusal) *Refusal {
	if !p.mayOverflow(req) {
		return r
	}
	switch r.Reason {
	case Saturated, Shed, NoServer:
		return p.sendOn(r.Detail)
	}
	return r
}

// sendOn sends a request on to the other pool.
func (p *Pool) sendOn(why string) *Refusal {
	return &Refusal{Reason: Overflowed, Pool: p.cfg.Overflow.Pool, Detail: fmt.Sprintf("%s: it goes on to pool %s", why, p.cfg.Overflow.Pool)}
}

// overflows returns the refusal of a request that is about to wait, if it is expected to wait longer than it may before it goes on to another
// pool; else nil.
func (p *Pool) overflows(now Instant, req *Request) *Refusal {
	if !p.mayOverflow(req) {
		return nil
	}
	most := p.cfg.Overflow.Wait
	wait, known := p.expectedWait(req)
	switch {
	case most == 0:
		return p.sendOn(p.allAtLimit)
	case known && wait > most:
		return p.sendOn(fmt.Sprintf("%s, and the request would wait about %v, more than %v", p.allAtLimit, inWords(wait), most))
	}
	return nil
}

// expectedWait returns how long a request would wait in the queue at the rate at which the servers work; false: that is not known.
func (p *Pool) expectedWait(req *Request) (wait time.Duration, known bool) {
	if p.perWaiting == 0 {
		return 0, false
	}
	return time.Duration(float64(p.queue.positionOf(p, req)) * p.perWaiting * float64(time.Second)), true
}

// positionOf returns the place that a request would have among those that wait, from 1. Tenants take turns.
func (q *queue) positionOf(p *Pool, req *Request) (position int) {
	for _, b := range q.bands {
		if b.priority < req.Priority {
			break
		}
		mine := math.MaxInt // of those of a higher priority all go before it
		if b.priority == req.Priority {
			mine = b.waitingIn(p.placeOf(b, req)) + 1
		}
		for _, l := range b.tenants {
			position += min(len(l.waiting), mine)
		}
	}
	return position + 1
}

// waitingIn returns how many requests wait in a line.
func (b *band) waitingIn(at place) int {
	for _, l := range b.tenants {
		if l.place == at {
			return len(l.waiting)
		}
	}
	return 0
}

// explainOverflow says where an edge's request for which no server has room goes on to; empty: it waits here.
func (p *Pool) explainOverflow(now Instant, req *Request) string {
	edges := *req
	edges.MayOverflow = true
	if r := p.overflows(now, &edges); r != nil {
		return r.Detail
	}
	return ""
}
