package balance

import (
	"maps"
	"math"
	"strings"
)

// This file shares a full pool among tenants by the work that their requests are, in server-seconds. By their number, a
// tenant whose requests are ten times as long would get ten times as much.
//
// It is start-time fair queueing: of those that wait, the tenant is next that has used least, over its weight. What a request
// will use is guessed when it is granted, from the tenant's requests before, and put right when it has ended. A tenant that
// begins to wait has used as much as the one that was served last: it has no credit from the time before.

// tenant is what a pool knows of one, or of those that share a line in the queue.
type tenant struct {
	place   place
	weight  float64 // its share over that of a tenant of which nothing is configured
	used    float64 // server-seconds over weight
	waiting int     // requests in the queue
	leases  int     // of its leases that refer to it
	fixed   bool    // it is configured
	cap     int     // of its leases; zero: none
	work    work
}

// work is what a tenant's requests are like: their times alone at a server.
type work struct {
	samples float64 // older ones fade
	mean    float64 // seconds
	log     float64 // mean logarithm
	square  float64 // mean square of the logarithms
}

const (
	workMemory  = 200 // samples
	workEnough  = 20  // samples that tell how the times are spread
	mostTenants = 1024
	leastWork   = 1e-6 // seconds
)

func (w *work) observe(seconds float64) {
	w.samples = min(w.samples+1, workMemory)
	gain, log := 1/w.samples, math.Log(seconds)
	w.mean += gain * (seconds - w.mean)
	w.log += gain * (log - w.log)
	w.square += gain * (log*log - w.square)
}

// guess returns the seconds that the next request will use. usual is what the pool's take, which counts as one sample.
func (w *work) guess(usual float64) float64 {
	return (w.mean*w.samples + usual) / (w.samples + 1)
}

// most returns the seconds under which 98 in 100 stay; false: that is not known.
func (w *work) most() (float64, bool) {
	if w.samples < workEnough {
		return 0, false
	}
	return math.Exp(w.log + nearlyAll*math.Sqrt(max(0, w.square-w.log*w.log))), true
}

// tenantAt returns the tenant of a line. It remembers no more of them than mostTenants, but for those that are in use.
func (p *Pool) tenantAt(at place) *tenant {
	t := p.tenants.all[at]
	if t == nil {
		if p.tenants.all == nil {
			p.tenants.all = make(map[place]*tenant)
		}
		if n := len(p.tenants.all); n >= max(2*mostTenants, p.tenants.sweepAt) {
			maps.DeleteFunc(p.tenants.all, func(_ place, t *tenant) bool { return t.isIdle() })
			p.tenants.sweepAt = 2 * len(p.tenants.all) // so that tenants that stay are not looked at for each new one
		}
		at.tenant = strings.Clone(at.tenant)
		t = &tenant{place: at, weight: 1}
		p.tenants.all[at] = t
	}
	return t
}

// payer returns the tenant that pays for what waits in a line. All that the pool does not know pay together, though a few have lines of
// their own: with a new name for each request none of them would ever have used anything.
func (p *Pool) payer(at place) *tenant {
	_, known := p.tenants.known[at.tenant]
	if _, listed := p.tenants.listed[at.tenant]; at.tenant != "" && at.belief == Told && !known && !listed {
		at = place{shared: true}
	}
	return p.tenantAt(at)
}

// bill has another tenant pay for what waits in the line: the pool has got to know it.
func (l *line) bill(t *tenant, used float64) {
	if l.whose == t {
		return // nearly always
	}
	if t.waiting == 0 {
		t.used = max(t.used, used)
	}
	for _, w := range l.waiting {
		w.whose.waiting--
		t.waiting++
		w.whose = t
	}
	l.whose = t
}

// tenantOf returns the tenant of a request that does not wait; nil: it has none that counts.
func (p *Pool) tenantOf(req *Request) *tenant {
	if req.Tenant == "" || req.Belief == Disbelieved {
		return nil // nearly always
	}
	own := p.placeOf(nil, req)
	if t := p.tenants.all[own]; t != nil {
		return t
	}
	if _, known := p.tenants.known[req.Tenant]; own.shared || req.Belief != Proven && !known {
		return nil
	}
	return p.tenantAt(own)
}

// rest forgets a tenant that has nothing, if too many are remembered.
func (p *Pool) rest(t *tenant) {
	if len(p.tenants.all) > mostTenants && t.isIdle() {
		delete(p.tenants.all, t.place)
	}
}

// isFull reports whether the tenant may have no further lease. t may be nil.
func (t *tenant) isFull() bool { return t != nil && t.cap > 0 && t.leases >= t.cap }

// isIdle reports whether nothing refers to the tenant.
func (t *tenant) isIdle() bool { return t.waiting == 0 && t.leases == 0 && !t.fixed }

// charge has a tenant pay for a request that has waited and is granted a lease.
func (p *Pool) charge(l *lease) {
	t := l.tenant
	usual := 1.
	if p.times.weight > 0 {
		usual = p.times.usual * p.times.spread
	}
	l.charged = float32(t.work.guess(usual))
	p.queue.used = max(p.queue.used, t.used)
	t.used += float64(l.charged) / t.weight
}

// settleWork takes what a lease that ends has used of its server.
func (p *Pool) settleWork(now Instant, s *Server, l *lease, o *Outcome) {
	t := l.tenant
	took := now.Sub(l.started)
	if o.Duration > 0 { // which its edge says: no more than the lease was open
		took = min(took, o.Duration)
	}
	alone := s.alone(float64(l.crowd), took)
	if s.capacity.slots < 1+slotsError && l.crowd > 1+slotsError { // bound ahead: what it waited for the one before was not its work
		alone = min(seconds(took), seconds(now.Sub(s.ended)))
	}
	if o.Result == OK && o.Duration > 0 && alone > leastWork { // less: ends of several are told at once
		t.work.observe(alone)
	}
	if l.charged > 0 {
		t.used += (alone - float64(l.charged)) / t.weight
	}
	t.leases--
	p.rest(t)
}

// sort puts the lines of a band in order of what their tenants have used; those that have used as much stay in turn.
func (b *band) sort() {
	for i := 1; i < len(b.tenants); i++ {
		for j := i; j > 0 && b.tenants[j].whose.used < b.tenants[j-1].whose.used; j-- {
			b.tenants[j], b.tenants[j-1] = b.tenants[j-1], b.tenants[j]
		}
	}
}
