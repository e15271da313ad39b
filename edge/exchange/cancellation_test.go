package exchange

import (
	"context"
	"sync"
	"testing"
	"time"
)

// A context that was returned once sees its end, even after its exchange is over and its state is reused.
func TestRenewedRecallLeavesNobodyWithoutAnEnd(t *testing.T) {
	var r Cancellation
	var derived sync.WaitGroup
	for range 2000 {
		before := r.Context()
		child, cancel := context.WithTimeout(before, time.Hour)
		derived.Go(func() {
			<-child.Done()
			if child.Err() == nil || before.Err() == nil {
				t.Error("it is done without an error")
			}
		})
		r.Cancel(ErrClientLeft)
		r.Reuse()
		cancel()
		if r.Context().Err() != nil || r.ClientLeft() {
			t.Fatal("the new one has ended already")
		}
	}
	derived.Wait()
}

func TestRecallIsKeptUntilItEnds(t *testing.T) {
	var r Cancellation
	first := r.Context()
	r.Reuse()
	if r.Context() != first {
		t.Error("another one was made of one that has not ended")
	}
	r.Cancel(ErrMasterSilent)
	if first.Err() == nil || r.ClientLeft() {
		t.Errorf("error %v, left %v; want an end, and a client that is there", first.Err(), r.ClientLeft())
	}
	if r.Cancel(ErrClientLeft); !r.ClientLeft() {
		t.Error("that the client left counts for nothing")
	}
	if r.Context().Err() == nil {
		t.Error("it has ended and does not show it")
	}
}

// What follows an ask does not suffer from its end, unless the client has left.
func TestSilenceOfTheMasterEndsOnlyTheAsk(t *testing.T) {
	var r Cancellation
	asked := r.Context()
	r.Cancel(ErrMasterSilent)
	if asked.Err() == nil {
		t.Error("the ask has not ended")
	}
	if r.resetTimeout(); r.Context().Err() != nil || asked.Err() == nil {
		t.Error("what follows the ask has ended with it, or the ask goes on")
	}
}

func TestSilenceDoesNotHideThatTheClientLeft(t *testing.T) {
	var r Cancellation
	r.Cancel(ErrMasterSilent)
	r.Cancel(ErrClientLeft)
	if r.resetTimeout(); !r.ClientLeft() || r.Context().Err() == nil {
		t.Error("the client who left is forgotten")
	}
}
