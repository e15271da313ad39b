package edge

import (
	"bytes"
	"slices"
	"syscall"

	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/h2"
	"github.com/evenkeel-lb/evenkeel/http1"
)

// h2ClientStream is one stream of a stem. To the rest of the loop it is a connection to a server
// of HTTP/1.1, which carries one request: what is written to it goes out as frames, and
// what comes on the stream is read as HTTP/1.1 has it.
type h2ClientStream struct {
	serverConn
	h2          *h2ClientConn
	detached    bool  // the stem has no more to do with it
	awaitingEnd bool  // its link is done, and the end of its response is awaited
	err         error // why nothing comes behind what is there
	isHead      bool  // the request asks for a head only
	sentBefore  int64 // bytes that the connection's socket takes before any of the request, or more
	nothingSent bool  // the connection has ended before any of the request went
	gotHead     bool  // the head of the response has come
	headOnly    bool  // and ended it
	sendBody          // the request

	// The response.
	head    []byte // what is still to be read of heads, from headAt on
	headOff int
	recvBody
}

// openServerStream makes a stream to the server that was granted.
func (f *clientConn) openServerStream(to target) {
	t, l := f.req, f.loop
	f.state, t.waitingSince = stateForwarding, l.now
	k, err := l.h2ConnFor(to, serverRef{t.exchange.route.pool, t.exchange.grant.Server}, !flight.Idempotent(t.exchange.head.method))
	if err != nil {
		f.linkFailed(flight.Failure{Unreachable: true, Ours: exhausted(err)}, err)
		return
	}
	f.setServer(&l.newClientStream(k).serverConn)
}

// newClientStream makes a shoot of a stem.
func (l *loop) newClientStream(k *h2ClientConn) *h2ClientStream {
	var s *h2ClientStream
	if n := len(l.freeClientStreams); n > 0 {
		s, l.freeClientStreams = l.freeClientStreams[n-1], l.freeClientStreams[:n-1]
	} else {
		s = new(h2ClientStream)
	}
	queued := s.deferred
	*s = h2ClientStream{h2: k, head: s.head[:0], recvBody: recvBody{buf: s.buf[:0], tail: s.tail[:0], recvWindow: clientStreamWindow}}
	s.loop, s.isStream, s.deferred, s.clientStream, s.writable = l, true, queued, s, true
	s.conn.owner, s.connecting = s, true
	k.active++
	if k.state < h2ClientOpen {
		k.waiting = append(k.waiting, s)
	}
	return s
}

// onReady implements the end's owner.
func (s *h2ClientStream) onReady() {
	if s.client != nil {
		s.client.onReady()
	}
}

// notifyReadable lets the link go on when all that has come with this has been looked at.
func (s *h2ClientStream) notifyReadable() {
	s.readable = true
	s.loop.deferConn(&s.conn)
}

// resumeWriter lets the request go on, if it may.
func (s *h2ClientStream) resumeWriter() {
	if !s.writable && s.sendSpace(&s.h2.h2Conn) > 0 {
		s.writable = true
		s.loop.deferConn(&s.conn)
	}
}

// isReady reports whether the stream may begin; false and no error: not yet.
func (s *h2ClientStream) isReady() (bool, error) {
	switch k := s.h2; {
	case s.err != nil:
		return false, s.err
	case k.state == h2ClientClosed:
		return false, errBrokeOff
	case k.state == h2ClientDraining:
		s.reused = k.nextID > 1
		return false, errNotTaken
	case k.state == h2ClientOpen:
		s.connecting = false
	}
	return !s.connecting, nil
}

