package edge

import (
	"errors"
	"time"

	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/http1"
	"github.com/evenkeel-lb/evenkeel/internal/orca"
)

// respond passes the response on whose head has come, and reports whether another
// exchange may follow on the client's connection.
func (c *conn) respond(w *work) bool {
	u := c.up
	w.beginResponse()
	if w.resp.Tunnel {
		return c.tunnel(w, u)
	}
	whole := w.upload == nil || w.upload.done()
	w.rewrite.Close = !whole || w.closing(c.service.draining.Load())
	again := false
	switch {
	case w.resp.Framing == http1.ByClose && w.req.Minor == 1:
		again = c.passInChunks(w, u)
	case w.resp.Framing == http1.ByChunks && w.req.Minor == 0:
		again = c.passPlain(w, u)
	default:
		again = c.pass(w, u)
	}
	return c.settleRequest(w) && again && !w.rewrite.Close
}

// beginResponse takes in the head that has come, and what it is to say to the client.
func (w *work) beginResponse() {
	x := &w.exchange
	x.status = w.resp.Status
	w.answered = fieldView{&w.resp.Head, w.in[w.r:w.w]}
	x.reply.Head(x.status, x.grpc, w.answered.first)
	if w.answered.first(orca.Header) != "" || w.answered.first(orca.HeaderBin) != "" {
		x.reported(w.answered.all)
	}
	w.adds.reset()
	w.rewrite = http1.Rewrite{Drop: x.toClient(&w.adds, &w.answered), Upgrade: w.resp.Tunnel}
	w.rewrite.Add = w.adds.text
}

// settleRequest leaves in the buffer what belongs to the next request, and tells
// whether that is known.
func (c *conn) settleRequest(w *work) bool {
	if w.upload == nil {
		c.consume(w)
		return true
	}
	w.upload.halt()
	if !w.upload.ended {
		return false
	}
	c.in = append(make([]byte, 0, max(roomFirst, len(w.upload.rest))), w.upload.rest...)
	c.r, c.w = 0, len(c.in)
	c.in = c.in[:cap(c.in)]
	return true
}

// linkDone ends the link when the response has come whole. good: and nothing beyond it.
func (c *conn) linkDone(w *work, good bool) {
	w.exchange.finished()
	c.detach(good && w.resp.KeepAlive && !w.req.BodyUnlooked() && (w.upload == nil || w.upload.done()))
}

// broken ends the exchange amid the response.
func (c *conn) broken(w *work, err error) bool {
	x := &w.exchange
	if w.upload != nil {
		w.upload.halt()
		if w.upload.err != nil {
			x.gone()
		}
	}
	if !x.flight.Over() {
		x.failed(flight.Failure{Sent: true, Begun: true}, err)
	}
	w.abort = true
	c.breakOff(w.req.Minor == 0)
	return false
}

// clientBroken ends it because the client takes no more.
func (c *conn) clientBroken(w *work) bool {
	w.exchange.gone()
	w.abort = true
	return false
}

// startHead makes the head for the client, and puts it right before the body where
// there is room, so that both leave at once. It returns where it begins.
func (w *work) startHead(length int) []byte {
	w.out = w.resp.Append(w.out[:0], w.in[w.r:w.w], &w.rewrite)
	w.r += length
	return w.out
}

// pass passes the response on as it is framed.
func (c *conn) pass(w *work, u *upstream) bool {
	x, body := &w.exchange, w.resp.Body()
	head := w.startHead(w.respHead)
	for {
		n, err := body.Pass(w.in[w.r:w.w])
		if err != nil {
			return c.broken(w, err)
		}
		x.bytes = body.Size()
		end := w.r + n
		if body.Done() {
			c.linkDone(w, end == w.w)
		}
		if !c.writeBehind(w, head, end) {
			return c.clientBroken(w)
		}
		head = nil
		switch {
		case body.Done():
			return true
		case body.AtTrailers():
			return c.passTrailers(w, u, &body)
		}
		if err := c.refill(w, u, &body); err != nil {
			if err == errClient {
				return c.clientBroken(w)
			}
			if isEnd(err) && body.Close() == nil {
				c.linkDone(w, false)
				x.bytes = body.Size()
				return true
			}
			return c.broken(w, err)
		}
	}
}

// writeBehind writes head, and behind it what is in the server's buffer up to end.
func (c *conn) writeBehind(w *work, head []byte, end int) bool {
	start := w.r
	w.r = end
	switch {
	case len(head) == 0:
	case len(head) <= start:
		start -= copy(w.in[start-len(head):], head)
	default:
		w.out = append(w.out, w.in[start:end]...)
		_, err := c.Write(w.out)
		return err == nil
	}
	if start == end {
		return true
	}
	_, err := c.Write(w.in[start:end])
	return err == nil
}

