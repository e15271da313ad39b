package proxy

import (
	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
)

// waitingTimer sends a client interim responses while its request waits for a server, where the route says so. It belongs
// to the request.
type waitingTimer struct {
	eventloop.Timer
	client *clientConn // whose request waits
	req    *request
}

// start starts it when the request has begun to wait.
func (w *waitingTimer) start(f *clientConn) {
	t := f.req
	if t.Exchange.Route.WhileWaiting == "" || t.Req.Minor == 0 || t.Exchange.GRPC || f.away != nil {
		return
	}
	w.client, w.req, w.Owner = f, t, w
	f.worker.Timers.Set(&w.Timer, f.worker.Now.Add(f.service.engine.cfg.WaitEvery))
}

// OnTimer implements the timer's owner.
func (w *waitingTimer) OnTimer() {
	f, t := w.client, w.req
	if f.req != t || f.state != stateWaiting || f.server != nil || t.Cancel.ClientLeft() {
		return // it waits no more
	}
	clear, err := t.down.Flush(&f.Conn)
	if err == nil && clear { // a client that does not read is told nothing
		t.Out = t.Exchange.AppendWaiting(f.worker.headBuf[:0])
		_, err = t.down.Write(&f.Conn, t.Out)
		f.worker.putHeadBuf(&t.ForwardState)
	}
	if err != nil {
		f.cancelPick(exchange.ErrClientLeft)
		return
	}
	f.worker.Timers.Set(&w.Timer, f.worker.Now.Add(f.service.engine.cfg.WaitEvery))
}
