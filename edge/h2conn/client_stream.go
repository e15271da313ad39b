package h2conn

import (
	"bytes"
	"slices"
	"syscall"

	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/h2"
	"github.com/evenkeel-lb/evenkeel/http1"
)

// ClientStream is one stream of a ClientConn. Its user has a conn for it, to which it writes the request's body
// as HTTP/1.1 and from which it reads the response. The user owns the memory and may use it again for another
// stream once it is told that it may.
type ClientStream struct {
	h1          *eventloop.Conn // the user's
	conn        *ClientConn
	user        ClientUser
	detached    bool  // the connection has nothing to do with it any more
	awaitingEnd bool  // it was released before END_STREAM came
	err         error // why nothing more comes; nil: more may come
	Reused      bool  // the connection had served before it ended, or refused the stream
	isHead      bool  // the request is HEAD
	sentBefore  int64 // bytes that the socket takes before any of the request, at least
	NothingSent bool  // the connection ended before any of the request was sent
	gotHead     bool  // the response's HEADERS have come
	HeadOnly    bool  // they had END_STREAM
	sendBody          // the request

	// The response.
	head    []byte // heads to be read, from headOff on
	headOff int
	recvBody
}

// ClientUser is the request that a stream carries. It owns the stream's conn.
type ClientUser interface {
	eventloop.Owner
	// TryAnother is called when the connection turns out to allow no more streams before this one has begun.
	TryAnother()
	// Recycled is called when the stream's memory may be used again.
	Recycled()
}

// NewStream begins a stream in s, whose memory is used again. c is its user's conn. begin opens it once IsReady says
// that it can be.
func (k *ClientConn) NewStream(s *ClientStream, c *eventloop.Conn, user ClientUser) {
	*s = ClientStream{h1: c, conn: k, user: user, head: s.head[:0], recvBody: recvBody{buf: s.buf[:0], tail: s.tail[:0], recvWindow: clientStreamWindow}}
	c.BeginStream(k.Loop, s, user)
	k.active++
	if k.state < clientOpen {
		k.waiting = append(k.waiting, s)
	}
}

// notifyReadable has the link continue once all frames of this read are handled.
func (s *ClientStream) notifyReadable() {
	s.h1.Readable = true
	s.conn.Loop.Defer(s.h1)
}

// resumeWriter implements stream.
func (s *ClientStream) resumeWriter() {
	if c := s.h1; !c.Writable && s.SpaceToSend() > 0 {
		c.Writable = true
		c.Loop.Defer(c)
	}
}

// IsReady reports whether the stream can be opened; false and no error: not yet.
func (s *ClientStream) IsReady() (bool, error) {
	switch k := s.conn; {
	case s.err != nil:
		return false, s.err
	case k.state == clientClosed:
		return false, errConnClosed
	case k.state == clientDraining:
		s.Reused = k.nextID > 1
		return false, ErrNotTaken
	}
	return s.conn.state == clientOpen, nil
}

// Request is the head of a request to be sent. All of it is valid until begin returns.
type Request struct {
	Head     *http1.RequestHead
	Buf      []byte       // with head
	Target   []byte       // path and query
	Drop     *http1.Names // fields of head that are not sent
	Add      []byte       // fields that are sent besides, as lines
	NoLength bool         // of a request without a body: END_STREAM says it, and the field may be our own
}

// Begin opens the stream with the request's HEADERS, without fields that are for HTTP/1 connections only. The body
// is then written as to an HTTP/1.1 connection.
func (s *ClientStream) Begin(r *Request) {
	k, req := s.conn, r.Head
	s.id, s.sendWindow = k.nextID, k.initialWindow
	k.nextID += 2
	k.streams = append(k.streams, s)
	s.sentBefore = k.socketTook + k.sendBuf.PendingBytes()
	start := k.beginBlock()
	k.frames = h2.AppendRequest(k.frames, req.Verb.Of(r.Buf), k.TLS != nil, req.Host.Of(r.Buf), r.Target)
	for i := range req.Fields {
		f := &req.Fields[i]
		if f.Known == http1.ContentLength && r.NoLength && req.Framing == http1.NoBody {
			continue
		}
		if req.Forwards(r.Buf, f, r.Drop) {
			k.frames = h2.AppendField(k.frames, f.Name.Of(r.Buf), f.Value.Of(r.Buf))
		}
	}
	if req.Trailers {
		k.frames = h2.AppendField(k.frames, []byte("te"), []byte("trailers"))
	}
	k.frames = appendHeaderLines(k.frames, r.Add)
	flags := h2.Flags(0)
	s.body, s.isHead = req.Body(), req.Method == http1.MethodHead
	if s.endSent = s.body.Done(); s.endSent {
		flags = h2.EndStream
	}
	k.frames = h2.FinishBlock(k.frames, start, flags, s.id, k.maxFrame)
	if k.nextID > h2.StreamMost {
		k.Drain()
	}
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

// WriteStream implements transport: it sends an HTTP/1.1 request body as frames and returns how much was taken.
// Trailers have to be complete.
func (s *ClientStream) WriteStream(p []byte) (n int) {
	k := s.conn
	for n < len(p) && !s.endSent && !s.detached {
		shut := s.body.Run() > 0
		m, err := s.sendBody.write(&k.conn, p[n:])
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

// ReadStream implements transport: it reads the response as HTTP/1.1, as much as p has space for.
func (s *ClientStream) ReadStream(p []byte) (n int, err error) {
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
			s.recvBody.returnWindow(&s.conn.conn, s.id, int64(taken), clientStreamWindow/2)
		}
	}
	s.h1.Readable = s.headOff < len(s.head) || s.hasMore() || s.err != nil
	switch {
	case n > 0:
		return n, nil
	case s.err != nil:
		return 0, s.err
	}
	return 0, syscall.EAGAIN
}

// onHead handles decoded fields: a head or trailers.
func (s *ClientStream) onHead(ended bool) {
	reply, heads := &s.conn.reply, len(s.head)
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
	case s.gotHead && (!ended || s.Complete):
		s.resetFor(h2.ProtocolError, "trailers that are not the end")
	case s.gotHead:
		s.endResponse(text)
	case reply.Status < 200:
		s.notifyReadable()
	default:
		s.conn.served = true
		s.gotHead, s.Chunked, s.remaining = true, reply.Chunked, max(0, reply.Length)
		s.HeadOnly = ended
		if ended {
			s.endResponse(nil)
			return
		}
		s.notifyReadable()
	}
}

