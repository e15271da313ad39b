package h2conn

import (
	"syscall"

	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/h2"
	"github.com/evenkeel-lb/evenkeel/http1"
)

// ServerStream is one stream of a ServerConn. Its user has a conn for it, from which it reads the request as
// HTTP/1.1 and to which it writes the response: that is sent as frames. A full window blocks only this stream, like
// a full socket. The user owns the memory and may use it again for another stream.
type ServerStream struct {
	h1       *eventloop.Conn // the user's
	conn     *ServerConn
	user     ServerUser
	ended    bool // the stream is closed for the client: it ended or reset it, or was sent a reset
	headSent bool // the response's HEADERS are queued
	recvBody      // the request
	sendBody      // the response
}

// ServerUser is what a stream is served by. It owns the stream's conn.
type ServerUser interface {
	eventloop.Owner
	// Kill ends the request in any state, and closes the conn.
	Kill()
	// Asked returns what the response answers whose head is being written.
	Asked() http1.Asked
}

// Opening is a stream that a client opens.
type Opening struct {
	conn  *ServerConn
	id    uint32
	ended bool // the request has no body
}

// Accept begins the stream in s, whose memory is used again. c is its user's conn.
func (o Opening) Accept(s *ServerStream, c *eventloop.Conn, user ServerUser) {
	k := o.conn
	body := recvBody{buf: s.buf[:0], tail: s.tail[:0], Complete: o.ended, Chunked: k.head.Chunked, remaining: max(0, k.head.Length), recvWindow: StreamWindow}
	*s = ServerStream{h1: c, conn: k, user: user, recvBody: body, sendBody: sendBody{id: o.id, sendWindow: k.initialWindow}}
	c.BeginStream(k.Loop, s, user)
	k.streams = append(k.streams, s)
}

// Users calls do with the user of every stream that is not closed.
func (k *ServerConn) Users(do func(ServerUser)) {
	for _, b := range k.streams {
		do(b.user)
	}
}

// sending implements stream.
func (b *ServerStream) sending() *sendBody { return &b.sendBody }

// SpaceToSend returns how many bytes of a body the client's windows allow.
func (b *ServerStream) SpaceToSend() int64 { return b.sendSpace(&b.conn.conn) }

// AwaitsOthers reports whether the connection's window is used up, perhaps by streams that are not read.
func (b *ServerStream) AwaitsOthers() bool { return b.conn.recvWindow < StreamWindow }

// NoteOversized records that the request's head was too large. A client that sends several of them is cut off.
func (b *ServerStream) NoteOversized() { b.conn.oversized++ }

// Unread returns the bytes of the body that have come and are not read.
func (b *ServerStream) Unread() []byte { return b.buf[b.off:] }

// onData handles DATA of the stream.
func (b *ServerStream) onData(f *h2.Frame) {
	k, n := b.conn, int64(len(f.Payload))
	if b.recvWindow -= int64(f.Size); b.recvWindow < 0 {
		k.resetStream(b, h2.FlowControlError)
		return
	}
	b.returnStreamWindow(int64(f.Size) - n) // of padding
	switch last := f.Has(h2.EndStream); {
	case !b.add(f.Payload, last):
		k.returnWindow(n, windowUpdateAfter)
		k.resetStream(b, h2.ProtocolError)
	case last:
		b.endRequest(nil)
	case n > 0:
		b.notifyReadable()
	}
}

// endRequest ends the request. last is the end of a chunked body; nil: the last chunk only.
func (b *ServerStream) endRequest(last []byte) {
	if !b.recvBody.end(last) {
		b.conn.resetStream(b, h2.ProtocolError)
		return
	}
	b.notifyReadable()
}

// notifyReadable calls the owner, since something has come.
func (b *ServerStream) notifyReadable() {
	b.h1.Readable = true
	b.user.OnReady()
}

