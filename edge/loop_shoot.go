package edge

import (
	"bytes"
	"slices"
	"syscall"

	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/h2"
	"github.com/evenkeel-lb/evenkeel/http1"
)

// shoot is one stream of a stem. To the rest of the loop it is a connection to a server
// of HTTP/1.1, which carries one request: what is written to it goes out as frames, and
// what comes on the stream is read as HTTP/1.1 has it.
type shoot struct {
	back
	stem     *stem
	lost     bool  // the stem has no more to do with it
	over     bool  // its link is done, and the end of its response is awaited
	err      error // why nothing comes behind what is there
	bodiless bool  // the request asks for a head only
	behind   int64 // bytes that the connection's socket takes before any of the request, or more
	unheard  bool  // the connection has ended before any of the request went
	answered bool  // the head of the response has come
	atOnce   bool  // and ended it
	outlet         // the request

	// The response.
	head   []byte // what is still to be read of heads, from headAt on
	headAt int
	inlet
}

// linkStem makes a stream to the server that was granted.
func (f *inbound) linkStem(to target) {
	t, l := f.task, f.loop
	f.stage, t.since = linking, l.now
	k, err := l.grow(to, whom{t.exchange.route.pool, t.exchange.grant.Server}, !flight.Idempotent(t.exchange.head.method))
	if err != nil {
		f.failed(flight.Failure{Unreachable: true, Ours: exhausted(err)}, err)
		return
	}
	f.attach(&l.shootOf(k).back)
}

// shootOf makes a shoot of a stem.
func (l *loop) shootOf(k *stem) *shoot {
	var s *shoot
	if n := len(l.shoots); n > 0 {
		s, l.shoots = l.shoots[n-1], l.shoots[:n-1]
	} else {
		s = new(shoot)
	}
	queued := s.queued
	*s = shoot{stem: k, head: s.head[:0], inlet: inlet{come: s.come[:0], tail: s.tail[:0], window: shootWindow}}
	s.loop, s.stream, s.queued, s.shoot, s.writable = l, true, queued, s, true
	s.end.owner, s.connecting = s, true
	k.held++
	if k.stage < standing {
		k.waiting = append(k.waiting, s)
	}
	return s
}

// ready implements the end's owner.
func (s *shoot) ready() {
	if s.inbound != nil {
		s.inbound.ready()
	}
}

// stir lets the link go on when all that has come with this has been looked at.
func (s *shoot) stir() {
	s.readable = true
	s.loop.soon(&s.end)
}

// wake lets the request go on, if it may.
func (s *shoot) wake() {
	if !s.writable && s.mayWrite(&s.stem.tongue) > 0 {
		s.writable = true
		s.loop.soon(&s.end)
	}
}

// rises reports whether the stream may begin; false and no error: not yet.
func (s *shoot) rises() (bool, error) {
	switch k := s.stem; {
	case s.err != nil:
		return false, s.err
	case k.stage == fallen:
		return false, errBrokeOff
	case k.stage == wilting:
		s.used = k.next > 1
		return false, errNotTaken
	case k.stage == standing:
		s.connecting = false
	}
	return !s.connecting, nil
}