// onData handles DATA of the stream.
func (s *ClientStream) onData(f *h2.Frame) {
	last := f.Has(h2.EndStream)
	if s.recvWindow -= int64(f.Size); s.recvWindow < 0 {
		s.resetFor(h2.FlowControlError, "more bytes than the stream's window lets through")
		return
	}
	switch {
	case !s.gotHead || s.Complete:
		s.resetFor(h2.ProtocolError, "a body where none belongs")
		return
	case !s.add(f.Payload, last):
		s.resetFor(h2.ProtocolError, "a body that contradicts its Content-Length")
		return
	}
	s.recvBody.returnWindow(&s.conn.conn, s.id, int64(f.Size-len(f.Payload)), clientStreamWindow/2) // of padding
	if last {
		s.endResponse(nil)
	} else if len(f.Payload) > 0 {
		s.notifyReadable()
	}
}

// endResponse ends the response. last is the end of a chunked body; nil: the last chunk only.
func (s *ClientStream) endResponse(last []byte) {
	switch {
	case !s.recvBody.end(last):
		s.resetFor(h2.ProtocolError, "a body shorter than its Content-Length")
	case s.awaitingEnd:
		s.conn.removeStream(s)
		s.recycle()
	default:
		s.notifyReadable()
	}
}

// resetFor resets the stream because the server broke the protocol.
func (s *ClientStream) resetFor(c h2.Code, reason string) {
	s.resetWith(&h2.Error{Code: c, Reason: reason})
}

func (s *ClientStream) resetWith(why *h2.Error) {
	k := s.conn
	k.markDirty()
	k.frames = h2.AppendReset(k.frames, s.id, why.Code)
	k.removeStream(s)
	s.detachWith(why, false)
}

// EndedEarly reports whether nothing more of the request is to be sent, because the stream ended before a
// response: what the client still sends belongs to the next attempt.
func (s *ClientStream) EndedEarly() bool { return s.detached && !s.gotHead }

// sending implements stream.
func (s *ClientStream) sending() *sendBody { return &s.sendBody }

// SpaceToSend returns how many bytes of a body the server's windows allow.
func (s *ClientStream) SpaceToSend() int64 { return s.sendSpace(&s.conn.conn) }

// detachWith detaches the stream from the connection: nothing more comes. kept: the connection has served
// before, and has ended.
func (s *ClientStream) detachWith(err error, kept bool) {
	s.detached, s.err, s.Reused = true, err, kept
	if s.awaitingEnd {
		s.recycle()
		return
	}
	s.h1.Writable = true
	s.notifyReadable()
}

// CloseStream implements transport: it ends the stream, whose user needs it no more.
func (s *ClientStream) CloseStream() {
	s.h1.IsStream = false
	if k := s.conn; !s.detached {
		switch {
		case s.id == 0:
			if i := slices.Index(k.waiting, s); i >= 0 {
				k.waiting = slices.Delete(k.waiting, i, i+1)
			}
			k.streamClosed()
		default:
			if !s.endSent || !s.Complete {
				k.markDirty()
				k.frames = h2.AppendReset(k.frames, s.id, h2.Cancel)
			}
			k.removeStream(s)
		}
	}
	s.recycle()
}

// Release ends a stream whose response is complete: the user needs it no more. END_STREAM may not have come yet but
// soon will: a reset would look like a fault.
func (s *ClientStream) Release() {
	switch k := s.conn; {
	case s.detached:
		s.recycle()
	case s.Complete || k.awaitingEnd == maxAwaitingEnd:
		s.CloseStream()
	default:
		s.h1.IsStream = false
		s.awaitingEnd = true
		k.awaitingEnd++
	}
}

// recycle frees the stream.
func (s *ClientStream) recycle() {
	if s.awaitingEnd {
		s.conn.awaitingEnd--
	}
	s.h1.IsStream = false
	if cap(s.buf) > frameBufSize {
		s.buf = nil
	}
	if cap(s.head) > frameBufSize {
		s.head = nil
	}
	user := s.user
	s.chunk, s.conn, s.user, s.err = nil, nil, nil, nil
	user.Recycled()
}
