package edge

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
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

// expiring has the master taken for silent again and again, in the moment in which the
// function it returns is called, for at most a number of times.
func expiring(t *testing.T, r *recall, times int64) (now func(wait bool)) {
	var asked, expired atomic.Int64
	over := make(chan struct{})
	go func() {
		defer close(over)
		for expired.Load() < times {
			for asked.Load() == expired.Load() {
				runtime.Gosched()
			}
			r.expire(2)
			expired.Add(1)
		}
	}()
	t.Cleanup(func() {
		asked.Store(times)
		<-over
	})
	return func(wait bool) {
		for n := asked.Add(1); wait && expired.Load() < n; {
			runtime.Gosched()
		}
	}
}

// Who is told that the master is silent goes on at once, however soon that is.
func TestSilenceOfTheMasterEndsOnlyTheAsk(t *testing.T) {
	const times = 20000
	var r recall
	expire := expiring(t, &r, times)
	for range times {
		r.expect(1)
		asked := r.context()
		expire(false)
		for asked.Err() == nil { // sooner than Done would say it
			runtime.Gosched()
		}
		r.heard()
		if r.context().Err() != nil {
			t.Fatal("what follows the ask has ended with it")
		}
	}
}

// An answer that comes while the master is being taken for silent counts.
func TestAnAnswerInTheLastMomentCounts(t *testing.T) {
	const times = 20000
	var r recall
	expire := expiring(t, &r, 2*times)
	for i := range times {
		r.expect(1)
		expire(false)
		for range i % 50 { // so that it comes a little later each time
			_ = r.until.Load()
		}
		r.heard()
		follows := r.context()
		expire(true)
		if follows.Err() != nil {
			t.Fatal("what follows the answer has ended")
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
