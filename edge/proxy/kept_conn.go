package proxy

import (
	"cmp"
	"errors"
	"net/netip"
	"strings"
	"syscall"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/kept"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// keptConn is the client of a request whose client is away: a clientConn over a stream that gives the body that was kept,
// and keeps the answer. It has one request, and is closed with it. See package kept.
type keptConn struct {
	clientConn
	record *kept.Request
	readAt int64  // bytes of the body that were read
	lost   string // why there will be no answer; empty: there may be one
	over   bool   // record is over
}

// startKept begins a kept request with this head. f is the connection on which it came.
func (f *clientConn) startKept(record *kept.Request, head []byte) {
	l, s := f.worker, f.service
	k := &keptConn{record: record}
	k.clientConn = clientConn{linkedConn: linkedConn{worker: l, service: s}, peer: f.peer, shown: f.shown, away: k, req: l.takeRequest()}
	k.Timer.Owner = &k.clientConn
	k.BeginStream(&l.Loop, k, k)
	k.Readable = record.Body.Size() > 0
	s.conns.Add(1)
	l.clientConns.Add(1)
	s.tracked[l][k] = struct{}{}
	record.Received(strings.Clone(f.req.Exchange.ID), func() { l.Call(k.cancel) })
	t := k.req
	t.IsHTTP2, t.Kept = f.req.IsHTTP2, true
	t.appendInput(head, false)
	k.parseHead()
}

// begin asks for a server. The body is there, behind the head.
func (k *keptConn) begin() {
	t := k.req
	if err := t.Frame(t.input[t.inputStart:t.inputEnd], k.service.listener); err != nil {
		k.badBody(err)
		return
	}
	record := k.record
	t.Exchange.Follow(func(at balance.Standing) { record.Stand(clock.Now(), at.Position, at.Wait) })
	var first [][]byte
	if r := t.Exchange.Route; r.ReadsBody() {
		var err error
		if first, err = k.record.Body.First(r.BufferRequest); err != nil {
			k.service.engine.deps.Log.Warn("a kept request cannot be read", "request", t.Exchange.ID, "err", err)
			k.abort()
			return
		}
		k.state = stateForwarding
		k.takeStep(t.Start(first, k.record.Body.Size() <= r.BufferRequest))
		return
	}
	k.state = stateForwarding
	k.takeStep(t.Start(nil, t.Complete))
}

// rewind has the body read from its beginning, since the request is sent again.
func (k *keptConn) rewind() error {
	t := k.req
	k.readAt, k.Readable = 0, k.record.Body.Size() > 0
	t.bodyRead, t.leftover = 0, t.leftover[:0]
	return t.Frame(t.input[t.inputStart:t.inputEnd], k.service.listener)
}

// OnReady implements the stream's owner.
func (k *keptConn) OnReady() {
	if k.lost != "" && k.state == stateForwarding {
		k.clientGone()
		return
	}
	k.clientConn.OnReady()
}

// ReadStream implements eventloop.Transport: it reads the body.
func (k *keptConn) ReadStream(p []byte) (int, error) {
	size := k.record.Body.Size()
	if k.readAt >= size {
		k.Readable = false
		return 0, syscall.EAGAIN
	}
	n, err := k.record.Body.ReadAt(p, k.readAt)
	if n == 0 && err != nil {
		k.service.engine.deps.Log.Warn("a kept request cannot be read", "request", k.req.Exchange.ID, "err", err)
		return 0, err
	}
	k.readAt += int64(n)
	k.Readable = k.readAt < size
	return n, nil
}

// WriteStream implements eventloop.Transport: it keeps the answer. If that fails, the request ends.
func (k *keptConn) WriteStream(p []byte) int {
	if k.lost != "" {
		return len(p)
	}
	if err := k.record.Answer.Append(p); err != nil {
		k.lost = exchange.ReasonNoSpace
		if errors.Is(err, kept.ErrLong) {
			k.lost = exchange.ReasonLongAnswer
		}
		k.service.engine.deps.Log.Warn("an answer is not kept", "request", k.req.Exchange.ID, "err", err)
		k.worker.Defer(&k.Conn)
	}
	return len(p)
}

// CloseStream implements eventloop.Transport.
func (k *keptConn) CloseStream() { k.IsStream = false }

// finish records the complete answer, before the connection is closed.
func (k *keptConn) finish() {
	if k.over = true; k.lost != "" {
		k.record.Fail(k.worker.Now, k.lost)
		return
	}
	k.record.Finish(k.worker.Now, k.req.Exchange.Status)
}

// closed ends the request's part in its listener.
func (k *keptConn) closed() {
	if !k.over {
		k.record.Fail(k.worker.Now, cmp.Or(k.lost, flight.ReasonBroken))
	}
	k.record.Leave()
	delete(k.service.tracked[k.worker], k)
	k.worker.clientConns.Add(-1)
	k.service.conns.Done()
}

// cancel ends the request because its client wants no answer any more.
func (k *keptConn) cancel() { k.end(exchange.ReasonCanceled) }

// end ends the request in any state.
func (k *keptConn) end(reason string) {
	if k.state == stateClosed {
		return
	}
	k.lost = cmp.Or(k.lost, reason)
	k.req.Exchange.NoteLost(k.lost)
	k.clientConn.Kill()
}

// limitAddr implements trackedConn.
func (k *keptConn) limitAddr() netip.Addr { return netip.Addr{} }

// beginDrain implements trackedConn: what waits for a server waits in vain, unless another edge goes on in this one's place.
func (k *keptConn) beginDrain() {
	if k.state == stateWaiting && k.server == nil && !k.service.engine.keepsRunning.Load() {
		k.end(exchange.ReasonStopping)
	}
}

// Kill implements trackedConn.
func (k *keptConn) Kill() { k.end(exchange.ReasonStopping) }