// sendRequest begins the stream with the request's head, which is what HTTP/1.1 would say but
// for what is for its connections only. The body goes where it would go there.
func (s *h2ClientStream) sendRequest(t *request) {
	k, req := s.h2, &t.req
	s.id, s.sendWindow = k.nextID, k.initialWindow
	k.nextID += 2
	k.streams = append(k.streams, s)
	s.sentBefore = k.socketTook + k.sendBuf.pendingBytes()
	start := k.beginBlock()
	if t.out = t.out[:0]; t.exchange.newPath {
		t.out = append(t.out, t.exchange.head.target...)
	} else {
		t.out = req.AppendTarget(t.out, t.buf)
	}
	k.frames = h2.AppendRequest(k.frames, req.Verb.Of(t.buf), k.list.key.tls != nil, req.Host.Of(t.buf), t.out)
	drop := t.exchange.requestDrops()
	for i := range req.Fields {
		f := &req.Fields[i]
		if f.Known == http1.ContentLength && t.isHTTP2 && req.Framing == http1.NoBody {
			continue // which we may have put there: the end of the stream says it
		}
		if req.Forwards(t.buf, f, drop) {
			k.frames = h2.AppendField(k.frames, f.Name.Of(t.buf), f.Value.Of(t.buf))
		}
	}
	if req.Trailers {
		k.frames = h2.AppendField(k.frames, []byte("te"), []byte("trailers"))
	}
	adds := headerLines{t.out[:0]}
	t.exchange.appendRequestHeaders(&adds)
	k.frames = appendHeaderLines(k.frames, adds.text)
	flags := h2.Flags(0)
	s.body, s.isHead = req.Body(), req.Method == http1.MethodHead
	if s.endSent = s.body.Done(); s.endSent {
		flags = h2.EndStream
	}
	k.frames = h2.FinishBlock(k.frames, start, flags, s.id, k.maxFrame)
	if k.nextID > h2.StreamMost {
		k.drain()
	}
	t.out = adds.text[:0]
	t.composeBody()
}

// appendHeaderLines appends fields that stand as they go over the wire of HTTP/1.1.
func appendHeaderLines(dst, lines []byte) []byte {
	for len(lines) > 0 {
		colon, end := bytes.IndexByte(lines, ':'), bytes.IndexByte(lines, '\r')
		dst = h2.AppendField(dst, lines[:colon], lines[colon+len(": "):end])
		lines = lines[end+len("\r\n"):]
	}
	return dst
}

// write says what HTTP/1.1 would behind the head, and returns how much of it goes now.
// Trailers are there to their end.
func (s *h2ClientStream) write(p []byte) (n int) {
	k := s.h2
	for n < len(p) && !s.endSent && !s.detached {
		shut := s.body.Run() > 0
		m, err := s.sendBody.write(&k.h2Conn, p[n:])
		switch {
		case err != nil:
			s.resetFor(h2.InternalError, "the request makes no sense")
		case m == 0 && shut:
			k.writersBlocked = true
			return n
		}
		n += m
	}
	return len(p) // behind the end there is nothing that anybody wants
}

// read reads what has come, as HTTP/1.1 has it: as much as there is room for.
func (s *h2ClientStream) read(p []byte) (n int, err error) {
	if s.headOff < len(s.head) {
		n = copy(p, s.head[s.headOff:])
		if s.headOff += n; s.headOff == len(s.head) {
			s.head, s.headOff = s.head[:0], 0
		}
	}
	for s.headOff == len(s.head) && s.hasMore() && len(p)-n > minChunkSpace {
		m, taken := s.recvBody.read(p[n:])
		n += m
		if taken > 0 && !s.detached {
			s.recvBody.returnWindow(&s.h2.h2Conn, s.id, int64(taken), clientStreamWindow/2)
		}
	}
	s.readable = s.headOff < len(s.head) || s.hasMore() || s.err != nil
	switch {
	case n > 0:
		return n, nil
	case s.err != nil:
		return 0, s.err
	}
	return 0, syscall.EAGAIN
}

// onHead takes in the fields that the stem has unpacked: a head, or trailers.
func (s *h2ClientStream) onHead(ended bool) {
	reply, heads := &s.h2.reply, len(s.head)
	text, err := reply.End(ended)
	if s.gotHead {
		s.tail = text
	} else {
		s.head = text
	}
	switch {
	case err != nil:
		if !s.gotHead {
			s.head = text[:heads]
		}
		s.resetWith(err.(*h2.Error))
	case s.gotHead && (!ended || s.complete):
		s.resetFor(h2.ProtocolError, "trailers that are not the end")
	case s.gotHead:
		s.endResponse(text)
	case reply.Status < 200:
		s.notifyReadable()
	default:
		s.h2.served = true
		s.gotHead, s.chunked, s.remaining = true, reply.Chunked, max(0, reply.Length)
		s.headOnly = ended
		if ended {
			s.endResponse(nil)
			return
		}
		s.notifyReadable()
	}
}

