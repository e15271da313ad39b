package exchange

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Where an ask takes longer than it wins, the edge chooses servers by itself: from the last snapshot, by its own
// counts, as in a fallback. It tells the master of each, so that the ledger is complete. Some requests ask all the
// same, which shows when asking pays again. From what trip on this is so, and in which pools, the master says
// (balance.Pool.LocalFrom).

// chooseLocally chooses the server of the next link and stores the grant in x.Pending. It returns false if the
// request is to ask.
func (x *Exchange) chooseLocally(exclude []balance.ServerID) bool {
	d, p := x.deps, x.Pool
	if d.local == nil || len(exclude) > 0 || x.overflow.pool != "" || x.overflow.stays || x.Request.Link != balance.LinkRoute || asksMore(&x.Request) {
		return false
	}
	now := x.now()
	if !p.choosesLocally(now, d.local.LocalFrom(p.Name)) {
		return false
	}
	s := p.choose(now, d.local.Snapshot(p.Name))
	if s == nil {
		return false
	}
	lease, err := d.local.Chosen(p.Name, s.ID, now, &x.Request)
	if err != nil {
		d.Log.Debug("the master cannot be told of a local choice", "pool", p.Name, "err", err)
		return false
	}
	p.localCount.Inc()
	x.Pending = balance.Grant{Lease: lease, Server: s.ID, Address: s.Address, At: s.At, Public: s.Public}
	return true
}

// asksMore reports whether a request says something that only its master can heed.
func asksMore(q *balance.Request) bool { return len(q.Labels) > 0 || q.Location != "" || q.Hold > 0 }

// noteAskTime handles that an ask was granted.
func (x *Exchange) noteAskTime(now balance.Instant) {
	d, p := x.deps, x.Pool
	if d.local == nil || x.Pending.Waited > 0 || x.overflow.pool != "" {
		return
	}
	from := d.local.LocalFrom(p.Name)
	if from == 0 && !p.isLocal.Load() {
		return // nearly always
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.local.Asked(now, now.Sub(x.AskedAt), from)
	p.publishLocalLocked(from)
}

// choosesLocally reports whether the edge chooses the server of the pool's next request.
func (p *Pool) choosesLocally(now balance.Instant, from time.Duration) bool {
	if from == 0 && !p.isLocal.Load() {
		return false // nearly always
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	chooses := p.local.Chooses(now, from)
	p.publishLocalLocked(from)
	return chooses
}

// publishLocalLocked sets isLocal, and logs it if it has changed. from is the trip from which the edge is to choose.
func (p *Pool) publishLocalLocked(from time.Duration) {
	on := p.local.On()
	switch was := p.isLocal.Swap(on); {
	case on && !was:
		p.log.Info("choosing servers without asking", "pool", p.Name, "ask_ms", milliseconds(p.local.Trip()), "from_ms", milliseconds(from))
	case was && !on:
		p.log.Info("asking the master for servers again", "pool", p.Name, "ask_ms", milliseconds(p.local.Trip()), "from_ms", milliseconds(from))
	}
}

// choose returns the server that the edge takes by its own count and the pool's load; nil: the request is to ask.
func (p *Pool) choose(now balance.Instant, snap *balance.Snapshot) *balance.SnapshotServer {
	if snap == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.turns.LeastByShare(snap, p.avoidLocked(now, nil), p.linksLocked, p.rng)
}

// noteChoice handles how a link to a server that the edge has chosen ended. A server that is full or cannot be used
// looks idle, and only the master finds out what to do about it: the edge asks.
func (p *Pool) noteChoice(o *balance.Outcome) {
	switch o.Result {
	case balance.Full, balance.Unreachable, balance.Broken:
		p.mu.Lock()
		p.local.Stop()
		p.publishLocalLocked(0)
		p.mu.Unlock()
	}
}