// begin begins the stream with the request's head, which is what HTTP/1.1 would say but
// for what is for its connections only. The body goes where it would go there.
func (s *shoot) begin(t *task) {
	k, req := s.stem, &t.req
	s.id, s.room = k.next, k.first
	k.next += 2
	k.shoots = append(k.shoots, s)
	s.behind = k.taken + k.down.waiting()
	start := k.beginBlock()
	if t.out = t.out[:0]; t.exchange.newPath {
		t.out = append(t.out, t.exchange.head.target...)
	} else {
		t.out = req.AppendTarget(t.out, t.buf)
	}
	k.out = h2.AppendRequest(k.out, req.Verb.Of(t.buf), k.list.key.tls != nil, req.Host.Of(t.buf), t.out)
	drop := t.exchange.dropped()
	for i := range req.Fields {
		f := &req.Fields[i]
		if f.Known == http1.ContentLength && t.two && req.Framing == http1.NoBody {
			continue // which we may have put there: the end of the stream says it
		}
		if req.Forwards(t.buf, f, drop) {
			k.out = h2.AppendField(k.out, f.Name.Of(t.buf), f.Value.Of(t.buf))
		}
	}
	if req.Trailers {
		k.out = h2.AppendField(k.out, []byte("te"), []byte("trailers"))
	}
	adds := additions{t.out[:0]}
	t.exchange.toServer(&adds)
	k.out = appendLines(k.out, adds.text)
	flags := h2.Flags(0)
	s.body, s.bodiless = req.Body(), req.Method == http1.MethodHead
	if s.told = s.body.Done(); s.told {
		flags = h2.EndStream
	}
	k.out = h2.FinishBlock(k.out, start, flags, s.id, k.most)
	if k.next > h2.StreamMost {
		k.wilt()
	}
	t.out = adds.text[:0]
	t.composeBody()
}

// appendLines appends fields that stand as they go over the wire of HTTP/1.1.
func appendLines(dst, lines []byte) []byte {
	for len(lines) > 0 {
		colon, end := bytes.IndexByte(lines, ':'), bytes.IndexByte(lines, '\r')
		dst = h2.AppendField(dst, lines[:colon], lines[colon+len(": "):end])
		lines = lines[end+len("\r\n"):]
	}
	return dst
}

// write says what HTTP/1.1 would behind the head, and returns how much of it goes now.
// Trailers are there to their end.
func (s *shoot) write(p []byte) (n int) {
	k := s.stem
	for n < len(p) && !s.told && !s.lost {
		shut := s.body.Run() > 0
		m, err := s.outlet.write(&k.tongue, p[n:])
		switch {
		case err != nil:
			s.strike(h2.InternalError, "the request makes no sense")
		case m == 0 && shut:
			k.shut = true
			return n
		}
		n += m
	}
	return len(p) // behind the end there is nothing that anybody wants
}

// read reads what has come, as HTTP/1.1 has it: as much as there is room for.
func (s *shoot) read(p []byte) (n int, err error) {
	if s.headAt < len(s.head) {
		n = copy(p, s.head[s.headAt:])
		if s.headAt += n; s.headAt == len(s.head) {
			s.head, s.headAt = s.head[:0], 0
		}
	}
	for s.headAt == len(s.head) && s.more() && len(p)-n > chunkRoom {
		m, taken := s.inlet.read(p[n:])
		n += m
		if taken > 0 && !s.lost {
			s.inlet.repay(&s.stem.tongue, s.id, int64(taken), shootWindow/2)
		}
	}
	s.readable = s.headAt < len(s.head) || s.more() || s.err != nil
	switch {
	case n > 0:
		return n, nil
	case s.err != nil:
		return 0, s.err
	}
	return 0, syscall.EAGAIN
}

// hear takes in the fields that the stem has unpacked: a head, or trailers.
func (s *shoot) hear(ended bool) {
	reply, heads := &s.stem.reply, len(s.head)
	text, err := reply.End(ended)
	if s.answered {
		s.tail = text
	} else {
		s.head = text
	}
	switch {
	case err != nil:
		if !s.answered {
			s.head = text[:heads]
		}
		s.give(err.(*h2.Error))
	case s.answered && (!ended || s.ended):
		s.strike(h2.ProtocolError, "trailers that are not the end")
	case s.answered:
		s.finish(text)
	case reply.Status < 200:
		s.stir()
	default:
		s.stem.served = true
		s.answered, s.chunked, s.left = true, reply.Chunked, max(0, reply.Length)
		s.atOnce = ended
		if ended {
			s.finish(nil)
			return
		}
		s.stir()
	}
}

