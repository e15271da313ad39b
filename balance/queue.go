package balance

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// queue holds requests for which every server is at its limit. It serves strict
// priority first, then the tenant that has used least (share.go), of several these in turn, then the
// client that has fewest leases open, then first come. It is bounded; when it is full a newcomer displaces
// the newest request of the tenant or client that has more waiting, so a flood displaces only itself.
type queue struct {
	size    int
	bands   []*band // highest priority first
	length  int
	soonest Instant // no wait is given up before
	lastID  WaitID
	round   uint64 // of take

	used       float64 // what the tenant that was served last had used
	awaiting   int     // of those that wait, those that await a server
	unlabelled int     // of those that wait, these ask for no labels, or for such as are not counted
	fullDetail string
	fullLength int // that fullDetail tells
}

// WaitID names a request that waits. Zero is none.
type WaitID uint64

type band struct {
	priority int
	tenants  []*line // those with requests waiting, in turn; the first is next
}

type line struct {
	place
	whose   *tenant
	waiting []*waiter // in the order in which they came
	at      int       // of queue.take: those before have been looked at

	known      int // of these, as many have a client that is known
	unlabelled int // and as many ask for no labels
}

type waiter struct {
	place          // its line
	client *client // nil: unknown
	whose  *tenant // of the line
	edge   *int    // counts what waits for its edge; nil: it asks for labels
	group  *group  // of the servers that carry its labels; nil: it asks for none, or they are not counted
	awaiting
	tried  uint64 // the round of queue.take that has looked at it
	id     WaitID
	req    Request // its strings are our own
	joined Instant
	giveUp Instant // when it is no use to serve it any more
}

// awaiting is a request in the queue that waits for one server, though another has room.
type awaiting struct {
	awaits   *Server // nil: it takes any
	work     float64 // that the request is expected to be
	ahead    float64 // workload.awaited when it began to, and
	departed float64 // workload.departed
	again    Instant // when to look whether it had better go elsewhere
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
	if refusal = p.overflows(now, req); refusal != nil {
		return 0, 0, refusal
	}
	if id, position, refusal = p.enqueue(now, req); refusal != nil {
		refusal = p.orOverflow(req, refusal)
	}
	return id, position, refusal
}

// enqueue is Join where the request cannot go elsewhere.
func (p *Pool) enqueue(now Instant, req *Request) (id WaitID, position int, refusal *Refusal) {
	giveUp := p.giveUpAt(now, now, req)
	if giveUp <= now {
		needs := p.needed(req)
		return 0, 0, &Refusal{Reason: Shed, RetryAfter: p.retryAfter(), Needs: needs, Detail: fmt.Sprintf("pool %s: every server is at its limit, and requests take up to %v, longer than the %v until this one's deadline",
			p.cfg.Name, inWords(needs), inWords(req.Deadline.Sub(now)))}
	}
	if refusal := p.refuseAll(now, req, giveUp); refusal != nil {
		return 0, 0, refusal
	}
	if p.queue.length >= p.queue.size && !p.displace(now, req) {
		return 0, 0, &Refusal{Reason: Saturated, RetryAfter: p.retryAfter(), Detail: p.queueIsFull()}
	}
	p.queue.lastID++
	w := &waiter{id: p.queue.lastID, req: req.clone(), joined: now, giveUp: giveUp}
	w.place = p.placeOf(p.queue.band(req.Priority), &w.req)
	w.whose = p.payer(w.place)
	w.client = p.clients.wait(now, &p.ledger, PrefixOf(req.Client))
	if len(req.Labels) > 0 {
		w.group = p.groupOf(now, w.req.Labels, anySide)
	}
	if w.group == nil {
		w.edge = p.waitingOf(req.Edge)
	}
	position = p.queue.push(w)
	p.await(now, w)
	return w.id, position, nil
}

// queueIsFull says that the queue is. Many may be told so in a short time, so the text is kept.
func (p *Pool) queueIsFull() string {
	if p.queue.fullDetail == "" || p.queue.fullLength != p.queue.length {
		p.queue.fullDetail = fmt.Sprintf("pool %s: every server is at its limit and %d requests wait, the most that may", p.cfg.Name, p.queue.length)
		p.queue.fullLength = p.queue.length
	}
	return p.queue.fullDetail
}

// Leave takes a request out of the queue. It returns false if it waits no more.
func (p *Pool) Leave(id WaitID) bool {
	return p.removeWaiter(func(w *waiter) bool { return w.id == id }) != nil
}

