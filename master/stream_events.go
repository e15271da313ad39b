package master

import (
	"encoding/json"
	"fmt"
	"maps"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// This file makes the stream's events, of which openapi.yaml says what is in them.

// streamHead is what stands before the pools in an event.
type streamHead struct {
	Seq        uint64       `json:"seq"`
	Now        int64        `json:"now"` // Unix milliseconds
	IntervalMS int64        `json:"interval_ms"`
	Problems   []string     `json:"problems"` // of pools and of the configuration; those of servers are in their outages
	Edges      int64        `json:"edges"`
	Agents     int64        `json:"agents"`
	Events     []event      `json:"events"`
	Decisions  []sampleBody `json:"decisions"`
	Master     *masterBody  `json:"master,omitempty"` // in snapshots
}

type masterBody struct {
	ID      string `json:"id"`
	Version string `json:"version,omitempty"`
	Since   int64  `json:"since"` // Unix seconds
}

// tick looks at all pools and returns the event with what has changed; nil the first time, when all have to have a snapshot.
func (p *producer) tick(now balance.Instant) []byte {
	if p.pools == nil {
		p.pools, p.at = make(map[uint32]*poolPicture), now
	}
	p.lookAtPools(now)
	events, newest := p.master.events.since(now, p.events, eventsAtFirst, nil)
	fresh := p.sampleDecisions(now)
	first := p.seq == 0
	p.seq, p.at, p.events = p.seq+1, now, newest
	b := p.begin("tick", p.head(events, fresh))
	for i, pp := range p.order {
		b = pp.appendChanges(pp.appendTotal(b, i))
		b = append(b, '}')
	}
	if first {
		return nil
	}
	return finish(b)
}

// snapshot returns the event with all that was told up to the last tick. The stream's lock must be held.
func (p *producer) snapshot() []byte {
	if p.seq == 0 {
		return nil
	}
	events, _ := p.master.events.since(p.at, 0, eventsAtFirst, func(e *event) bool { return e.Seq <= p.events })
	head := p.head(events, p.master.stream.lastSamples(shownSamples))
	head.Master = &masterBody{ID: p.master.id, Version: p.master.version, Since: clock.Time(p.master.started).Unix()}
	b := p.begin("snapshot", head)
	for i, pp := range p.order {
		b = pp.appendAll(pp.appendTotal(b, i))
		b = append(b, '}')
	}
	return finish(b)
}

func (p *producer) lookAtPools(now balance.Instant) {
	for _, pp := range p.pools {
		pp.present = false
	}
	p.order = p.order[:0]
	for _, pool := range p.master.pools.Load().list {
		pp := p.pools[pool.number]
		if pp == nil {
			pp = &poolPicture{name: pool.name, places: make(map[balance.ServerID]int)}
			p.pools[pool.number] = pp
		}
		pp.present = true
		pp.look(p, pool, now)
		p.order = append(p.order, pp)
	}
	maps.DeleteFunc(p.pools, func(_ uint32, pp *poolPicture) bool { return !pp.present })
}

func (p *producer) sampleDecisions(now balance.Instant) (shown []sampleBody) {
	var fresh []sample
	for _, pool := range p.master.pools.Load().list {
		if pp := p.pools[pool.number]; pp != nil {
			fresh = append(fresh, pp.sampleDecisions(pool, now)...)
		}
	}
	p.master.stream.keepSamples(fresh)
	for i := range fresh {
		shown = append(shown, newSampleBody(&fresh[i]))
	}
	return shown
}

func (p *producer) head(events []event, decisions []sampleBody) *streamHead {
	h := &streamHead{Seq: p.seq, Now: clock.Time(p.at).UnixMilli(), IntervalMS: p.interval().Milliseconds(), Problems: []string{}, Events: events, Decisions: decisions,
		Edges: p.master.peers.counts[roleEdge].Load(), Agents: p.master.peers.counts[roleAgent].Load()}
	if why := p.master.reloadFailed(); why != "" {
		h.Problems = append(h.Problems, reloadProblem(why))
	}
	for _, pp := range p.order {
		h.Problems = append(h.Problems, pp.problems...)
	}
	return h
}

// begin begins an event, up to its list of pools.
func (p *producer) begin(kind string, head *streamHead) []byte {
	text, _ := json.Marshal(head) // it has nothing that cannot be written
	b := fmt.Appendf(nil, "id: %d\nevent: %s\ndata: ", p.seq, kind)
	return append(append(b, text[:len(text)-1]...), `,"pools":[`...)
}

func finish(b []byte) []byte { return append(b, "]}\n\n"...) }

// appendTotal begins the i-th pool of an event.
func (pp *poolPicture) appendTotal(b []byte, i int) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	text, _ := json.Marshal(&pp.total)
	return append(b, text[:len(text)-1]...)
}

// poolProblems returns what is wrong with the pool as a whole, as the status has it.
func (pp *poolPicture) poolProblems(canary *canaryBody, lately lastMinute) []string {
	s := statusPool{Name: pp.name, Leading: pp.total.Leading, Leader: pp.total.Leader, Fence: pp.total.Fence, Removed: pp.total.Removed, Refused: pp.total.FenceRefused, Lately: lately, Canary: canary}
	for i := range pp.rows {
		r := &pp.rows[i]
		if r.id == "" || !r.seen {
			continue
		}
		one := statusServer{ID: string(r.id)}
		if kind := r.nowState.kind; kind != balance.NoOutage {
			one.Outages = []outage{{Reason: kind.String(), out: stopsRequests(kind)}}
		}
		if s.Servers = append(s.Servers, one); one.Outages == nil {
			s.UpCount++
			break // some server is well
		}
		if !one.Outages[0].out {
			s.UpCount++
		}
	}
	return s.problems()
}
