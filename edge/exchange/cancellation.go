package exchange

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Cancellation cancels the pick and dial of an exchange when its client disconnects or the master exceeds the
// deadline. It is reused by the next request; a context is allocated only if one is needed.
type Cancellation struct {
	ended atomic.Bool // mirrors cause, for a check at every request

	mu    sync.Mutex
	ctx   *cancelContext // nil: none was needed yet
	cause error          // nil: not cancelled
}

var (
	ErrClientLeft   = errors.New("the client has left")
	ErrMasterSilent = errors.New("the master is silent")
)

// Cancel cancels the current context. That the client has left replaces any other cause.
func (r *Cancellation) Cancel(cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cancelLocked(cause)
}

func (r *Cancellation) cancelLocked(cause error) {
	if r.cause != nil {
		if cause == ErrClientLeft {
			r.cause = cause
		}
		return
	}
	r.cause = cause
	r.ended.Store(true) // first: the context's users look for the cause
	if r.ctx != nil {
		r.ctx.cancel()
	}
}

// Reuse prepares a cancelled one for another request. Users of the old context still see its end.
func (r *Cancellation) Reuse() {
	if !r.ended.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resetLocked()
}

// resetTimeout is reuse for an exchange that goes on: that the client has left is kept.
func (r *Cancellation) resetTimeout() {
	if !r.ended.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cause != ErrClientLeft {
		r.resetLocked()
	}
}

func (r *Cancellation) resetLocked() {
	if r.cause == nil {
		return
	}
	r.ctx, r.cause = nil, nil
	r.ended.Store(false)
}

// Context returns the current one.
func (r *Cancellation) Context() context.Context {
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

// ClientLeft reports whether the client has left.
func (r *Cancellation) ClientLeft() bool {
	if !r.ended.Load() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cause == ErrClientLeft
}

// cancelContext is a context that may serve several exchanges, until it is cancelled. It is never reused after
// that: a goroutine may still hold it.
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
