package edge

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// cancellation ends what is done for an exchange when its client leaves or a master is
// silent for too long. After that it can be had anew, so that in the steady state no
// request pays for one.
type cancellation struct {
	ended atomic.Bool // what mu guards says so: looked at for every request

	mu    sync.Mutex
	ctx   *cancelContext // nil: nobody wanted to wait for it yet
	cause error          // nil: not ended
}

var (
	errClientLeft   = errors.New("the client has left")
	errMasterSilent = errors.New("the master is silent")
)

// cancel ends the present context. A client's leaving outweighs whatever ended it before.
func (r *cancellation) cancel(cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cancelLocked(cause)
}

func (r *cancellation) cancelLocked(cause error) {
	if r.cause != nil {
		if cause == errClientLeft {
			r.cause = cause
		}
		return
	}
	r.cause = cause
	r.ended.Store(true) // before anybody is told, who looks why
	if r.ctx != nil {
		r.ctx.cancel()
	}
}

// reuse makes a new context of one that has ended. Whoever has the old one sees that
// one's end, however late they look.
func (r *cancellation) reuse() {
	if !r.ended.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resetLocked()
}

// resetTimeout is renew for an exchange that goes on: that the client has left stands.
func (r *cancellation) resetTimeout() {
	if !r.ended.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cause != errClientLeft {
		r.resetLocked()
	}
}

func (r *cancellation) resetLocked() {
	if r.cause == nil {
		return
	}
	r.ctx, r.cause = nil, nil
	r.ended.Store(false)
}

// context returns the present one.
func (r *cancellation) context() context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx == nil {
		r.ctx = &cancelContext{done: make(chan struct{})}
		if r.cause != nil {
			r.ctx.cancel()
		}
	}
	return r.ctx
}

// clientLeft reports whether the client has left.
func (r *cancellation) clientLeft() bool {
	if !r.ended.Load() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cause == errClientLeft
}

// cancelContext is a context that may serve many exchanges one after another, until it ends.
// It is never had anew: the context of somebody who waits for it too may be told of its
// end long after its exchange.
type cancelContext struct {
	done  chan struct{}
	ended atomic.Bool
}

// cancel is called once.
func (c *cancelContext) cancel() {
	c.ended.Store(true)
	close(c.done)
}

// Deadline implements context.Context.
func (c *cancelContext) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value implements context.Context.
func (c *cancelContext) Value(any) any { return nil }

// Done implements context.Context.
func (c *cancelContext) Done() <-chan struct{} { return c.done }

// Err implements context.Context.
func (c *cancelContext) Err() error {
	if c.ended.Load() {
		return context.Canceled
	}
	return nil
}
