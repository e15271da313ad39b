package edge

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/http1"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
)

const (
	// replayMost is the largest body, in octets, that is read before the request is
	// sent so that it can be sent again. Only idempotent requests' bodies are.
	replayMost       = 64 << 10
	responseHeadMost = 256 << 10
	responseFields   = 1000
	interimMost      = 16 // responses 1xx to one request
)

var errInterims = errors.New("the server sent too many interim responses")

// carry takes the exchange to its end and tells whether another may follow on the
// connection.
func (c *conn) carry(w *work, answer flight.Answer) bool {
	x, limit := &w.exchange, c.service.listener.BodyLimit
	if answer.Status == 0 && limit > 0 && w.req.Length > limit {
		answer = flight.Answer{Status: 413, Reason: reasonBodyTooBig}
	}
	if answer.Status != 0 {
		// A body that nobody wants is not worth reading, and nothing of it must pass
		// for a request. Nor must what a client sends into the tunnel that it believes
		// to have.
		closing := w.req.Framing != http1.NoBody || w.req.Method == http1.MethodConnect || answer.Status == 400 || w.closing(c)
		c.r += w.head
		return c.answer(w, answer, "", closing)
	}
	if err := c.beginBody(w); err != nil {
		return c.badBody(w, err)
	}
	c.watched.Store(w.whole)
	step := x.start()
	for step.Do == flight.Link {
		why, err := c.link(w)
		if err == nil {
			return c.respond(w)
		}
		if broken := c.stopUpload(w); broken != nil {
			return c.badBody(w, broken)
		}
		c.detach(false)
		step = x.failed(why, err)
	}
	return c.endWithout(w, step)
}

// endWithout ends an exchange that got no response.
func (c *conn) endWithout(w *work, step flight.Step) bool {
	x, closing := &w.exchange, !w.whole || w.closing(c)
	c.consume(w)
	switch step.Do {
	case flight.Respond:
		return c.answer(w, step.Answer, "", closing)
	case flight.Redirect:
		lease := ""
		if x.grant.Lease != 0 {
			lease = x.grant.Lease.String()
		}
		x.status = 307
		w.out = appendRedirect(w.out[:0], x.location(), lease, x.id, closing)
		_, err := c.Write(w.out)
		return err == nil && !closing
	}
	w.abort = true // the client has left
	return false
}

// closing tells whether the connection ends with this exchange. What HTTP/1.0 says of
// where a body ends cannot be relied on.
func (w *work) closing(c *conn) bool {
	if !w.req.KeepAlive || w.req.Minor == 0 {
		return true
	}
	return c.service.draining.Load() && (!w.whole || w.head+w.passed+w.tail == len(w.buf))
}

// consume leaves in the buffer what belongs to the next request.
func (c *conn) consume(w *work) { c.r += w.head + w.passed + w.tail }

// beginBody finds how much of the request's body is there. A small one that may have
// to be sent again is read whole.
func (c *conn) beginBody(w *work) error {
	r := &w.req
	w.body, w.passed, w.tail = r.Body(), 0, 0
	w.body.Limit = c.service.listener.BodyLimit
	if r.Framing == http1.ByLength && r.Length <= replayMost && !r.Expect && flight.Idempotent(w.exchange.head.method) {
		for int64(c.w-c.r-w.head) < r.Length {
			c.awaitRead()
			if err := c.fill(); err != nil {
				return err
			}
		}
		w.buf = c.in[c.r:c.w]
	}
	var err error
	if w.passed, err = w.body.Pass(w.buf[w.head:]); err != nil {
		return err
	}
	if w.body.AtTrailers() {
		w.trailers.Reset()
		w.trailers.Limits = c.service.listener.limits
		if w.tail, err = w.body.ReadTrailers(&w.trailers, w.buf[w.head+w.passed:]); err != nil {
			return err
		}
	}
	w.whole = w.body.Done()
	return nil
}

// badBody ends the exchange because the request's body could not be read.
func (c *conn) badBody(w *work, err error) bool {
	x := &w.exchange
	if x.started {
		x.gone()
	}
	c.detach(false)
	var bad http1.Error
	switch {
	case x.status != 0: // too late to say anything
	case c.isCut.Load():
	case errors.Is(err, http1.ErrLongBody):
		return c.answer(w, flight.Answer{Status: 413, Reason: reasonBodyTooBig}, "", true)
	case errors.As(err, &bad) && bad != http1.ErrTruncated:
		return c.answer(w, flight.Answer{Status: 400, Reason: reasonMalformed}, bad.Error(), true)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return c.answer(w, flight.Answer{Status: 408, Reason: reasonBodySlow}, "", true)
	}
	w.abort = true
	return false
}

// link sends the request to the server that was granted and returns when the head of
// its response has come.
func (c *conn) link(w *work) (flight.Failure, error) {
	kept, address := c.service.servers.of(&w.exchange)
	for {
		u := kept.take(clock.Now(), address)
		if u == nil {
			var err error
			if u, err = kept.dial(w.recall.context(), address); err != nil {
				return flight.Failure{Unreachable: true, Ours: exhausted(err)}, err
			}
		}
		if !c.attach(u) {
			_ = u.Close() // nothing was sent
			return flight.Failure{}, errLeft
		}
		w.compose()
		why, err := c.talk(w, u)
		if err == nil || !errors.Is(err, errStale) || u.parked == 0 {
			return why, err
		}
		c.detach(false)
	}
}

