package edge

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/http1"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/poison"
)

const (
	// replayMost is the largest body, in bytes, that is read before the request is
	// sent so that it can be sent again. Only idempotent requests' bodies are, and those of
	// requests for another protocol, which begins behind the body.
	replayMost       = 64 << 10
	responseHeadMost = 256 << 10
	responseFields   = 1000
	interimMost      = 16 // responses 1xx to one request
)

var errInterims = errors.New("the server sent too many interim responses")

// carry takes the exchange to its end and reports whether another may follow on the
// connection.
func (c *conn) carry(w *work, answer flight.Answer) bool {
	x := &w.exchange
	if answer.Status != 0 {
		c.r += w.head
		return c.answer(w, answer, "", w.closingUnread(answer, c.service.draining.Load()))
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
	x, closing := &w.exchange, !w.whole || w.closing(c.service.draining.Load())
	c.consume(w)
	switch step.Do {
	case flight.Respond:
		return c.answer(w, step.Answer, "", closing)
	case flight.Redirect:
		w.out = x.redirect(w.out[:0], closing)
		_, err := c.Write(w.out)
		return err == nil && !closing
	}
	w.abort = true // the client has left
	return false
}

// closing reports whether the connection ends with this exchange. What HTTP/1.0 says of
// where a body ends cannot be relied on.
func (w *work) closing(draining bool) bool {
	if !w.req.KeepAlive || w.req.Minor == 0 {
		return true
	}
	return draining && (!w.whole || w.head+w.passed+w.tail == len(w.buf))
}

// closingUnread reports whether the connection ends with an answer that was given before
// the request's body was looked at. A body that nobody wants is not worth reading, and
// nothing of it must pass for a request. Nor must what a client sends into the tunnel
// that it believes to have.
func (w *work) closingUnread(a flight.Answer, draining bool) bool {
	return w.req.Framing != http1.NoBody || w.req.Method == http1.MethodConnect || a.Status == 400 || a.Status == 204 || w.closing(draining)
}

// consume leaves in the buffer what belongs to the next request.
func (c *conn) consume(w *work) {
	c.r += w.head + w.passed + w.tail
	poison.Fill(c.in[:c.r])
}

// beginBody finds how much of the request's body is there. A small one that may have
// to be sent again is read whole.
func (c *conn) beginBody(w *work) error {
	for !w.mayFrame(c.w - c.r) {
		c.awaitRead()
		if err := c.fill(); err != nil {
			return err
		}
	}
	return w.frame(c.in[c.r:c.w], c.service.listener)
}

// mayFrame reports whether enough of a request has come to begin its link: so many bytes
// from its head on.
func (w *work) mayFrame(come int) bool {
	r := &w.req
	replayed := r.Framing == http1.ByLength && r.Length <= replayMost && !r.Expect && (w.exchange.head.upgrade || flight.Idempotent(w.exchange.head.method))
	return !replayed || int64(come-w.head) >= r.Length
}

// frame finds how much of the request's body is in buf, which its head begins.
func (w *work) frame(buf []byte, l *listener) (err error) {
	w.buf = buf
	w.body, w.passed, w.tail = w.req.Body(), 0, 0
	w.body.Limit = l.BodyLimit
	if w.passed, err = w.body.Pass(w.buf[w.head:]); err != nil {
		return err
	}
	if w.body.AtTrailers() {
		w.trailers.Reset()
		w.trailers.Limits = l.limits
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
	if x.status == 0 && !c.isCut.Load() { // else it is too late to say anything
		if answer, detail, ok := unusable(err); ok {
			return c.answer(w, answer, detail, true)
		}
	}
	w.abort = true
	return false
}

// unusable is what a client is told whose request's body could not be read; false:
// nothing, since it has left.
func unusable(err error) (a flight.Answer, detail string, ok bool) {
	var bad http1.Error
	switch {
	case errors.Is(err, http1.ErrLongBody):
		return flight.Answer{Status: 413, Reason: reasonBodyTooBig}, "", true
	case errors.As(err, &bad) && bad != http1.ErrTruncated:
		return flight.Answer{Status: 400, Reason: reasonMalformed}, bad.Error(), true
	case errors.Is(err, os.ErrDeadlineExceeded):
		return flight.Answer{Status: 408, Reason: reasonBodySlow}, "", true
	}
	return a, "", false
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
	w.rewrite = http1.Rewrite{Drop: x.dropped(), Upgrade: x.head.upgrade, Open: true}
	if x.newPath {
		w.rewrite.Target = []byte(x.head.target)
	}
	a := additions{w.req.Append(w.out[:0], w.buf, &w.rewrite)}
	x.toServer(&a)
	w.out = append(a.text, "\r\n"...)
	w.composeBody()
}

// composeBody appends as much of the body as has come.
func (w *work) composeBody() {
	body := w.buf[w.head:]
	w.out = append(w.out, body[:w.passed]...)
	if w.tail > 0 {
		w.out = w.trailers.Append(w.out, body[w.passed:], w.exchange.route.drops.trailers)
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
		why := w.failure(sent, err)
		why.Kept = u.parked != 0 && !why.Late && w.w == headRoom
		return why, err
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
	w.awaitResponse()
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

// awaitResponse readies the parser for another response.
func (w *work) awaitResponse() {
	w.resp.Limits = http1.Limits{Head: responseHeadMost, Fields: responseFields}
	w.resp.Reset()
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
	if _, err := c.Write(w.appendInterim(nil)); err != nil {
		c.leave()
		return errLeft
	}
	return nil
}

func (w *work) appendInterim(dst []byte) []byte {
	return w.resp.Append(dst, w.in[w.r:w.w], &http1.Rewrite{Drop: fromServers})
}