// refill gets more of the body: into the buffer, or if there is much to come, past it.
func (c *conn) refill(w *work, u *upstream, body *http1.Body) error {
	if body.Run() >= spliceMin && c.raw != nil && u.raw != nil {
		if p := c.service.pipes.take(); p != nil {
			readErr, writeErr := move(p, &c.side, &u.side, body.Run(), body.Skip)
			c.service.pipes.put(p, writeErr == nil)
			switch {
			case writeErr != nil:
				return errClient
			case readErr != nil:
				return readErr
			}
			w.r, w.w = headRoom, headRoom
			return nil
		}
	}
	w.r, w.w = headRoom, headRoom
	return w.receive(u)
}

// passTrailers passes the trailers on whose first byte has come.
func (c *conn) passTrailers(w *work, u *upstream, body *http1.Body) bool {
	w.trailers.Reset()
	w.trailers.Limits = http1.Limits{Head: responseHeadMost, Fields: responseFields}
	for {
		n, err := body.ReadTrailers(&w.trailers, w.in[w.r:w.w])
		if err != nil {
			return c.broken(w, err)
		}
		if n == 0 {
			if err := w.receive(u); err != nil {
				return c.broken(w, err)
			}
			continue
		}
		w.takeTrailers(n)
		c.linkDone(w, w.r == w.w)
		if _, err := c.Write(w.out); err != nil {
			return c.clientBroken(w)
		}
		return true
	}
}

// takeTrailers makes of the trailers that have come, so many bytes, what goes to the client.
func (w *work) takeTrailers(n int) {
	told := trailerView{&w.trailers, w.in[w.r:w.w]}
	if told.all(orca.Header) != nil || told.all(orca.HeaderBin) != nil {
		w.exchange.reported(told.all)
	}
	w.exchange.reply.Trailers(told.first)
	w.out = w.trailers.Append(w.out[:0], w.in[w.r:w.w], noTrailers)
	w.r += n
}

// passInChunks puts a body that ends with its connection into chunks, so that the
// client sees where it ends and keeps its own.
func (c *conn) passInChunks(w *work, u *upstream) bool {
	w.rewrite.Framing = http1.ByChunks
	x, body := &w.exchange, w.resp.Body()
	w.startHead(w.respHead)
	for {
		n, err := body.Pass(w.in[w.r:w.w])
		if err != nil {
			return c.broken(w, err)
		}
		if n > 0 {
			w.out = http1.AppendChunkSize(w.out, n)
			w.out = append(append(w.out, w.in[w.r:w.r+n]...), "\r\n"...)
		}
		if len(w.out) > 0 {
			if _, err := c.Write(w.out); err != nil {
				return c.clientBroken(w)
			}
		}
		x.bytes = body.Size()
		w.out, w.r, w.w = w.out[:0], headRoom, headRoom
		if err := w.receive(u); isEnd(err) {
			break
		} else if err != nil {
			return c.broken(w, err)
		}
	}
	c.linkDone(w, false)
	_, err := c.Write(append(w.out, http1.LastChunk...))
	return err == nil || c.clientBroken(w)
}

// passPlain takes a body out of its chunks, for a client of HTTP/1.0. It ends with the
// connection.
func (c *conn) passPlain(w *work, u *upstream) bool {
	w.rewrite.Framing = http1.ByClose
	x, body := &w.exchange, w.resp.Body()
	w.startHead(w.respHead)
	for !body.Done() && !body.AtTrailers() {
		for w.r < w.w && !body.Done() && !body.AtTrailers() {
			data, n, err := body.Decode(w.in[w.r:w.w])
			if err != nil {
				return c.broken(w, err)
			}
			w.out = append(w.out, data.Of(w.in[w.r:w.w])...)
			w.r += n
		}
		x.bytes = body.Size()
		if len(w.out) > 0 {
			if _, err := c.Write(w.out); err != nil {
				return c.clientBroken(w)
			}
			w.out = w.out[:0]
		}
		if body.Done() || body.AtTrailers() {
			break
		}
		w.r, w.w = headRoom, headRoom
		if err := w.receive(u); err != nil {
			return c.broken(w, err)
		}
	}
	c.linkDone(w, false)
	return false
}

// tunnel carries an upgraded connection until both sides have closed theirs.
func (c *conn) tunnel(w *work, u *upstream) bool {
	x := &w.exchange
	w.abort = true // what there was to say has been said in the tunnel
	c.watched.Store(false)
	head := w.startHead(w.respHead)
	if !c.writeBehind(w, head, w.w) {
		return c.clientBroken(w)
	}
	c.consume(w)
	c.anyTime()
	u.anyTime()
	j := joint{pipes: &c.service.pipes, sides: [2]*side{&c.side, &u.side}, early: c.in[c.r:c.w]}
	broke := j.run()
	x.bytes = j.moved[clientSide].Load()
	x.parted(broke)
	j.settle(!x.recall.left())
	return false
}

// anyTime lets the peer take its time.
func (s *side) anyTime() {
	s.readWait, s.writeWait = 0, 0
	s.readUntil(noTime)
	_ = s.SetWriteDeadline(noTime) // an error is the connection's, which whoever writes will see
	s.recut()
}

var (
	errClient   = errors.New("the client takes no more")
	errBrokeOff = errors.New("the server broke the connection off")
	noTime      time.Time // for a deadline: there is none
)
