package master

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// This file keeps what has changed lately, for operators: which servers joined, left, went out and came back, who leads, which edges
// came and went, and that the configuration was reloaded.

const (
	mostEvents      = 1000             // that are kept
	listedEvents    = 100              // if the caller sets no limit
	eventBurst      = 20               // events of one kind and pool that are kept singly in a burst
	eventBurstTime  = 10 * time.Second // that a burst lasts; the events beyond eventBurst are counted in one at its end
	mostEventBursts = 1000             // kinds and pools that are told apart
)

// The kinds of events.
const (
	eventMasterStarted   = "master-started"
	eventConfigReloaded  = "config-reloaded"
	eventPoolOpened      = "pool-opened"
	eventPoolRemoved     = "pool-removed"
	eventPoolLed         = "pool-led"      // by this master, from now on
	eventPoolFollowed    = "pool-followed" // another master leads it, or none
	eventServerJoined    = "server-joined"
	eventServerLeft      = "server-left"
	eventServerOut       = "server-out"
	eventServerBack      = "server-back"
	eventServerDrained   = "server-drained"
	eventServerUndrained = "server-undrained"
	eventServerSet       = "server-set" // slots, max_in_flight or maintenance, by an operator
	eventServerUnset     = "server-unset"
	eventEdgeConnected   = "edge-connected"
	eventEdgeGone        = "edge-gone"
	eventAgentGone       = "agent-gone" // its server stays
	eventCanaryHeldBack  = "canary-held-back"
	eventCanaryTried     = "canary-tried"
)

// event is one change.
type event struct {
	Seq    uint64    `json:"seq"` // grows by one with each event of this master
	At     time.Time `json:"at"`
	Kind   string    `json:"kind"`
	Pool   string    `json:"pool,omitempty"`
	Server string    `json:"server,omitempty"`
	Peer   string    `json:"peer,omitempty"`   // the edge's id, or the master that leads
	Reason string    `json:"reason,omitempty"` // of an outage, as in status
	By     string    `json:"by,omitempty"`     // whose word it rests on
	What   string    `json:"what,omitempty"`   // happened, in a clause
	Error  string    `json:"error,omitempty"`  // the last one
	AfterS float64   `json:"after_s,omitempty"`
	Count  int       `json:"count,omitempty"` // further events of the kind that this one stands for; 0: it stands for itself
}

// events are the last mostEvents events. Their lock is taken last: no pool's lock is taken while it is held, and it is not taken while a
// pool's is held.
type events struct {
	mu     sync.Mutex
	ring   []event // oldest first, once full from next on
	next   int
	seq    uint64 // of the newest
	bursts map[burstKey]*burst
}

type burstKey struct{ kind, pool string }

// burst is what has come of one kind and pool since a moment.
type burst struct {
	began  balance.Instant
	n      int
	folded int // of these, that were not kept singly
}

// add keeps an event, whose Seq and At it sets.
func (e *events) add(now balance.Instant, one event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.foldLocked(now, burstKey{one.Kind, one.Pool}) {
		return
	}
	e.keepLocked(now, one)
}

// foldLocked reports whether an event is only counted, because too many of its kind come at once.
func (e *events) foldLocked(now balance.Instant, key burstKey) bool {
	b := e.bursts[key]
	if b == nil || now.Sub(b.began) >= eventBurstTime {
		e.endBurstsLocked(now)
		if len(e.bursts) >= mostEventBursts {
			return false
		}
		if e.bursts == nil {
			e.bursts = make(map[burstKey]*burst)
		}
		b = &burst{began: now}
		e.bursts[key] = b
	}
	if b.n++; b.n <= eventBurst {
		return false
	}
	b.folded++
	return true
}

