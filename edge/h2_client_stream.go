package edge

import (
	"bytes"
	"slices"
	"syscall"

	"github.com/evenkeel-lb/evenkeel/flight"
	"github.com/evenkeel-lb/evenkeel/h2"
	"github.com/evenkeel-lb/evenkeel/http1"
)

// h2ClientStream is one stream of an h2ClientConn. The rest of the loop treats it as an HTTP/1.1 connection to
// a server for one request: what is written is sent as frames, and it reads HTTP/1.1.
type h2ClientStream struct {
	serverConn
	h2          *h2ClientConn
	detached    bool  // the connection has nothing to do with it any more
	awaitingEnd bool  // its link has ended before END_STREAM came
	err         error // why nothing more comes; nil: more may come
	isHead      bool  // the request is HEAD
	sentBefore  int64 // bytes that the socket takes before any of the request, at least
	nothingSent bool  // the connection ended before any of the request was sent
	gotHead     bool  // the response's HEADERS have come
	headOnly    bool  // they had END_STREAM
	sendBody          // the request

	// The response.
	head    []byte // heads to be read, from headOff on
	headOff int
	recvBody
}

// openServerStream opens a stream to the granted server.
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

// newClientStream adds a stream to a connection.
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

// onReady implements the conn's owner.
func (s *h2ClientStream) onReady() {
	if s.client != nil {
		s.client.onReady()
	}
}

// notifyReadable has the link continue once all frames of this read are handled.
func (s *h2ClientStream) notifyReadable() {
	s.readable = true
	s.loop.deferConn(&s.conn)
}

// resumeWriter resumes the request if the windows allow it.
func (s *h2ClientStream) resumeWriter() {
	if !s.writable && s.sendSpace(&s.h2.h2Conn) > 0 {
		s.writable = true
		s.loop.deferConn(&s.conn)
	}
}

// isReady reports whether the stream can be opened; false and no error: not yet.
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

// sendRequest opens the stream with the request's HEADERS, without fields that are for HTTP/1 connections
// only. The body is written as to an HTTP/1.1 connection.
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
			continue // END_STREAM says it; the field may be our own
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

// appendHeaderLines appends fields given as HTTP/1.1 lines.
func appendHeaderLines(dst, lines []byte) []byte {
	for len(lines) > 0 {
		colon, end := bytes.IndexByte(lines, ':'), bytes.IndexByte(lines, '\r')
		dst = h2.AppendField(dst, lines[:colon], lines[colon+len(": "):end])
		lines = lines[end+len("\r\n"):]
	}
	return dst
}

// write sends an HTTP/1.1 request body as frames and returns how much was taken. Trailers have to be complete.
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
	return len(p) // bytes behind the end are dropped
}

// read reads the response as HTTP/1.1, as much as p has space for.
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

// onHead handles decoded fields: a head or trailers.
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

// onData handles DATA of the stream.
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
		s.resetFor(h2.ProtocolError, "a body that contradicts its Content-Length")
		return
	}
	s.recvBody.returnWindow(&s.h2.h2Conn, s.id, int64(f.Size-len(f.Payload)), clientStreamWindow/2) // of padding
	if last {
		s.endResponse(nil)
	} else if len(f.Payload) > 0 {
		s.notifyReadable()
	}
}

// endResponse ends the response. last is the end of a chunked body; nil: the last chunk only.
func (s *h2ClientStream) endResponse(last []byte) {
	switch {
	case !s.recvBody.end(last):
		s.resetFor(h2.ProtocolError, "a body shorter than its Content-Length")
	case s.client == nil: // its link has ended
		s.h2.removeStream(s)
		s.recycle()
	default:
		s.notifyReadable()
	}
}

// resetFor resets the stream because the server broke the protocol.
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

// endedEarly reports whether nothing more of the request is to be sent, because the stream ended before a
// response: what the client still sends belongs to the next attempt.
func (b *serverConn) endedEarly() bool {
	return b.clientStream != nil && b.clientStream.detached && !b.clientStream.gotHead
}

// uploadLimit returns how much of a request body to read from the client: what the server's windows do not
// allow stays at the client.
func (b *serverConn) uploadLimit(space int) int {
	if b.clientStream == nil {
		return space
	}
	return int(min(int64(space), max(4<<10, b.clientStream.sendSpace(&b.clientStream.h2.h2Conn))))
}

// detachWith detaches the stream from the connection: nothing more comes. kept: the connection has served
// before, and has ended.
func (s *h2ClientStream) detachWith(err error, kept bool) {
	s.detached, s.err, s.reused = true, err, kept
	if s.client == nil {
		s.recycle()
		return
	}
	s.writable = true
	s.notifyReadable()
}

// closeStream ends the stream, whose link has ended.
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

// release ends a link whose response is complete. END_STREAM may not have come yet but soon will: a reset
// would look like a fault.
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

// recycle frees the stream.
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
