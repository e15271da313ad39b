package edge

import (
	"net/netip"
	"syscall"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/h2"
)

// How a trunk speaks, and how it ends.

// flush sends what there is to say.
func (k *trunk) flush() {
	waited := k.down.waiting()
	clear, took, err := k.send()
	if err != nil {
		k.close()
		return
	}
	if took > 0 && k.leave.spent > 0 {
		k.leave.earn(took)
	}
	if clear || waited == 0 || took > 0 {
		k.tookAt = k.loop.now
	}
	if k.down.waiting() < mostBehind/2 {
		k.wake()
		if (k.readable || k.pending) && k.stage <= aging {
			k.loop.soon(&k.end) // it was not read meanwhile
		}
	}
	if clear {
		k.mayEnd()
	}
	if k.isOpen() {
		k.schedule()
	}
}

// mayEnd goes on with the end of a connection of which all has gone that was said.
func (k *trunk) mayEnd() {
	switch {
	case k.stage == aging && len(k.branches) == 0:
		k.fell()
		k.part()
	case k.stage == felled:
		k.part()
	}
}

// fell says that nothing more will be.
func (k *trunk) fell() { k.stage, k.in, k.block = felled, nil, block{} }

// part lets the client read what it was told: a connection that is closed with something
// unread in it is reset, and what was sent before is lost.
func (k *trunk) part() {
	if k.down.finish(&k.end) != nil {
		k.close()
		return
	}
	k.stage, k.endAt = settlingDown, k.loop.now.Add(lingers)
	k.throw()
}

// throw reads once and forgets, and lets others go on before it reads again. The client may
// send what it was given leave for before the connection was ended, and a little besides;
// one that sends more is no longer waited for. One that broke the protocol is not read: it has
// until endAt to see why, or to close, and cannot begin anew at once if it only writes.
func (k *trunk) throw() {
	if !k.readable || k.broken && !k.hup {
		return
	}
	n, err := k.read(k.loop.shared)
	if err == syscall.EAGAIN {
		return
	}
	if k.window -= int64(n); err != nil || n <= 0 || k.window < -discardedMost {
		k.close()
		return
	}
	if k.readable {
		k.loop.soon(&k.end)
	}
}

// fail ends the connection for what its client did wrong.
func (k *trunk) fail(err error) {
	if k.stage > aging {
		return
	}
	why, ok := err.(*h2.Error)
	if !ok {
		why = &h2.Error{Code: h2.InternalError}
	}
	k.service.engine.edge.cfg.Log.Debug("connection refused", "client", node(k.peer), "err", err)
	k.bid(k.last, why.Code, why.Reason)
	k.broken = true
	k.fell()
	k.prune()
}

// prune ends what is under way. Its client is told of it by the end of the connection.
func (k *trunk) prune() {
	for i := len(k.branches) - 1; i >= 0; i-- {
		if b := k.branches[i]; !b.over {
			b.over = true
			b.cutOff()
		}
	}
}

// close ends the connection, and whatever is under way on it.
func (k *trunk) close() {
	if k.stage == gone {
		return
	}
	k.stage = gone
	l := k.loop
	k.down.reset(l)
	k.in, k.block = nil, block{}
	l.wheel.drop(&k.timer)
	k.end.close()
	if len(k.branches) == 0 {
		k.service.left(l, k)
		return
	}
	k.prune() // the last of them tells that it is left
}

// seat implements member.
func (k *trunk) seat() netip.Addr { return k.peer }

// hurry implements member: it asks the client to begin no more streams, and leaves it a
// moment for those that are on their way (RFC 9113, 6.8).
func (k *trunk) hurry() {
	if k.stage != growing || k.endAt != 0 {
		return
	}
	grace := k.service.firstWait()
	if k.served || len(k.branches) > 0 {
		grace = min(k.service.engine.edge.lastGrace(), k.service.listener.IdleTimeout)
	}
	k.bid(h2.StreamMost, h2.NoError, "")
	k.endAt = k.loop.now.Add(grace)
	k.schedule()
}

// age takes no more streams.
func (k *trunk) age() {
	if k.stage != growing {
		return
	}
	k.stage, k.final = aging, k.last
	k.bid(k.last, h2.NoError, "")
}

// cutOff implements member.
func (k *trunk) cutOff() { k.close() }

// schedule sets the time at which something must be done if nothing happens until then.
func (k *trunk) schedule() { k.loop.wheel.set(&k.timer, k.due()) }

func (k *trunk) due() balance.Instant {
	l := k.service.listener
	due := balance.Instant(0)
	at := func(when balance.Instant, wait time.Duration) {
		if when = when.Add(wait); due == 0 || when < due {
			due = when
		}
	}
	if k.resumeAt != 0 {
		at(k.resumeAt, 0)
	}
	if len(k.unread.list) > 0 && k.stage <= aging {
		at(k.unread.due(), 0)
	}
	if k.endAt != 0 && (k.stage == growing || k.stage == settlingDown) {
		at(k.endAt, 0)
	}
	switch {
	case k.stage == settlingDown:
		return due
	case !k.down.empty():
		at(k.tookAt, l.IdleTimeout)
	}
	switch {
	case k.stage == felled:
	case !k.settled:
		at(k.idleAt, l.HeaderTimeout)
	case k.block.stream != 0:
		at(k.block.since, l.HeaderTimeout)
	case len(k.branches) == 0:
		at(k.idleAt, l.IdleTimeout)
	case k.pingAt != 0:
		at(k.pingAt, pingWait)
	default:
		at(k.heardAt, pingAfter)
	}
	return due
}

// expired implements the timer's owner.
func (k *trunk) expired() {
	l, now := k.service.listener, k.loop.now
	past := func(when balance.Instant, wait time.Duration) bool { return now >= when.Add(wait) }
	if k.resumeAt != 0 && now >= k.resumeAt {
		k.resumeAt = 0
		k.loop.soon(&k.end)
	}
	k.resetUnread()
	switch {
	case k.stage == settlingDown:
		k.close()
	case !k.down.empty() && past(k.tookAt, l.IdleTimeout):
		k.close()
	case k.stage == felled:
	case !k.settled && past(k.idleAt, l.HeaderTimeout), k.block.stream != 0 && past(k.block.since, l.HeaderTimeout):
		k.fail(&h2.Error{Code: h2.ProtocolError, Reason: "what was begun did not come in time"})
	case k.endAt != 0 && now >= k.endAt:
		k.age()
	case len(k.branches) == 0:
		if past(k.idleAt, l.IdleTimeout) {
			k.age()
		}
	case k.pingAt != 0 && past(k.pingAt, pingWait):
		k.close() // whoever was there is not any more
	case k.pingAt == 0 && past(k.heardAt, pingAfter):
		k.pingAt = now
		k.speak()
		k.out = h2.AppendPing(k.out, make([]byte, 8), 0)
	}
	if k.isOpen() {
		k.schedule()
	}
}
