package edge

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// recall is the context of an exchange. It ends when the client leaves or a master
// is silent for too long, and after that can be had anew, so that in the steady state
// no request pays for one.
type recall struct {
	until atomic.Int64 // balance.Instant after which the master is taken for silent; zero: not asked

	mu    sync.Mutex
	done  chan struct{} // nil: nobody wanted to wait for it yet
	cause error         // nil: not ended
}

var (
	errLeft   = errors.New("the client has left")
	errSilent = errors.New("the master is silent")
)

// end ends the context. A client's leaving outweighs whatever ended it before.
func (r *recall) end(cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.cause != nil:
		if cause == errLeft {
			r.cause = cause
		}
		return
	case r.done == nil:
		r.done = make(chan struct{})
	}
	r.cause = cause
	close(r.done)
}

// renew makes a new context of one that has ended. Whoever waits for the old one sees that one's end.
func (r *recall) renew() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cause != nil {
		r.done, r.cause = nil, nil
	}
}

// left tells whether the client has left.
func (r *recall) left() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cause == errLeft
}

// expire ends the context of an ask that has had its time.
func (r *recall) expire(now balance.Instant) {
	if until := balance.Instant(r.until.Load()); until != 0 && now > until {
		r.end(errSilent)
	}
}

// Deadline implements context.Context.
func (r *recall) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value implements context.Context.
func (r *recall) Value(any) any { return nil }

// Done implements context.Context.
func (r *recall) Done() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done == nil {
		r.done = make(chan struct{})
	}
	return r.done
}

// Err implements context.Context.
func (r *recall) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cause == nil {
		return nil
	}
	return context.Canceled
}
