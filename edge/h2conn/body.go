package h2conn

import (
	"github.com/evenkeel-lb/evenkeel/h2"
	"github.com/evenkeel-lb/evenkeel/http1"
)

// The bodies of an HTTP/2 stream, as HTTP/1.1 frames them for the rest of the loop.

// recvBody is the body that comes on a stream.
type recvBody struct {
	buf        []byte // received and not read, from off on
	off        int
	chunk      []byte // a chunk, to be read first
	tail       []byte // trailers or the last chunk, to be read last
	Chunked    bool
	Complete   bool  // END_STREAM has come
	remaining  int64 // bytes still to come, by Content-Length
	recvWindow int64 // flow-control window: bytes that may come
	unacked    int64 // bytes to be returned to the window, not announced yet
}

// add keeps a piece until it is read. It returns false if Content-Length contradicts it.
func (s *recvBody) add(p []byte, last bool) bool {
	if !s.Chunked {
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

// end ends the body. last is the end of a chunked body; nil: the last chunk only. It returns false if the body
// is shorter than its Content-Length.
func (s *recvBody) end(last []byte) bool {
	if !s.Chunked && s.remaining > 0 {
		return false
	}
	s.Complete = true
	switch {
	case !s.Chunked:
		s.tail = s.tail[:0]
	case last == nil:
		s.tail = append(s.tail[:0], http1.LastChunk...)
	default:
		s.tail = last
	}
	return true
}

// read reads what has come, in HTTP/1.1's framing, and returns how many bytes of the body that took.
func (s *recvBody) read(p []byte) (n, taken int) {
	at := s.off
	if len(s.chunk) == 0 && s.off < len(s.buf) && s.Chunked && len(p) < minChunkSpace {
		s.chunk = s.appendChunk(make([]byte, 0, 2*minChunkSpace))
	}
	switch {
	case len(s.chunk) > 0:
		n = copy(p, s.chunk)
		s.chunk = s.chunk[n:]
	case s.off < len(s.buf) && s.Chunked:
		n = len(s.appendChunk(p[:0]))
	case s.off < len(s.buf):
		n = copy(p, s.buf[s.off:])
		s.off += n
	case len(s.tail) > 0 && s.Complete:
		n = copy(p, s.tail)
		s.tail = s.tail[:copy(s.tail, s.tail[n:])]
	}
	return n, s.off - at
}

// hasMore reports whether there is something to read.
func (s *recvBody) hasMore() bool {
	return len(s.chunk) > 0 || s.off < len(s.buf) || s.Complete && len(s.tail) > 0
}

// UnreadBytes returns how many bytes of the body are not read.
func (s *recvBody) UnreadBytes() int64 { return int64(len(s.buf) - s.off) }

// minChunkSpace is space for a chunk with a few bytes.
const minChunkSpace = 32

// appendChunk appends a chunk, as large as dst has space for.
func (s *recvBody) appendChunk(dst []byte) []byte {
	n := min(len(s.buf)-s.off, cap(dst)-len(dst)-minChunkSpace/2)
	dst = http1.AppendChunkSize(dst, n)
	dst = append(append(dst, s.buf[s.off:s.off+n]...), "\r\n"...)
	s.off += n
	return dst
}

// returnWindow returns n bytes to the stream's window, once that is worth a frame.
func (s *recvBody) returnWindow(k *conn, stream uint32, n, least int64) {
	if s.unacked += n; s.unacked >= least && !s.Complete {
		k.markDirty()
		k.frames = h2.AppendWindowUpdate(k.frames, stream, uint32(s.unacked))
		s.recvWindow += s.unacked
		s.unacked = 0
	}
}

// sendBody is the body that is sent on a stream, given in HTTP/1.1's framing.
type sendBody struct {
	id         uint32 // of the stream
	sendWindow int64  // flow-control window
	endSent    bool   // END_STREAM has been queued
	body       http1.Body
}

// sendSpace returns how many bytes of a body may be sent.
func (s *sendBody) sendSpace(k *conn) int64 {
	return min(s.sendWindow, k.sendWindow, int64(maxPending-k.PendingBytes()))
}

// write sends what follows the head and returns how much of it; zero: the windows are exhausted. An error
// reports broken framing. Trailers have to be complete.
func (s *sendBody) write(k *conn, p []byte) (int, error) {
	switch {
	case s.body.AtTrailers():
		return s.writeTrailers(k, p)
	case s.body.Run() > 0:
		return s.writeData(k, p), nil
	}
	return s.writeBetween(k, p)
}

// writeTrailers sends trailers, and with them END_STREAM.
func (s *sendBody) writeTrailers(k *conn, p []byte) (int, error) {
	trailers := &k.shared.trailers
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

// writeEnd sends END_STREAM in an empty DATA frame.
func (s *sendBody) writeEnd(k *conn) {
	k.markDirty()
	k.frames = h2.AppendFrame(k.frames, 0, h2.Data, h2.EndStream, s.id)
	s.endSent = true
}

// writeData sends as much of the body as the windows allow.
func (s *sendBody) writeData(k *conn, p []byte) int {
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

// writeBetween skips chunk framing. It may consume nothing where trailers begin.
func (s *sendBody) writeBetween(k *conn, p []byte) (n int, err error) {
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
