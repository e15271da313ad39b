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

// What follows an ask does not suffer from its end, unless the client has left.
func TestSilenceOfTheMasterEndsOnlyTheAsk(t *testing.T) {
	var r recall
	asked := r.context()
	r.end(errSilent)
	if asked.Err() == nil {
		t.Error("the ask has not ended")
	}
	if r.forgive(); r.context().Err() != nil || asked.Err() == nil {
		t.Error("what follows the ask has ended with it, or the ask goes on")
	}
}

func TestSilenceDoesNotHideThatTheClientLeft(t *testing.T) {
	var r recall
	r.end(errSilent)
	r.end(errLeft)
	if r.forgive(); !r.left() || r.context().Err() == nil {
		t.Error("the client who left is forgotten")
	}
}
