package edge

import (
	"context"
	"sync"
	"testing"
	"time"
)

// A context that was returned once sees its end, even after its exchange is over and its state is reused.
func TestRenewedRecallLeavesNobodyWithoutAnEnd(t *testing.T) {
	var r cancellation
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
		r.cancel(errClientLeft)
		r.reuse()
		cancel()
		if r.context().Err() != nil || r.clientLeft() {
			t.Fatal("the new one has ended already")
		}
	}
	derived.Wait()
}

func TestRecallIsKeptUntilItEnds(t *testing.T) {
	var r cancellation
	first := r.context()
	r.reuse()
	if r.context() != first {
		t.Error("another one was made of one that has not ended")
	}
	r.cancel(errMasterSilent)
	if first.Err() == nil || r.clientLeft() {
		t.Errorf("error %v, left %v; want an end, and a client that is there", first.Err(), r.clientLeft())
	}
	if r.cancel(errClientLeft); !r.clientLeft() {
		t.Error("that the client left counts for nothing")
	}
	if r.context().Err() == nil {
		t.Error("it has ended and does not show it")
	}
}

// What follows an ask does not suffer from its end, unless the client has left.
func TestSilenceOfTheMasterEndsOnlyTheAsk(t *testing.T) {
	var r cancellation
	asked := r.context()
	r.cancel(errMasterSilent)
	if asked.Err() == nil {
		t.Error("the ask has not ended")
	}
	if r.resetTimeout(); r.context().Err() != nil || asked.Err() == nil {
		t.Error("what follows the ask has ended with it, or the ask goes on")
	}
}

func TestSilenceDoesNotHideThatTheClientLeft(t *testing.T) {
	var r cancellation
	r.cancel(errMasterSilent)
	r.cancel(errClientLeft)
	if r.resetTimeout(); !r.clientLeft() || r.context().Err() == nil {
		t.Error("the client who left is forgotten")
	}
}
