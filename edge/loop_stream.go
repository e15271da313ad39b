package edge

import (
	"github.com/evenkeel-lb/evenkeel/h2"
	"github.com/evenkeel-lb/evenkeel/http1"
)

// What a stream of HTTP/2 carries, as the rest of the loop has it: as HTTP/1.1.

// inlet is the body that comes on a stream.
type inlet struct {
	come    []byte // and is still to be read, from at on
	at      int
	framed  []byte // of that, ready to be read
	tail    []byte // what is to be read behind it
	chunked bool
	ended   bool  // it has come to its end
	left    int64 // bytes that are still to come, if it was said how many
	window  int64 // bytes that may come
	credit  int64 // bytes that may come again, and the peer has not been told of
}

// put keeps a piece until it is read; false: it is not what was said of the length.
func (s *inlet) put(p []byte, last bool) bool {
	if !s.chunked {
		if s.left -= int64(len(p)); s.left < 0 || last && s.left > 0 {
			return false
		}
	}
	if s.at == len(s.come) || cap(s.come)-len(s.come) < len(p) {
		s.come, s.at = s.come[:copy(s.come, s.come[s.at:])], 0
	}
	s.come = append(s.come, p...)
	return true
}

// close ends the body. last is what stands behind one in chunks, if not only the last of
// them; false: it is shorter than was said.
func (s *inlet) close(last []byte) bool {
	if !s.chunked && s.left > 0 {
		return false
	}
	s.ended = true
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
func (s *inlet) read(p []byte) (n, taken int) {
	at := s.at
	if len(s.framed) == 0 && s.at < len(s.come) && s.chunked && len(p) < chunkRoom {
		s.framed = s.frame(make([]byte, 0, 2*chunkRoom))
	}
	switch {
	case len(s.framed) > 0:
		n = copy(p, s.framed)
		s.framed = s.framed[n:]
	case s.at < len(s.come) && s.chunked:
		n = len(s.frame(p[:0]))
	case s.at < len(s.come):
		n = copy(p, s.come[s.at:])
		s.at += n
	case len(s.tail) > 0 && s.ended:
		n = copy(p, s.tail)
		s.tail = s.tail[:copy(s.tail, s.tail[n:])]
	}
	return n, s.at - at
}

// more reports whether there is something to read.
func (s *inlet) more() bool {
	return len(s.framed) > 0 || s.at < len(s.come) || s.ended && len(s.tail) > 0
}

// unread is how many bytes of the body nobody has read.
func (s *inlet) unread() int64 { return int64(len(s.come) - s.at) }

// chunkRoom is what a chunk needs, and a few bytes in it.
const chunkRoom = 32

// frame appends a chunk, as large as there is room for.
func (s *inlet) frame(dst []byte) []byte {
	n := min(len(s.come)-s.at, cap(dst)-len(dst)-chunkRoom/2)
	dst = http1.AppendChunkSize(dst, n)
	dst = append(append(dst, s.come[s.at:s.at+n]...), "\r\n"...)
	s.at += n
	return dst
}

// repay lets the peer send as many bytes again on the stream, once it is worth a frame.
func (s *inlet) repay(k *tongue, stream uint32, n, least int64) {
	if s.credit += n; s.credit >= least && !s.ended {
		k.speak()
		k.out = h2.AppendWindowUpdate(k.out, stream, uint32(s.credit))
		s.window += s.credit
		s.credit = 0
	}
}

// outlet is what goes out on a stream, of what HTTP/1.1 would say.
type outlet struct {
	id   uint32 // of the stream
	room int64  // bytes of its body that the peer takes yet
	told bool   // it has gone to its end
	body http1.Body
}

// mayWrite is how many bytes of a body may go.
func (s *outlet) mayWrite(k *tongue) int64 {
	return min(s.room, k.room, int64(mostBehind-k.behind()))
}

// write says what stands behind the head, and returns how much of it goes now; zero: the
// windows are shut. An error says that it makes no sense. Trailers are there to their end.
func (s *outlet) write(k *tongue, p []byte) (int, error) {
	switch {
	case s.body.AtTrailers():
		return s.writeTrailers(k, p)
	case s.body.Run() > 0:
		return s.writeData(k, p), nil
	}
	return s.writeBetween(k, p)
}

// writeTrailers says them, and so the end.
func (s *outlet) writeTrailers(k *tongue, p []byte) (int, error) {
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
		k.out = h2.AppendField(k.out, f.Name.Of(p), f.Value.Of(p))
	}
	k.out = h2.FinishBlock(k.out, start, h2.EndStream, s.id, k.most)
	s.told = true
	return n, nil
}

// writeEnd says that the body has gone, of which that was not known before.
func (s *outlet) writeEnd(k *tongue) {
	k.speak()
	k.out = h2.AppendFrame(k.out, 0, h2.Data, h2.EndStream, s.id)
	s.told = true
}

// writeData says as much of the body as the windows let through.
func (s *outlet) writeData(k *tongue, p []byte) int {
	n := min(int64(len(p)), s.body.Run(), int64(k.most), s.mayWrite(k))
	if n <= 0 {
		return 0
	}
	s.body.Skip(n)
	s.room -= n
	k.room -= n
	flags := h2.Flags(0)
	if s.told = s.body.Done(); s.told {
		flags = h2.EndStream
	}
	k.speak()
	k.out = append(h2.AppendFrame(k.out, int(n), h2.Data, flags, s.id), p[:n]...)
	return int(n)
}

// writeBetween deals with what stands between chunks. It may be no byte, where trailers
// begin.
func (s *outlet) writeBetween(k *tongue, p []byte) (n int, err error) {
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
