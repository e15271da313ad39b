package master

import (
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// An ask that follows its place hears of it when it changes, and others only when they join.
func TestAnAskFollowsItsPlace(t *testing.T) {
	r := start(t, narrow(0))
	e := r.dialEdge("e1")
	held := e.occupy()
	for seq := range uint64(3) {
		e.ask(wire.Ask{Seq: seq + 1, Pool: "web", Request: balance.Request{Follow: seq == 2}})
		if q := e.queued(); q.Seq != seq+1 || q.Position != uint32(seq+1) {
			t.Fatalf("got %+v, want place %d for ask %d", q, seq+1, seq+1)
		}
	}
	for place := range uint32(2) {
		e.send(&wire.Done{Pool: "web", Lease: held})
		held = e.granted().Grant.Lease
		for {
			if q := e.queued(); q.Seq != 3 {
				t.Fatalf("ask %d, which does not follow, got %+v", q.Seq, q)
			} else if q.Position == 2-place {
				break // only the wait that is expected has changed before
			}
		}
	}
}

// The same in one process.
func TestALocalAskFollowsItsPlace(t *testing.T) {
	r := start(t, narrow(0))
	local := r.Edge("here")
	pick := func(stands func(balance.Standing)) (granted chan balance.Grant) {
		granted = make(chan balance.Grant, 1)
		go func() {
			g, err := local.Pick(t.Context(), "web", &balance.Request{Follow: stands != nil, Stands: stands})
			if err != nil {
				t.Error(err)
			}
			granted <- g
		}()
		return granted
	}
	told := make(chan balance.Standing, 100)
	held := <-pick(nil)
	before := pick(nil)
	for r.waiting() == 0 {
		time.Sleep(time.Millisecond)
	}
	mine := pick(func(at balance.Standing) { told <- at })
	until := func(position int) {
		t.Helper()
		for at := range told {
			if at.Position == position {
				return
			}
		}
	}
	until(2)
	local.Done("web", held.Lease, balance.Outcome{})
	until(1)
	local.Done("web", (<-before).Lease, balance.Outcome{})
	local.Done("web", (<-mine).Lease, balance.Outcome{})
}