// endBurstsLocked keeps an event for those that were folded in each burst that is over.
func (e *events) endBurstsLocked(now balance.Instant) {
	var over []burstKey
	for key, b := range e.bursts {
		if now.Sub(b.began) >= eventBurstTime {
			over = append(over, key)
		}
	}
	slices.SortFunc(over, func(a, b burstKey) int { return cmp.Or(cmp.Compare(a.pool, b.pool), cmp.Compare(a.kind, b.kind)) })
	for _, key := range over {
		if n := e.bursts[key].folded; n > 0 {
			e.keepLocked(now, event{Kind: key.kind, Pool: key.pool, Count: n})
		}
		delete(e.bursts, key)
	}
}

// clear forgets all events.
func (e *events) clear() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ring, e.next, e.seq, e.bursts = nil, 0, 0, nil
}

func (e *events) keepLocked(now balance.Instant, one event) {
	e.seq++
	one.Seq, one.At = e.seq, clock.Time(now)
	if len(e.ring) < mostEvents {
		e.ring = append(e.ring, one)
		return
	}
	e.ring[e.next] = one
	e.next = (e.next + 1) % mostEvents
}

// since returns the newest events after a sequence number, at most limit, oldest first, and the number of the newest of all.
func (e *events) since(now balance.Instant, after uint64, limit int, suits func(*event) bool) (list []event, newest uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.endBurstsLocked(now)
	for i := len(e.ring) - 1; i >= 0 && len(list) < limit; i-- {
		one := &e.ring[(e.next+i)%len(e.ring)]
		if one.Seq <= after {
			break
		}
		if suits == nil || suits(one) {
			list = append(list, *one)
		}
	}
	slices.Reverse(list)
	return list, e.seq
}

// noteLocked has unlock keep an event of the pool.
func (p *pool) noteLocked(one event) {
	if len(p.news) < mostEvents {
		one.Pool = p.name
		p.news = append(p.news, one)
	}
}

// takeNewsLocked returns the events to be kept.
func (p *pool) takeNewsLocked() (news []event) {
	news, p.news = p.news, nil
	return news
}

// keepNews keeps the events of a pool, whose lock must not be held.
func (m *Master) keepNews(news []event) {
	now := clock.Now()
	for _, one := range news {
		m.events.add(now, one)
	}
}

// hasOwnEvent reports whether a server goes out for that reason, and comes back, with an event of its own.
func hasOwnEvent(kind balance.OutageKind) bool {
	return kind == balance.OutDraining || kind == balance.OutMaintenance || kind == balance.OutGone
}

// noteTurn keeps that a server has gone out or is back in. What operators say, and servers that leave, have events of their own.
func (m *Master) noteTurn(now balance.Instant, pool string, t *balance.Turn) {
	switch {
	case t.Out == nil && hasOwnEvent(t.Was), t.Out != nil && hasOwnEvent(t.Out.Kind):
	case t.Out == nil:
		m.events.add(now, event{Kind: eventServerBack, Pool: pool, Server: string(t.Server), Reason: t.Was.String(), AfterS: seconds(t.After)})
	default:
		o := t.Out
		m.events.add(now, event{Kind: eventServerOut, Pool: pool, Server: string(t.Server), Reason: o.Kind.String(), By: o.By, What: o.What, Error: o.Error})
	}
}

func (m *Master) getEvents(w http.ResponseWriter, r *http.Request) *document {
	query := r.URL.Query()
	after, limit := uint64(0), listedEvents
	var err error
	if text := query.Get("after"); text != "" {
		if after, err = strconv.ParseUint(text, 10, 64); err != nil {
			return malformed(fmt.Errorf("after: %q, want the seq of an event", clip(text)))
		}
	}
	if text := query.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > mostEvents {
			return malformed(fmt.Errorf("limit: %q, want 1 to %d", clip(text), mostEvents))
		}
	}
	pool, server := query.Get("pool"), query.Get("server")
	list, newest := m.events.since(clock.Now(), after, limit, func(e *event) bool {
		return (pool == "" || e.Pool == pool) && (server == "" || e.Server == server)
	})
	return write(w, map[string]any{"events": append([]event{}, list...), "newest": newest})
}