// onData takes a piece of the body.
func (s *h2ClientStream) onData(f *h2.Frame) {
	last := f.Has(h2.EndStream)
	if s.recvWindow -= int64(f.Size); s.recvWindow < 0 {
		s.resetFor(h2.FlowControlError, "more bytes than the stream's window lets through")
		return
	}
	switch {
	case !s.gotHead || s.complete:
		s.resetFor(h2.ProtocolError, "a body where none belongs")
		return
	case !s.add(f.Payload, last):
		s.resetFor(h2.ProtocolError, "a body that has not the length that was said")
		return
	}
	s.recvBody.returnWindow(&s.h2.h2Conn, s.id, int64(f.Size-len(f.Payload)), clientStreamWindow/2) // of padding
	if last {
		s.endResponse(nil)
	} else if len(f.Payload) > 0 {
		s.notifyReadable()
	}
}

// endResponse ends the response. last is what stands behind a body in chunks, if not only the
// last of them.
func (s *h2ClientStream) endResponse(last []byte) {
	switch {
	case !s.recvBody.end(last):
		s.resetFor(h2.ProtocolError, "a body that is shorter than was said")
	case s.client == nil: // nobody waits for it
		s.h2.removeStream(s)
		s.recycle()
	default:
		s.notifyReadable()
	}
}

// resetFor ends the stream for what the server did wrong.
func (s *h2ClientStream) resetFor(c h2.Code, reason string) {
	s.resetWith(&h2.Error{Code: c, Reason: reason})
}

func (s *h2ClientStream) resetWith(why *h2.Error) {
	k := s.h2
	k.markDirty()
	k.frames = h2.AppendReset(k.frames, s.id, why.Code)
	k.removeStream(s)
	s.detachWith(why, false)
}

// endedEarly reports whether nothing more of a request is to be sent, because its stream has ended
// before a response: what the client still sends belongs to the request sent again.
func (b *serverConn) endedEarly() bool {
	return b.clientStream != nil && b.clientStream.detached && !b.clientStream.gotHead
}

// uploadLimit is how much of a request's body is read of the client at once, of room bytes: what the
// server's windows do not let through waits at the client.
func (b *serverConn) uploadLimit(room int) int {
	if b.clientStream == nil {
		return room
	}
	return int(min(int64(room), max(4<<10, b.clientStream.sendSpace(&b.clientStream.h2.h2Conn))))
}

// detachWith parts with the stem: nothing more comes but what is there. kept: the connection has
// served before, and has ended.
func (s *h2ClientStream) detachWith(err error, kept bool) {
	s.detached, s.err, s.reused = true, err, kept
	if s.client == nil {
		s.recycle()
		return
	}
	s.writable = true
	s.notifyReadable()
}

// closeStream ends the stream, whose link is over.
func (s *h2ClientStream) closeStream() {
	s.isStream = false
	if k := s.h2; !s.detached {
		switch {
		case s.id == 0:
			if i := slices.Index(k.waiting, s); i >= 0 {
				k.waiting = slices.Delete(k.waiting, i, i+1)
			}
			k.streamClosed()
		default:
			if !s.endSent || !s.complete {
				k.markDirty()
				k.frames = h2.AppendReset(k.frames, s.id, h2.Cancel)
			}
			k.removeStream(s)
		}
	}
	s.recycle()
}

// release parts with a link whose response has come whole. If the server has not said so yet
// it soon will: to break the stream off would look like a fault.
func (s *h2ClientStream) release() {
	s.client = nil
	k := s.h2
	if s.detached {
		s.isStream = false
		s.recycle()
		return
	}
	if s.complete || k.awaitingEnd == maxAwaitingEnd {
		s.closeStream()
		return
	}
	s.isStream = false
	s.awaitingEnd = true
	k.awaitingEnd++
}

// recycle ends the shoot.
func (s *h2ClientStream) recycle() {
	if s.awaitingEnd {
		s.h2.awaitingEnd--
	}
	s.isStream = false
	if len(s.loop.freeClientStreams) < maxFreeClientStreams {
		if cap(s.buf) > frameBufSize {
			s.buf = nil
		}
		if cap(s.head) > frameBufSize {
			s.head = nil
		}
		s.chunk, s.h2, s.client, s.err = nil, nil, nil, nil
		s.loop.freeClientStreams = append(s.loop.freeClientStreams, s)
	}
}