// removeWaiter takes the first waiter out that suits, nil if none does.
func (p *Pool) removeWaiter(suits func(*waiter) bool) *waiter {
	w := p.queue.remove(p.queue.length, suits)
	if w != nil {
		p.clients.waited(PrefixOf(w.req.Client))
	}
	return w
}

// Waiting returns the number of requests in the queue.
func (p *Pool) Waiting() int { return p.queue.length }

// Serve appends the waits that are over: requests that a server has come free for,
// and those given up or displaced. Its owner calls it after whatever may have freed a
// server, and when Expire's next time has come.
func (p *Pool) Serve(now Instant, dst []Release) []Release { return p.ServeSome(now, dst, math.MaxInt) }

// ServeSome is Serve that gives servers to so many requests at most. Owners of pools that share servers serve these in turns.
func (p *Pool) ServeSome(now Instant, dst []Release, most int) []Release {
	dst = append(dst, p.displaced...)
	p.displaced = p.displaced[:0]
	for p.queue.length > 0 && p.queue.soonest <= now {
		w := p.removeWaiter(func(w *waiter) bool { return w.giveUp <= now && p.givesUp(now, w) })
		if w == nil {
			p.queue.soonest = p.queue.nextGiveUp()
			break
		}
		if s := p.chooseBackup(now, &w.req); s != nil && !w.whose.isFull() {
			dst = append(dst, p.serveWaiter(now, w, s))
			continue
		}
		dst = append(dst, p.shed(now, w))
	}
	if p.queue.length > 0 {
		if now >= p.returns {
			p.wake(now)
		}
		p.maintainAll(now)
	}
	if p.fulls != p.fullsTold {
		p.fullsTold = p.fulls
		dst = p.refuseWaiting(now, dst)
	}
	for ; most > 0 && p.queue.length > 0 && p.anyServable(now); most-- {
		w, s := p.servable(now)
		if w == nil {
			break
		}
		p.queue.turn(w)
		dst = append(dst, p.serveWaiter(now, w, s))
	}
	return dst
}

// serveWaiter gives a server to a request that has waited.
func (p *Pool) serveWaiter(now Instant, w *waiter, s *Server) Release {
	r := Release{ID: w.id, Waited: now.Sub(w.joined)}
	if r.Refusal = p.grant(now, &w.req, s, w.whose, &r.Grant); r.Refusal == nil {
		p.charge(p.ledger.find(r.Grant.Lease))
	}
	r.Grant.Waited = r.Waited
	return r
}

// servable takes the first waiter out that a server can take now. Those that no server can take whose labels they ask for are
// passed over, and so are all that wait for an edge that cannot reach what has come free: they must not keep others from it.
func (p *Pool) servable(now Instant) (w *waiter, s *Server) {
	var stuck [4]EdgeID // edges with a waiter that asks for nothing special and can go nowhere
	edges, budget, passed := p.stuckEdges(now, stuck[:0]), lookahead, 0
	try, full := p.trier(now), p.hasSides() && !p.plainRoom(now)
	w = p.queue.take(&budget, func(w *waiter) bool {
		if w.id < try || w.group != nil && (w.group.room.none() || w.group.barren == p.queue.round) || w.group == nil && full || len(edges) > 0 && slices.Contains(edges, w.req.Edge) {
			budget++
			return false
		}
		if w.awaits != nil && now < w.again && !p.hasRoom(now, w.awaits) {
			passed++
			budget += min(1, mostPassed/passed)
			return false
		}
		p.trying = w
		s = p.choose(now, &w.req)
		if p.trying = nil; s == nil && p.later != nil {
			p.await(now, w)
			passed++
			budget += min(1, mostPassed/passed)
			return false
		}
		if s == nil && w.group != nil && len(w.req.Exclude) == 0 && p.beyond(now, w.req.Edge) == nil { // they have left, or are drained
			w.group.barren = p.queue.round
			budget++
		}
		if s == nil && len(edges) < cap(edges) && len(w.req.Exclude) == 0 && len(w.req.Labels) == 0 && p.beyond(now, w.req.Edge) != nil {
			edges = append(edges, w.req.Edge)
			budget++
		}
		return s != nil
	})
	if w != nil {
		p.clients.waited(PrefixOf(w.req.Client))
	}
	return w, s
}

