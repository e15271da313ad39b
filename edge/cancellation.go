package edge

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// cancellation cancels the pick and dial of an exchange when its client disconnects or the master exceeds the
// deadline. It is reused by the next request; a context is allocated only if one is needed.
type cancellation struct {
	ended atomic.Bool // mirrors cause, for a check at every request

	mu    sync.Mutex
	ctx   *cancelContext // nil: none was needed yet
	cause error          // nil: not cancelled
}

var (
	errClientLeft   = errors.New("the client has left")
	errMasterSilent = errors.New("the master is silent")
)

// cancel cancels the current context. That the client has left replaces any other cause.
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
	r.ended.Store(true) // first: the context's users look for the cause
	if r.ctx != nil {
		r.ctx.cancel()
	}
}

// reuse prepares a cancelled one for another request. Users of the old context still see its end.
func (r *cancellation) reuse() {
	if !r.ended.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resetLocked()
}

// resetTimeout is reuse for an exchange that goes on: that the client has left is kept.
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

// context returns the current one.
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
