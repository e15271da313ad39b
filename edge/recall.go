package edge

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// recall ends what is done for an exchange when its client leaves or a master is
// silent for too long. After that it can be had anew, so that in the steady state no
// request pays for one.
type recall struct {
	ended atomic.Bool // what mu guards says so: looked at for every request

	mu      sync.Mutex
	present *recallable // nil: nobody wanted to wait for it yet
	cause   error       // nil: not ended
}

var (
	errLeft   = errors.New("the client has left")
	errSilent = errors.New("the master is silent")
)

// end ends the present context. A client's leaving outweighs whatever ended it before.
func (r *recall) end(cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.finish(cause)
}

func (r *recall) finish(cause error) {
	if r.cause != nil {
		if cause == errLeft {
			r.cause = cause
		}
		return
	}
	r.cause = cause
	r.ended.Store(true) // before anybody is told, who looks why
	if r.present != nil {
		r.present.end()
	}
}

// renew makes a new context of one that has ended. Whoever has the old one sees that
// one's end, however late they look.
func (r *recall) renew() {
	if !r.ended.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reset()
}

// forgive is renew for an exchange that goes on: that the client has left stands.
func (r *recall) forgive() {
	if !r.ended.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cause != errLeft {
		r.reset()
	}
}

func (r *recall) reset() {
	if r.cause == nil {
		return
	}
	r.present, r.cause = nil, nil
	r.ended.Store(false)
}

// context returns the present one.
func (r *recall) context() context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.present == nil {
		r.present = &recallable{done: make(chan struct{})}
		if r.cause != nil {
			r.present.end()
		}
	}
	return r.present
}

// left reports whether the client has left.
func (r *recall) left() bool {
	if !r.ended.Load() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cause == errLeft
}

// recallable is a context that may serve many exchanges one after another, until it ends.
// It is never had anew: the context of somebody who waits for it too may be told of its
// end long after its exchange.
type recallable struct {
	done  chan struct{}
	ended atomic.Bool
}

// end is called once.
func (c *recallable) end() {
	c.ended.Store(true)
	close(c.done)
}

// Deadline implements context.Context.
func (c *recallable) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value implements context.Context.
func (c *recallable) Value(any) any { return nil }

// Done implements context.Context.
func (c *recallable) Done() <-chan struct{} { return c.done }

// Err implements context.Context.
func (c *recallable) Err() error {
	if c.ended.Load() {
		return context.Canceled
	}
	return nil
}
