package proxy

import (
	"crypto/rand"
	"errors"
	"net/http"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/kept"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

// keptRetry is when a client may try again that was refused for want of room.
const keptRetry = 5 * time.Second

// keepRequest begins to keep a request whose client prefers to be answered at once.
func (f *clientConn) keepRequest() {
	t, e := f.req, f.service.engine
	if f.service.draining.Load() && !e.keepsRunning.Load() {
		f.refuseUnread(flight.Answer{Status: http.StatusServiceUnavailable, Reason: exchange.ReasonStopping, RetryAfter: keptRetry})
		return
	}
	var token kept.Token
	_, _ = rand.Read(token[:]) // it never fails
	record, refused := e.cfg.Kept.Open(f.worker.Now, token, balance.PrefixOf(t.Exchange.ClientAddr))
	switch refused {
	case kept.Full:
		f.refuseUnread(flight.Answer{Status: http.StatusServiceUnavailable, Reason: exchange.ReasonKeptFull, RetryAfter: keptRetry})
		return
	case kept.ClientFull:
		f.refuseUnread(flight.Answer{Status: http.StatusTooManyRequests, Reason: exchange.ReasonKeptClient, RetryAfter: keptRetry})
		return
	}
	t.kept = record
	if record.Body.Admits(t.Req.Length) {
		f.readBody()
		return
	}
	f.dropKept()
	f.refuseUnread(exchange.BodyTooLarge)
}

// refuseUnread answers a request whose body was not looked at.
func (f *clientConn) refuseUnread(a flight.Answer) {
	t := f.req
	t.inputStart += t.Head
	f.respond(a, "", t.ClosingUnread(a, f.service.draining.Load()))
}

// dropKept drops what a connection has of kept requests: one whose body has not come, and an answer that is being sent.
func (f *clientConn) dropKept() {
	t := f.req
	if r := t.kept; r != nil {
		t.kept = nil
		r.Drop()
	}
	if r := t.stored.reader; r != nil {
		t.stored = storedAnswer{}
		r.Close()
	}
}

// keepBody reads the body of a request that is to be kept, all of it.
func (f *clientConn) keepBody() {
	t := f.req
	s := &t.bodyStore
	f.state = stateBufferingBody
	if !s.Begun {
		if err := t.Frame(t.input[t.inputStart:t.inputEnd], f.service.listener); err != nil {
			f.badBody(err)
			return
		}
		s.Begun, s.LastAt = true, f.worker.Now
		if !f.keepPart(t.Buf[t.Head : t.Head+t.BodyInBuf+t.TrailerLen]) {
			return
		}
		t.leftover = append(t.leftover[:0], t.Buf[t.Head+t.BodyInBuf+t.TrailerLen:]...)
	}
	for turn := f.worker.NewTurn(); !t.Complete && !t.Body.Done(); turn.Spend(limits.TurnCall) {
		if t.Body.AtTrailers() && len(t.leftover) > 0 {
			text, waits, err := f.takeTrailers(nil)
			if err != nil {
				f.badBody(err)
				return
			}
			if !waits {
				if !f.keepPart(text) {
					return
				}
				continue
			}
		}
		if !f.sendContinue() {
			return
		}
		if !f.Readable {
			f.awaitBody()
			return
		}
		if turn.Over(clock.Now) {
			f.worker.Defer(&f.Conn)
			return
		}
		if !f.keepMore() {
			return
		}
	}
	s.Pace.Stop()
	f.acceptKept()
}

// keepMore keeps what the client has sent. It returns false if the exchange has ended.
func (f *clientConn) keepMore() bool {
	t, buf := f.req, f.worker.ReadBuf
	s := &t.bodyStore
	n, err := f.readBodyPart(buf)
	if err != nil {
		f.badBody(err)
		return false
	}
	if n == 0 {
		return true
	}
	s.LastAt = f.worker.Now
	s.Pace.Took(int64(n))
	if t.Body.AtTrailers() {
		t.leftover = append(t.leftover, buf[:n]...)
		return true
	}
	good, err := t.Body.Pass(buf[:n])
	if err != nil {
		f.badBody(err)
		return false
	}
	t.leftover = append(t.leftover[:0], buf[good:n]...)
	return f.keepPart(buf[:good])
}

// keepPart keeps a part of the body. It returns false if there is no room, and the request was refused.
func (f *clientConn) keepPart(p []byte) bool {
	t := f.req
	err := t.kept.Body.Append(p)
	if err == nil {
		return true
	}
	a := flight.Answer{Status: http.StatusServiceUnavailable, Reason: exchange.ReasonKeptFull, RetryAfter: keptRetry}
	switch {
	case errors.Is(err, kept.ErrLong):
		a = exchange.BodyTooLarge
	case !errors.Is(err, kept.ErrFull):
		f.service.engine.deps.Log.Warn("a request cannot be kept", "request", t.Exchange.ID, "err", err)
	}
	f.dropKept()
	f.respond(a, "", true)
	return false
}

// acceptKept answers the client, and has the request go on without it.
func (f *clientConn) acceptKept() {
	t := f.req
	if f.WasReset { // it would not learn where its answer is
		f.clientGone()
		return
	}
	record := t.kept
	t.kept = nil
	f.startKept(record, t.AppendKeptHead(nil))
	closing := !t.isReceived() || t.ForwardState.Closing(f.service.draining.Load())
	t.keepLeftover()
	e := f.service.engine
	status, _ := e.cfg.Kept.Status(f.worker.Now, record.Token)
	monitor := e.monitorPath(record.Token)
	t.Out = t.Exchange.AppendKept(f.worker.headBuf[:0], &exchange.KeptAnswer{Status: http.StatusAccepted, Location: e.cfg.KeptURL + monitor,
		Applied: true, Document: document(&status, monitor), Closing: closing})
	f.sendResponse(closing)
}