// trier returns the waiter who goes first where that means to try a server that says it is full; zero: as ever. It is
// the newest of the highest priority: those who ask again as soon as they are refused, and may be refused for
// that, have come before.
func (p *Pool) trier(now Instant) (newest WaitID) {
	first := p.queue.bands[0]
	s := p.choose(now, &first.tenants[0].waiting[0].req)
	if s == nil || !s.isTry() {
		return 0
	}
	for _, l := range first.tenants {
		if !l.whose.isFull() {
			newest = max(newest, l.waiting[len(l.waiting)-1].id)
		}
	}
	return newest
}

// refuseWaiting releases those for whom it is no use to wait, as every server says that it is full.
func (p *Pool) refuseWaiting(now Instant, dst []Release) []Release {
	for {
		var refusal *Refusal
		w := p.removeWaiter(func(w *waiter) bool {
			refusal = p.refuseAll(now, &w.req, w.giveUp)
			return refusal != nil
		})
		if w == nil {
			return dst
		}
		dst = append(dst, Release{ID: w.id, Waited: now.Sub(w.joined), Refusal: p.orOverflow(&w.req, refusal)})
	}
}

// lookahead is how many requests are tried when the first in line cannot use the
// server that has come free, for its exclusions.
const lookahead = 16

// mostPassed is how many requests are passed over that wait for servers of their choice.
const mostPassed = 256

