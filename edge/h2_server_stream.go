package edge

import (
	"syscall"

	"github.com/evenkeel-lb/evenkeel/h2"
	"github.com/evenkeel-lb/evenkeel/http1"
)

// h2ServerStream is one stream of an h2ServerConn. The rest of the loop treats it as a client's HTTP/1.1
// connection with one request: it reads HTTP/1.1, and what it writes is sent as frames. A full window blocks
// only this stream, like a full socket.
type h2ServerStream struct {
	clientConn
	h2       *h2ServerConn
	ended    bool // the stream is closed for the client: it ended or reset it, or was sent a reset
	headSent bool // the response's HEADERS are queued
	recvBody      // the request
	sendBody      // the response
}

// newServerStream begins a stream whose request head is in t.
func (l *loop) newServerStream(k *h2ServerConn, id uint32, ended bool, t *request, size int) {
	var b *h2ServerStream
	if n := len(l.freeServerStreams); n > 0 {
		b, l.freeServerStreams = l.freeServerStreams[n-1], l.freeServerStreams[:n-1]
	} else {
		b = new(h2ServerStream)
	}
	queued := b.deferred
	*b = h2ServerStream{h2: k, recvBody: recvBody{buf: b.buf[:0], tail: b.tail[:0], complete: ended, chunked: k.head.Chunked, remaining: max(0, k.head.Length), recvWindow: streamWindow},
		sendBody: sendBody{id: id, sendWindow: k.initialWindow}}
	b.loop, b.isStream, b.deferred, b.serverStream, b.writable = l, true, queued, b, true
	b.conn.owner, b.timer.owner = &b.clientConn, &b.clientConn
	b.service, b.peer, b.req = k.service, k.peer, t
	t.inputStart, t.inputEnd, t.isHTTP2 = 0, size, true
	k.streams = append(k.streams, b)
	b.parseHead()
}

// onData handles DATA of the stream.
func (b *h2ServerStream) onData(f *h2.Frame) {
	k, n := b.h2, int64(len(f.Payload))
	if b.recvWindow -= int64(f.Size); b.recvWindow < 0 {
		k.resetStream(b, h2.FlowControlError)
		return
	}
	b.returnStreamWindow(int64(f.Size) - n) // of padding
	switch last := f.Has(h2.EndStream); {
	case !b.add(f.Payload, last):
		k.returnWindow(n)
		k.resetStream(b, h2.ProtocolError)
	case last:
		b.endRequest(nil)
	case n > 0:
		b.notifyReadable()
	}
}

// endRequest ends the request. last is the end of a chunked body; nil: the last chunk only.
func (b *h2ServerStream) endRequest(last []byte) {
	if !b.recvBody.end(last) {
		b.h2.resetStream(b, h2.ProtocolError)
		return
	}
	b.notifyReadable()
}

// notifyReadable calls the owner, since something has come.
func (b *h2ServerStream) notifyReadable() {
	b.readable = true
	b.clientConn.onReady()
}

// read reads the request as HTTP/1.1. The end of the request is not the end of a connection.
func (b *h2ServerStream) read(p []byte) (int, error) {
	n, taken := b.recvBody.read(p)
	if taken > 0 {
		b.h2.returnWindow(int64(taken))
		b.returnStreamWindow(int64(taken))
	}
	if b.readable = b.hasMore(); n == 0 {
		return 0, syscall.EAGAIN
	}
	return n, nil
}

// returnStreamWindow returns n bytes to the stream's window.
func (b *h2ServerStream) returnStreamWindow(n int64) {
	if !b.ended {
		b.recvBody.returnWindow(&b.h2.h2Conn, b.id, n, streamWindow/2)
	}
}

// write sends an HTTP/1.1 response as frames and returns how much was taken. A head has to be complete, and so
// have trailers.
func (b *h2ServerStream) write(p []byte) (n int) {
	for n < len(p) && !b.endSent && !b.ended {
		if !b.headSent {
			n += b.writeHead(p[n:])
			continue
		}
		shut := b.body.Run() > 0
		m, err := b.sendBody.write(&b.h2.h2Conn, p[n:])
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
func (b *h2ServerStream) writeHead(p []byte) int {
	k, l := b.h2, b.loop
	head := &l.responseHead
	head.Limits = http1.Limits{Head: 2 * maxResponseHead, Line: maxResponseHead, Fields: 2 * responseFields} // the server's head was held to its limits
	n, err := head.Parse(p, http1.Asked{Method: b.req.req.Method, Ended: b.req.headAlone || b.req.responseStarted && b.req.resp.Framing == http1.NoBody})
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
func (b *h2ServerStream) failResponse() {
	b.ended = true
	b.h2.appendReset(b.id, h2.InternalError, b.recvWindow)
}

// resumeWriter resumes the response if the windows allow it.
func (b *h2ServerStream) resumeWriter() {
	if !b.writable && b.isOpen() && b.sendSpace(&b.h2.h2Conn) > 0 {
		b.writable = true
		b.loop.deferConn(&b.conn)
	}
}

// readLimit returns how much to read from a server for this client: what the client's windows do not allow
// would only be kept.
func (c *conn) readLimit(space int) int {
	if c.serverStream == nil {
		return space
	}
	return int(min(int64(space), max(4<<10, c.serverStream.sendSpace(&c.serverStream.h2.h2Conn))))
}

// closeStream ends the stream.
func (b *h2ServerStream) closeStream() {
	k := b.h2
	if b.isStream = false; k.state <= h2ServerDraining && !b.ended {
		switch {
		case !b.endSent:
			k.appendReset(b.id, h2.InternalError, b.recvWindow)
		case !b.complete:
			k.discardBody(b.id, b.recvWindow)
		}
	}
	b.ended = true
	k.returnWindow(b.unreadBytes())
}

// recycle frees the stream, whose request has ended.
func (b *h2ServerStream) recycle() {
	b.h2.streamClosed(b)
	if len(b.loop.freeServerStreams) < maxFreeServerStreams {
		if cap(b.buf) > frameBufSize {
			b.buf = nil
		}
		b.chunk, b.h2, b.req = nil, nil, nil
		b.loop.freeServerStreams = append(b.loop.freeServerStreams, b)
	}
}
