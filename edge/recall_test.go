package edge

import (
	"context"
	"sync"
	"testing"
	"time"
)

// A context that was made of one keeps its end, whenever it is told of it: the exchange
// may be over by then and its room be another's.
func TestRenewedRecallLeavesNobodyWithoutAnEnd(t *testing.T) {
	var r recall
	var derived sync.WaitGroup
	for range 2000 {
		before := r.context()
		child, cancel := context.WithTimeout(before, time.Hour)
		derived.Go(func() {
			<-child.Done()
			if child.Err() == nil || before.Err() == nil {
				t.Error("it is done without an error")
			}
		})
		r.end(errLeft)
		r.renew()
		cancel()
		if r.context().Err() != nil || r.left() {
			t.Fatal("the new one has ended already")
		}
	}
	derived.Wait()
}

func TestRecallIsKeptUntilItEnds(t *testing.T) {
	var r recall
	first := r.context()
	r.renew()
	if r.context() != first {
		t.Error("another one was made of one that has not ended")
	}
	r.end(errSilent)
	if first.Err() == nil || r.left() {
		t.Errorf("error %v, left %v; want an end, and a client that is there", first.Err(), r.left())
	}
	if r.end(errLeft); !r.left() {
		t.Error("that the client left counts for nothing")
	}
	if r.context().Err() == nil {
		t.Error("it has ended and does not show it")
	}
}

// Who is told that the master is silent goes on at once, however soon that is.
func TestSilenceOfTheMasterEndsOnlyTheAsk(t *testing.T) {
	var r recall
	for range 2000 {
		r.expect(1)
		asked := r.context()
		go r.expire(2)
		<-asked.Done()
		r.heard()
		if r.context().Err() != nil {
			t.Fatal("what follows the ask has ended with it")
		}
	}
}

// An answer that comes while the master is being taken for silent counts.
func TestAnAnswerInTheLastMomentCounts(t *testing.T) {
	var r recall
	for range 2000 {
		r.expect(1)
		var expired sync.WaitGroup
		expired.Go(func() { r.expire(2) })
		r.heard()
		if r.context().Err() != nil {
			t.Fatal("what follows the answer has ended")
		}
		expired.Wait()
		if r.context().Err() != nil {
			t.Fatal("what follows the answer ended late")
		}
	}
}

func TestSilenceDoesNotHideThatTheClientLeft(t *testing.T) {
	var r recall
	r.expect(1)
	r.expire(2)
	r.end(errLeft)
	if r.heard(); !r.left() || r.context().Err() == nil {
		t.Error("the client who left is forgotten")
	}
}
