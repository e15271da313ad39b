package edge

import (
	"github.com/evenkeel-lb/evenkeel/h2"
	"github.com/evenkeel-lb/evenkeel/http1"
)

// What a stream of HTTP/2 carries, as the rest of the loop has it: as HTTP/1.1.

// recvBody is the body that comes on a stream.
type recvBody struct {
	buf        []byte // and is still to be read, from at on
	off        int
	chunk      []byte // of that, ready to be read
	tail       []byte // what is to be read behind it
	chunked    bool
	complete   bool  // it has come to its end
	remaining  int64 // bytes that are still to come, if it was said how many
	recvWindow int64 // bytes that may come
	unacked    int64 // bytes that may come again, and the peer has not been told of
}

// add keeps a piece until it is read; false: it is not what was said of the length.
func (s *recvBody) add(p []byte, last bool) bool {
	if !s.chunked {
		if s.remaining -= int64(len(p)); s.remaining < 0 || last && s.remaining > 0 {
			return false
		}
	}
	if s.off == len(s.buf) || cap(s.buf)-len(s.buf) < len(p) {
		s.buf, s.off = s.buf[:copy(s.buf, s.buf[s.off:])], 0
	}
	s.buf = append(s.buf, p...)
	return true
}

// end ends the body. last is what stands behind one in chunks, if not only the last of
// them; false: it is shorter than was said.
func (s *recvBody) end(last []byte) bool {
	if !s.chunked && s.remaining > 0 {
		return false
	}
	s.complete = true
	switch {
	case !s.chunked:
		s.tail = s.tail[:0]
	case last == nil:
		s.tail = append(s.tail[:0], http1.LastChunk...)
	default:
		s.tail = last
	}
	return true
}

// read reads what has come, as HTTP/1.1 has it, and returns how many bytes of the body
// were taken for that.
func (s *recvBody) read(p []byte) (n, taken int) {
	at := s.off
	if len(s.chunk) == 0 && s.off < len(s.buf) && s.chunked && len(p) < minChunkSpace {
		s.chunk = s.appendChunk(make([]byte, 0, 2*minChunkSpace))
	}
	switch {
	case len(s.chunk) > 0:
		n = copy(p, s.chunk)
		s.chunk = s.chunk[n:]
	case s.off < len(s.buf) && s.chunked:
		n = len(s.appendChunk(p[:0]))
	case s.off < len(s.buf):
		n = copy(p, s.buf[s.off:])
		s.off += n
	case len(s.tail) > 0 && s.complete:
		n = copy(p, s.tail)
		s.tail = s.tail[:copy(s.tail, s.tail[n:])]
	}
	return n, s.off - at
}

// hasMore reports whether there is something to read.
func (s *recvBody) hasMore() bool {
	return len(s.chunk) > 0 || s.off < len(s.buf) || s.complete && len(s.tail) > 0
}

// unreadBytes is how many bytes of the body nobody has read.
func (s *recvBody) unreadBytes() int64 { return int64(len(s.buf) - s.off) }

// minChunkSpace is what a chunk needs, and a few bytes in it.
const minChunkSpace = 32

// appendChunk appends a chunk, as large as there is room for.
func (s *recvBody) appendChunk(dst []byte) []byte {
	n := min(len(s.buf)-s.off, cap(dst)-len(dst)-minChunkSpace/2)
	dst = http1.AppendChunkSize(dst, n)
	dst = append(append(dst, s.buf[s.off:s.off+n]...), "\r\n"...)
	s.off += n
	return dst
}

// returnWindow lets the peer send as many bytes again on the stream, once it is worth a frame.
func (s *recvBody) returnWindow(k *h2Conn, stream uint32, n, least int64) {
	if s.unacked += n; s.unacked >= least && !s.complete {
		k.markDirty()
		k.frames = h2.AppendWindowUpdate(k.frames, stream, uint32(s.unacked))
		s.recvWindow += s.unacked
		s.unacked = 0
	}
}

// sendBody is what goes out on a stream, of what HTTP/1.1 would say.
type sendBody struct {
	id         uint32 // of the stream
	sendWindow int64  // bytes of its body that the peer takes yet
	endSent    bool   // it has gone to its end
	body       http1.Body
}

// sendSpace is how many bytes of a body may go.
func (s *sendBody) sendSpace(k *h2Conn) int64 {
	return min(s.sendWindow, k.sendWindow, int64(maxPending-k.pendingBytes()))
}

// write says what stands behind the head, and returns how much of it goes now; zero: the
// windows are shut. An error says that it makes no sense. Trailers are there to their end.
func (s *sendBody) write(k *h2Conn, p []byte) (int, error) {
	switch {
	case s.body.AtTrailers():
		return s.writeTrailers(k, p)
	case s.body.Run() > 0:
		return s.writeData(k, p), nil
	}
	return s.writeBetween(k, p)
}

// writeTrailers says them, and so the end.
func (s *sendBody) writeTrailers(k *h2Conn, p []byte) (int, error) {
	trailers := &k.loop.trailers
	n, err := s.body.ReadTrailers(trailers, p)
	if err != nil || n == 0 {
		trailers.Reset()
		return 0, http1.ErrTruncated
	}
	if len(trailers.Fields) == 0 {
		s.writeEnd(k)
		return n, nil
	}
	start := k.beginBlock()
	for i := range trailers.Fields {
		f := &trailers.Fields[i]
		k.frames = h2.AppendField(k.frames, f.Name.Of(p), f.Value.Of(p))
	}
	k.frames = h2.FinishBlock(k.frames, start, h2.EndStream, s.id, k.maxFrame)
	s.endSent = true
	return n, nil
}

// writeEnd says that the body has gone, of which that was not known before.
func (s *sendBody) writeEnd(k *h2Conn) {
	k.markDirty()
	k.frames = h2.AppendFrame(k.frames, 0, h2.Data, h2.EndStream, s.id)
	s.endSent = true
}

// writeData says as much of the body as the windows let through.
func (s *sendBody) writeData(k *h2Conn, p []byte) int {
	n := min(int64(len(p)), s.body.Run(), int64(k.maxFrame), s.sendSpace(k))
	if n <= 0 {
		return 0
	}
	s.body.Skip(n)
	s.sendWindow -= n
	k.sendWindow -= n
	flags := h2.Flags(0)
	if s.endSent = s.body.Done(); s.endSent {
		flags = h2.EndStream
	}
	k.markDirty()
	k.frames = append(h2.AppendFrame(k.frames, int(n), h2.Data, flags, s.id), p[:n]...)
	return int(n)
}

// writeBetween deals with what stands between chunks. It may be no byte, where trailers
// begin.
func (s *sendBody) writeBetween(k *h2Conn, p []byte) (n int, err error) {
	for n < len(p) && err == nil && s.body.Run() == 0 && !s.body.Done() && !s.body.AtTrailers() {
		m := 0
		_, m, err = s.body.Decode(p[n : n+1])
		n += m
	}
	if err == nil && s.body.Done() {
		s.writeEnd(k)
	}
	return n, err
}