// compose makes the request for the server, with as much of the body as has come.
func (w *work) compose() {
	x := &w.exchange
	w.adds.reset()
	w.rewrite = http1.Rewrite{Drop: x.toServer(&w.adds), Upgrade: x.head.upgrade}
	if x.grant.Lease != 0 {
		start := len(w.adds.text)
		w.adds.text = appendLease(w.adds.text, x.grant.Lease)
		w.adds.add(HeaderLease, start)
	}
	if x.grant.Fence != 0 {
		start := len(w.adds.text)
		w.adds.text = strconv.AppendUint(w.adds.text, x.grant.Fence, 10)
		w.adds.add(HeaderFence, start)
	}
	w.rewrite.Add = w.adds.list
	w.out = w.req.Append(w.out[:0], w.buf, &w.rewrite)
	body := w.buf[w.head:]
	w.out = append(w.out, body[:w.passed]...)
	if w.tail > 0 {
		w.out = w.trailers.Append(w.out, body[w.passed:], noTrailers)
	}
}

// talk sends what compose made, and the rest of the body as it comes, and reads the
// head of the response.
func (c *conn) talk(w *work, u *upstream) (flight.Failure, error) {
	u.writeWait, u.answered = c.service.listener.IdleTimeout, false
	w.r, w.w = headRoom, headRoom
	patience := c.service.edge.cfg.ResponseTimeout
	sent, n, err := 0, 0, error(nil)
	if w.whole {
		if patience > 0 {
			u.readUntil(time.Now().Add(patience))
		}
		sent, n, err = u.converse(w.out, w.in[headRoom:])
	} else {
		if !u.fit(w.in) {
			return flight.Failure{}, errStale
		}
		c.startUpload(w, u)
		n, err = u.Read(w.in[headRoom:])
	}
	if err == nil {
		w.w += n
		err = c.awaitHead(w, u)
	}
	if err != nil {
		return w.failure(sent, err), err
	}
	c.mu.Lock()
	u.answered = true
	c.mu.Unlock()
	if patience > 0 {
		u.readUntil(time.Time{})
	}
	return flight.Failure{}, nil
}

func (w *work) failure(sent int, err error) flight.Failure {
	why := flight.Failure{Sent: sent > 0, Late: errors.Is(err, os.ErrDeadlineExceeded)}
	if w.upload != nil {
		w.upload.halt()
		why.Sent, why.Spent = w.upload.sent > 0, w.upload.took > 0
	}
	return why
}

// awaitHead reads until the head of the response is there. Interim ones are passed on
// on the way.
func (c *conn) awaitHead(w *work, u *upstream) error {
	w.resp.Limits = http1.Limits{Head: responseHeadMost, Fields: responseFields}
	w.resp.Reset()
	asked := w.req.Asked(w.exchange.head.upgrade)
	for interims := 0; ; {
		n, err := w.resp.Parse(w.in[w.r:w.w], asked)
		switch {
		case err != nil:
			return err
		case n == 0:
			if err := w.receive(u); err != nil {
				return err
			}
		case !w.resp.Interim():
			w.respHead = n
			return w.checkSwitch()
		default:
			if interims++; interims > interimMost {
				return errInterims
			}
			if err := c.passInterim(w); err != nil {
				return err
			}
			w.r += n
		}
	}
}

// receive reads more from the server behind what is there.
func (w *work) receive(u *upstream) error {
	if w.w == len(w.in) {
		larger := make([]byte, 2*len(w.in))
		w.w = headRoom + copy(larger[headRoom:], w.in[w.r:w.w])
		w.r, w.in = headRoom, larger
	}
	n, err := u.Read(w.in[w.w:])
	w.w += n
	if n > 0 {
		return nil
	}
	return err
}

// checkSwitch: RFC 9110, 7.8: a server cannot switch to a protocol that was not offered.
func (w *work) checkSwitch() error {
	if !w.resp.Tunnel {
		return nil
	}
	offered, taken := view(w.req.Upgrade.Of(w.buf)), view(w.resp.Upgrade.Of(w.in[w.r:w.w]))
	for p := range strings.SplitSeq(offered, ",") {
		if strings.EqualFold(strings.TrimSpace(p), taken) {
			return nil
		}
	}
	return fmt.Errorf("the server switched to protocol %q, want %q", taken, offered)
}

// passInterim passes a response 1xx on, which clients of HTTP/1.0 do not understand.
func (c *conn) passInterim(w *work) error {
	if w.req.Minor == 0 {
		return nil
	}
	rw := http1.Rewrite{Drop: fromServers}
	if _, err := c.Write(w.resp.Append(nil, w.in[w.r:w.w], &rw)); err != nil {
		c.leave()
		return errLeft
	}
	return nil
}