func (p *Pool) shed(now Instant, w *waiter) Release {
	return Release{ID: w.id, Waited: now.Sub(w.joined), Refusal: p.orOverflow(&w.req, &Refusal{Reason: Shed, RetryAfter: p.retryAfter(),
		Detail: fmt.Sprintf("pool %s: no server came free in %v", p.cfg.Name, now.Sub(w.joined).Round(time.Millisecond))})}
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
// lowest priority and there of the longest line; in that, of the client that has most leases and requests
// waiting. Where the newcomer's own tenant has the longest line, that client must have more than the newcomer's.
func (p *Pool) displace(now Instant, req *Request) bool {
	if len(p.queue.bands) == 0 {
		return false
	}
	lowest := p.queue.bands[len(p.queue.bands)-1]
	longest, mine := p.longest(lowest), p.placeOf(lowest, req)
	own := 0
	for _, l := range lowest.tenants {
		if l.place == mine {
			own = len(l.waiting)
			if own+1 >= len(longest.waiting) {
				longest = l
			}
		}
	}
	if lowest.priority > req.Priority {
		return false
	}
	last := longest.heaviest()
	if lowest.priority == req.Priority && longest.place == mine && last.client.weight() <= p.clients.byPrefix[PrefixOf(req.Client)].weight()+1 {
		return false
	}
	w := p.removeWaiter(func(w *waiter) bool { return w == last })
	p.displaced = append(p.displaced, Release{ID: w.id, Waited: now.Sub(w.joined), Refusal: p.orOverflow(&w.req, &Refusal{Reason: Saturated, RetryAfter: p.retryAfter(),
		Detail: fmt.Sprintf("pool %s: every server is at its limit and the queue is full", p.cfg.Name)})})
	return true
}

// needed returns the time before its deadline by which a request must have a server.
// A request that waits until only the usual service time is left fails half of the time, and
// when all wait that long, as in lasting overload, half of the servers' work is for
// nothing. So it is the time in which 98 in 100 are answered: of its tenant's, if these are known.
func (p *Pool) needed(req *Request) time.Duration {
	most := p.times.most()
	if t := p.tenantOf(req); t != nil {
		if own, ok := t.work.most(); ok {
			most = own
		}
	}
	return time.Duration(p.crowded(most) * float64(time.Second))
}

// retryAfter guesses when the queue will have moved on: what waits, at the rate at
// which the servers work; never less than a second, as the header counts in seconds.
func (p *Pool) retryAfter() time.Duration {
	seconds := float64(p.queue.length) * p.perWaiting
	return max(time.Second, min(time.Duration(seconds*float64(time.Second)), time.Minute))
}

// holds reports whether a request waits that comes before a new one of the priority.
func (q *queue) holds(priority int) bool {
	return len(q.bands) > 0 && q.bands[0].priority >= priority
}

// holdsUnlabelled is holds of requests that ask for no labels, and whose tenants may have more than they have.
func (q *queue) holdsUnlabelled(priority int) bool {
	for _, b := range q.bands {
		if b.priority < priority {
			break
		}
		for _, l := range b.tenants {
			if l.unlabelled > 0 && !l.whose.isFull() {
				return true
			}
		}
	}
	return false
}

// count counts a waiter that comes, by 1, or goes, by -1.
func (q *queue) count(l *line, w *waiter, by int) {
	q.length += by
	w.whose.waiting += by
	if w.client != nil {
		l.known += by
	}
	if w.group != nil {
		w.group.waiting += by
		return
	}
	*w.edge += by
	q.unlabelled += by
	l.unlabelled += by
}

// push adds a waiter at the end of its line and returns its place among all.
func (q *queue) push(w *waiter) (position int) {
	at, found := slices.BinarySearchFunc(q.bands, w.req.Priority, func(b *band, priority int) int { return cmp.Compare(priority, b.priority) })
	if !found {
		q.bands = slices.Insert(q.bands, at, &band{priority: w.req.Priority})
	}
	b := q.bands[at]
	i := slices.IndexFunc(b.tenants, func(l *line) bool { return l.place == w.place })
	if i < 0 {
		i = len(b.tenants)
		b.tenants = append(b.tenants, &line{place: w.place, whose: w.whose})
	}
	b.tenants[i].bill(w.whose, q.used)
	b.tenants[i].waiting = append(b.tenants[i].waiting, w)
	if q.length == 0 || w.giveUp < q.soonest {
		q.soonest = w.giveUp
	}
	if w.whose.waiting == 0 {
		w.whose.used = max(w.whose.used, q.used)
	}
	q.count(b.tenants[i], w, 1)
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

// heaviest returns the newest request of the client that has most leases and requests waiting.
func (l *line) heaviest() *waiter {
	if l.known == 0 {
		return l.waiting[len(l.waiting)-1]
	}
	last := l.waiting[0]
	for _, w := range l.waiting {
		if w.client.weight() >= last.client.weight() {
			last = w
		}
	}
	return last
}

// next returns the index of the waiter to be looked at next in a round; less than zero: none is left. If
// fair, it is the one whose client has fewest leases, and of several the one that came first.
func (l *line) next(round uint64, fair bool) int {
	if !fair {
		for ; l.at < len(l.waiting) && l.waiting[l.at].tried == round; l.at++ {
		}
		if l.at == len(l.waiting) {
			return -1
		}
		return l.at
	}
	best := -1
	for i, w := range l.waiting {
		if w.tried == round || best >= 0 && w.client.held() >= l.waiting[best].client.held() {
			continue
		}
		if best = i; w.client.held() == 0 {
			break
		}
	}
	return best
}

// take takes out the first waiter, in order of service, that suits. It looks at no more than budget of
// them; suits may raise that. Those looked at beyond lookahead are in the order in which they came.
func (q *queue) take(budget *int, suits func(*waiter) bool) *waiter {
	q.round++
	for bi, b := range q.bands {
		b.sort()
		for depth := 0; ; depth++ {
			more := false
			for li, l := range b.tenants {
				if l.whose.isFull() {
					continue
				}
				if depth == 0 {
					l.at = 0
				}
				i := l.next(q.round, depth < lookahead)
				if i < 0 {
					continue
				}
				more = true
				if *budget--; *budget < 0 {
					return nil
				}
				w := l.waiting[i]
				w.tried = q.round
				if suits(w) {
					q.drop(bi, li, i)
					return w
				}
			}
			if !more {
				break
			}
		}
	}
	return nil
}

// remove takes out the first waiter, in the order in which they came, that suits; it looks at no
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
				q.drop(bi, li, depth)
				return w
			}
			if !more {
				break
			}
		}
	}
	return nil
}

// drop takes out the waiter that stands there.
func (q *queue) drop(band, tenant, at int) {
	b := q.bands[band]
	l := b.tenants[tenant]
	q.stopAwaiting(l.waiting[at])
	q.count(l, l.waiting[at], -1)
	if at == 0 { // nearly always; those behind it need not move
		l.waiting[0] = nil
		l.waiting = l.waiting[1:]
	} else {
		l.waiting = slices.Delete(l.waiting, at, at+1)
	}
	if len(l.waiting) == 0 {
		b.tenants = slices.Delete(b.tenants, tenant, tenant+1)
	}
	if len(b.tenants) == 0 {
		q.bands = slices.Delete(q.bands, band, band+1)
	}
}

// turn moves the tenant of a request that was just served behind the others.
func (q *queue) turn(w *waiter) {
	for _, b := range q.bands {
		if b.priority != w.req.Priority {
			continue
		}
		for i, l := range b.tenants {
			if l.place == w.place {
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
	for _, s := range []*string{&c.Key, &c.Tenant, &c.Location, &c.Method, &c.Host, &c.Path, &c.Class} {
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
