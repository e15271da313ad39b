package balance

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// queue holds requests for which every server is at its limit. It serves strict
// priority first, then the tenants of a priority in turn with no saved credit, then
// first come. It is bounded; when it is full a newcomer displaces the newest request
// of whoever has more waiting, so a flood displaces only itself.
type queue struct {
	size    int
	bands   []*band // highest priority first
	length  int
	soonest Instant // no wait is given up before
	lastID  WaitID
}

// WaitID names a request that waits. Zero is none.
type WaitID uint64

type band struct {
	priority int
	tenants  []*line // those with requests waiting, in turn; the first is next
}

type line struct {
	tenant  string
	waiting []*waiter
}

type waiter struct {
	id     WaitID
	req    Request // its strings are our own
	joined Instant
	giveUp Instant // when it is no use to serve it any more
}

// Release is the end of a wait: a Grant, or a Refusal.
type Release struct {
	ID      WaitID
	Grant   Grant
	Refusal *Refusal // nil: granted
	Waited  time.Duration
}

// Join puts a request into the queue that Pick refused as Saturated. position is 1
// for the next to be served. The wait ends with a Release from Serve, or by Leave.
func (p *Pool) Join(now Instant, req *Request) (id WaitID, position int, refusal *Refusal) {
	giveUp := now.Add(p.cfg.QueueWait)
	if req.Deadline != 0 {
		giveUp = min(giveUp, req.Deadline.Add(-p.needed()))
	}
	if giveUp <= now {
		return 0, 0, &Refusal{Reason: Shed, RetryAfter: p.retryAfter(), Detail: fmt.Sprintf("pool %s: the deadline leaves no time to wait and be served", p.cfg.Name)}
	}
	if p.queue.length >= p.queue.size && !p.displace(now, req) {
		return 0, 0, &Refusal{Reason: Saturated, RetryAfter: p.retryAfter(), Detail: fmt.Sprintf("pool %s: every server is at its limit and %d requests wait, the most that may", p.cfg.Name, p.queue.length)}
	}
	p.queue.lastID++
	w := &waiter{id: p.queue.lastID, req: req.clone(), joined: now, giveUp: giveUp}
	return w.id, p.queue.push(w), nil
}

// Leave takes a request out of the queue. It returns false if it waits no more.
func (p *Pool) Leave(id WaitID) bool {
	return p.queue.remove(p.queue.length, func(w *waiter) bool { return w.id == id }) != nil
}

// Waiting returns the number of requests in the queue.
func (p *Pool) Waiting() int { return p.queue.length }

// Serve appends the waits that are over: requests that a server has come free for,
// and those given up or displaced. Its owner calls it after whatever may have freed a
// server, and when Expire's next time has come.
func (p *Pool) Serve(now Instant, dst []Release) []Release {
	dst = append(dst, p.displaced...)
	p.displaced = p.displaced[:0]
	for p.queue.length > 0 && p.queue.soonest <= now {
		w := p.queue.remove(p.queue.length, func(w *waiter) bool { return w.giveUp <= now })
		if w == nil {
			p.queue.soonest = p.queue.nextGiveUp()
			break
		}
		dst = append(dst, p.shed(now, w))
	}
	if p.queue.length > 0 {
		p.tendAll(now)
	}
	for p.queue.length > 0 && p.anyRoom(now) {
		var s *Server
		w := p.queue.remove(lookahead, func(w *waiter) bool {
			s = p.choose(now, &w.req)
			return s != nil
		})
		if w == nil {
			break
		}
		p.queue.turn(w)
		release := Release{ID: w.id, Waited: now.Sub(w.joined)}
		release.Refusal = p.grant(now, &w.req, s, &release.Grant)
		release.Grant.Waited = release.Waited
		dst = append(dst, release)
	}
	return dst
}

// lookahead is how many requests are tried when the first in line cannot use the
// server that has come free, for its labels or exclusions.
const lookahead = 16

func (p *Pool) shed(now Instant, w *waiter) Release {
	return Release{ID: w.id, Waited: now.Sub(w.joined), Refusal: &Refusal{Reason: Shed, RetryAfter: p.retryAfter(),
		Detail: fmt.Sprintf("pool %s: no server came free in %v", p.cfg.Name, now.Sub(w.joined).Round(time.Millisecond))}}
}

// nextGiveUp finds when the first wait is given up; zero: none.
func (q *queue) nextGiveUp() (first Instant) {
	q.each(func(w *waiter) bool {
		if first == 0 || w.giveUp < first {
			first = w.giveUp
		}
		return true
	})
	return first
}

