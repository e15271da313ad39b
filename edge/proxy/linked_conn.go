package proxy

import (
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/upstream"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// linkedConn is what a client's connection has whatever it carries, HTTP or a TCP listener's bytes: it asks for a server
// and connects to it.
type linkedConn struct {
	eventloop.Conn  // the client's
	eventloop.Timer // of what the connection waits for
	worker          *worker
	service         *listenerService
	asyncPick       *asyncPick     // the ask in progress; nil: there is none, or a goroutine picks
	server          *upstream.Conn // of the current link; nil: there is none
}

// linker is a linkedConn with what it carries.
type linker interface {
	// setAsyncPick records the ask in progress; nil: none.
	setAsyncPick(*asyncPick)
	// onPick continues with the answer to an ask.
	onPick(grant balance.Grant, err error)
	// onDialled continues with a connection that a goroutine has made.
	onDialled(b *upstream.Conn, err error)
}

// setTimeout sets the timer; zero: none.
func (c *linkedConn) setTimeout(wait time.Duration) {
	c.worker.Timers.Set(&c.Timer, c.worker.Deadline(wait))
}

// setAsyncPick implements linker.
func (c *linkedConn) setAsyncPick(q *asyncPick) { c.asyncPick = q }

// ask asks for a server. If there is no answer yet, onPick is called later, and the timer is set to the time by which
// an answer must have come.
func (c *linkedConn) ask(by linker, x *exchange.Exchange) (answered bool, err error) {
	if answered, err = c.worker.startPick(by, x); !answered {
		c.worker.Timers.Set(&c.Timer, x.Request.Deadline.Add(exchange.AskGrace))
	}
	return answered, err
}

// dial begins a connection to a server. nil and no error: a goroutine makes it until r is cancelled, and onDialled is
// called.
func (c *linkedConn) dial(by linker, r *exchange.Cancellation, to upstream.Target) (*upstream.Conn, error) {
	l := c.worker
	b, err := l.servers.Dial(to)
	if b != nil || err != nil {
		return b, err
	}
	c.setTimeout(0)
	l.servers.DialInBackground(r.Context(), to, func(descriptor *fd.FD, secure *eventloop.TLSConn, err error) {
		var b *upstream.Conn
		if err == nil {
			b, err = l.servers.Add(descriptor, secure, to)
		}
		by.onDialled(b, err)
	})
	return nil, nil
}

// notConnected describes a link whose connection was not made.
func notConnected(err error) flight.Failure {
	return flight.Failure{Unreachable: true, Ours: upstream.Exhausted(err)}
}