// ReadStream implements transport: it reads the request as HTTP/1.1. The end of the request is not the end of a
// connection.
func (b *ServerStream) ReadStream(p []byte) (int, error) {
	n, taken := b.recvBody.read(p)
	if taken > 0 {
		b.conn.returnWindow(int64(taken), windowUpdateAfter)
		b.returnStreamWindow(int64(taken))
	}
	if b.h1.Readable = b.hasMore(); n == 0 {
		return 0, syscall.EAGAIN
	}
	return n, nil
}

// returnStreamWindow returns n bytes to the stream's window.
func (b *ServerStream) returnStreamWindow(n int64) {
	if !b.ended {
		b.recvBody.returnWindow(&b.conn.conn, b.id, n, StreamWindow/2)
	}
}

// WriteStream implements transport: it sends an HTTP/1.1 response as frames and returns how much was taken. A
// head has to be complete, and so have trailers.
func (b *ServerStream) WriteStream(p []byte) (n int) {
	for n < len(p) && !b.endSent && !b.ended {
		if !b.headSent {
			n += b.writeHead(p[n:])
			continue
		}
		shut := b.body.Run() > 0
		m, err := b.sendBody.write(&b.conn.conn, p[n:])
		switch {
		case err != nil:
			b.failResponse()
		case m == 0 && shut:
			return n
		}
		n += m
	}
	return len(p) // bytes behind the end are dropped
}

// writeHead sends a response's head, without fields that are for HTTP/1 connections only.
func (b *ServerStream) writeHead(p []byte) int {
	k := b.conn
	head := &k.shared.responseHead
	head.Limits = http1.Limits{Head: 2 * MaxResponseHead, Line: MaxResponseHead, Fields: 2 * MaxResponseFields} // the server's head was held to its limits
	n, err := head.Parse(p, b.user.Asked())
	if err != nil || n == 0 {
		head.Reset()
		b.failResponse()
		return len(p)
	}
	start := k.beginBlock()
	k.frames = h2.AppendStatus(k.frames, head.Status)
	for i := range head.Fields {
		switch f := &head.Fields[i]; f.Known {
		case http1.Connection, http1.TransferEncoding, http1.KeepAlive, http1.ProxyConnection, http1.Upgrade:
		default:
			k.frames = h2.AppendField(k.frames, f.Name.Of(p), f.Value.Of(p))
		}
	}
	flags := h2.Flags(0)
	if !head.Interim() {
		b.headSent, b.body = true, head.Body()
		if b.endSent = b.body.Done(); b.endSent {
			flags = h2.EndStream
		}
	}
	k.frames = h2.FinishBlock(k.frames, start, flags, b.id, k.maxFrame)
	return n
}

// failResponse resets a stream whose response is malformed.
func (b *ServerStream) failResponse() {
	b.ended = true
	b.conn.appendReset(b.id, h2.InternalError, b.recvWindow)
}

// resumeWriter implements stream.
func (b *ServerStream) resumeWriter() {
	if c := b.h1; !c.Writable && c.IsOpen() && b.SpaceToSend() > 0 {
		c.Writable = true
		c.Loop.Defer(c)
	}
}

// CloseStream implements transport.
func (b *ServerStream) CloseStream() {
	k := b.conn
	if b.h1.IsStream = false; !k.inputOver && !b.ended {
		switch {
		case !b.endSent:
			k.appendReset(b.id, h2.InternalError, b.recvWindow)
		case !b.Complete:
			k.discardBody(b.id, b.recvWindow)
		}
	}
	b.ended = true
	k.returnWindow(b.UnreadBytes(), windowUpdateAfter)
}

// Release ends the stream's part in its connection. Its conn is closed.
func (b *ServerStream) Release() {
	k := b.conn
	b.chunk, b.conn, b.user = nil, nil, nil
	if cap(b.buf) > frameBufSize {
		b.buf = nil
	}
	k.streamClosed(b)
}