// displace makes room for a newcomer of req's tenant and priority, at the cost of the
// lowest priority and there of the longest line.
func (p *Pool) displace(now Instant, req *Request) bool {
	if len(p.queue.bands) == 0 {
		return false
	}
	lowest := p.queue.bands[len(p.queue.bands)-1]
	longest := slices.MaxFunc(lowest.tenants, func(a, b *line) int { return cmp.Compare(len(a.waiting), len(b.waiting)) })
	own := 0
	for _, l := range lowest.tenants {
		if l.tenant == req.Tenant {
			own = len(l.waiting)
		}
	}
	if lowest.priority > req.Priority || lowest.priority == req.Priority && own+1 >= len(longest.waiting) {
		return false
	}
	newest := longest.waiting[len(longest.waiting)-1].id
	w := p.queue.remove(p.queue.length, func(w *waiter) bool { return w.id == newest })
	p.displaced = append(p.displaced, Release{ID: w.id, Waited: now.Sub(w.joined), Refusal: &Refusal{Reason: Saturated, RetryAfter: p.retryAfter(),
		Detail: fmt.Sprintf("pool %s: every server is at its limit and the queue is full", p.cfg.Name)}})
	return true
}

// needed returns the time before its deadline by which a request must have a server.
// Whoever waits until only the usual service time is left fails half of the time, and
// when all wait that long, as in lasting overload, half of the servers' work is for
// nothing. So it is the time in which 98 in 100 are answered.
func (p *Pool) needed() time.Duration {
	return time.Duration(p.times.most() * float64(time.Second))
}

// retryAfter guesses when the queue will have moved on: what waits, at the rate at
// which the servers work; never less than a second, as the header counts in seconds.
func (p *Pool) retryAfter() time.Duration {
	rate := 0.
	for _, s := range p.servers {
		rate += s.Weight()
	}
	if p.times.weight == 0 || rate <= 0 {
		return time.Second
	}
	seconds := float64(p.queue.length) * p.times.spread / rate
	return max(time.Second, min(time.Duration(seconds*float64(time.Second)), time.Minute))
}

// holds tells whether somebody waits who comes before a newcomer of the priority.
func (q *queue) holds(priority int) bool {
	return len(q.bands) > 0 && q.bands[0].priority >= priority
}

// push adds a waiter at the end of its line and returns its place among all.
func (q *queue) push(w *waiter) (position int) {
	at, found := slices.BinarySearchFunc(q.bands, w.req.Priority, func(b *band, priority int) int { return cmp.Compare(priority, b.priority) })
	if !found {
		q.bands = slices.Insert(q.bands, at, &band{priority: w.req.Priority})
	}
	b := q.bands[at]
	i := slices.IndexFunc(b.tenants, func(l *line) bool { return l.tenant == w.req.Tenant })
	if i < 0 {
		i = len(b.tenants)
		b.tenants = append(b.tenants, &line{tenant: w.req.Tenant})
	}
	b.tenants[i].waiting = append(b.tenants[i].waiting, w)
	if q.length == 0 || w.giveUp < q.soonest {
		q.soonest = w.giveUp
	}
	q.length++
	for _, b := range q.bands[:at] {
		for _, l := range b.tenants {
			position += len(l.waiting)
		}
	}
	for _, l := range b.tenants {
		position += min(len(l.waiting), len(b.tenants[i].waiting))
	}
	return position
}

// remove takes out the first waiter, in order of service, that suits; it looks at no
// more than budget of them.
func (q *queue) remove(budget int, suits func(*waiter) bool) *waiter {
	for bi, b := range q.bands {
		for depth := 0; ; depth++ {
			more := false
			for li, l := range b.tenants {
				if depth >= len(l.waiting) {
					continue
				}
				more = true
				w := l.waiting[depth]
				if budget--; budget < 0 {
					return nil
				}
				if !suits(w) {
					continue
				}
				l.waiting = slices.Delete(l.waiting, depth, depth+1)
				if len(l.waiting) == 0 {
					b.tenants = slices.Delete(b.tenants, li, li+1)
				}
				if len(b.tenants) == 0 {
					q.bands = slices.Delete(q.bands, bi, bi+1)
				}
				q.length--
				return w
			}
			if !more {
				break
			}
		}
	}
	return nil
}

// turn moves the tenant of a request that was just served behind the others.
func (q *queue) turn(w *waiter) {
	for _, b := range q.bands {
		if b.priority != w.req.Priority {
			continue
		}
		for i, l := range b.tenants {
			if l.tenant == w.req.Tenant {
				b.tenants = append(slices.Delete(b.tenants, i, i+1), l)
				return
			}
		}
	}
}

func (q *queue) each(yield func(*waiter) bool) {
	for _, b := range q.bands {
		for _, l := range b.tenants {
			for _, w := range l.waiting {
				if !yield(w) {
					return
				}
			}
		}
	}
}

// clone copies what a request borrows.
func (r *Request) clone() Request {
	c := *r
	c.Edge = EdgeID(strings.Clone(string(r.Edge)))
	for _, s := range []*string{&c.Key, &c.Tenant, &c.Location, &c.Method, &c.Host, &c.Path} {
		*s = strings.Clone(*s)
	}
	c.Exclude = slices.Clone(r.Exclude)
	for i, id := range c.Exclude {
		c.Exclude[i] = ServerID(strings.Clone(string(id)))
	}
	c.Labels = slices.Clone(r.Labels)
	for i, l := range c.Labels {
		c.Labels[i] = Label{strings.Clone(l.Key), strings.Clone(l.Value)}
	}
	return c
}