// gain takes a piece of the body.
func (s *shoot) gain(f *h2.Frame) {
	last := f.Has(h2.EndStream)
	if s.window -= int64(f.Size); s.window < 0 {
		s.strike(h2.FlowControlError, "more bytes than the stream's window lets through")
		return
	}
	switch {
	case !s.answered || s.ended:
		s.strike(h2.ProtocolError, "a body where none belongs")
		return
	case !s.put(f.Payload, last):
		s.strike(h2.ProtocolError, "a body that has not the length that was said")
		return
	}
	s.inlet.repay(&s.stem.tongue, s.id, int64(f.Size-len(f.Payload)), shootWindow/2) // of padding
	if last {
		s.finish(nil)
	} else if len(f.Payload) > 0 {
		s.stir()
	}
}

// finish ends the response. last is what stands behind a body in chunks, if not only the
// last of them.
func (s *shoot) finish(last []byte) {
	switch {
	case !s.inlet.close(last):
		s.strike(h2.ProtocolError, "a body that is shorter than was said")
	case s.inbound == nil: // nobody waits for it
		s.stem.drop(s)
		s.free()
	default:
		s.stir()
	}
}

// strike ends the stream for what the server did wrong.
func (s *shoot) strike(c h2.Code, reason string) { s.give(&h2.Error{Code: c, Reason: reason}) }

func (s *shoot) give(why *h2.Error) {
	k := s.stem
	k.speak()
	k.out = h2.AppendReset(k.out, s.id, why.Code)
	k.drop(s)
	s.lose(why, false)
}

// gaveUp reports whether nothing more of a request is to be sent, because its stream has ended
// before a response: what the client still sends belongs to the request sent again.
func (b *back) gaveUp() bool { return b.shoot != nil && b.shoot.lost && !b.shoot.answered }

// uploadRoom is how much of a request's body is read of the client at once, of room bytes: what the
// server's windows do not let through waits at the client.
func (b *back) uploadRoom(room int) int {
	if b.shoot == nil {
		return room
	}
	return int(min(int64(room), max(4<<10, b.shoot.mayWrite(&b.shoot.stem.tongue))))
}

// lose parts with the stem: nothing more comes but what is there. kept: the connection has
// served before, and has ended.
func (s *shoot) lose(err error, kept bool) {
	s.lost, s.err, s.used = true, err, kept
	if s.inbound == nil {
		s.free()
		return
	}
	s.writable = true
	s.stir()
}

// shut ends the stream, whose link is over.
func (s *shoot) shut() {
	s.stream = false
	if k := s.stem; !s.lost {
		switch {
		case s.id == 0:
			if i := slices.Index(k.waiting, s); i >= 0 {
				k.waiting = slices.Delete(k.waiting, i, i+1)
			}
			k.left()
		default:
			if !s.told || !s.ended {
				k.speak()
				k.out = h2.AppendReset(k.out, s.id, h2.Cancel)
			}
			k.drop(s)
		}
	}
	s.free()
}

// done parts with a link whose response has come whole. If the server has not said so yet
// it soon will: to break the stream off would look like a fault.
func (s *shoot) done() {
	s.inbound = nil
	k := s.stem
	if s.lost {
		s.stream = false
		s.free()
		return
	}
	if s.ended || k.leftOver == leftOverMost {
		s.shut()
		return
	}
	s.stream = false
	s.over = true
	k.leftOver++
}

// free ends the shoot.
func (s *shoot) free() {
	if s.over {
		s.stem.leftOver--
	}
	s.stream = false
	if len(s.loop.shoots) < mostShoots {
		if cap(s.come) > frameRoom {
			s.come = nil
		}
		if cap(s.head) > frameRoom {
			s.head = nil
		}
		s.framed, s.stem, s.inbound, s.err = nil, nil, nil, nil
		s.loop.shoots = append(s.loop.shoots, s)
	}
}
