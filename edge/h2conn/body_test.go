package h2conn

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/h2"
	"github.com/evenkeel-lb/evenkeel/http1"
)

// framingOf returns how a body is framed that has so many bytes, or is sent in chunks.
func framingOf(chunked bool, size int) (http1.Framing, int64) {
	if chunked {
		return http1.ByChunks, 0
	}
	return http1.ByLength, int64(size)
}

// decoded returns the data of a body in HTTP/1.1's framing, and whether it ends there and nothing follows.
func decoded(t *rapid.T, b http1.Body, text []byte) (data []byte, ended bool) {
	for len(text) > 0 && !b.AtTrailers() && !b.Done() {
		span, n, err := b.Decode(text)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if n == 0 {
			return data, false
		}
		data = append(data, span.Of(text)...)
		text = text[n:]
	}
	if !b.AtTrailers() {
		return data, b.Done() && len(text) == 0
	}
	n, err := b.ReadTrailers(new(http1.Trailers), text)
	return data, err == nil && n == len(text)
}

// What comes in frames is read as HTTP/1.1 has it, whatever the sizes of frames and reads.
func TestReceivedBodiesReadAsHTTP1(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 300), 0, 8).Draw(t, "pieces")
		body := bytes.Join(pieces, nil)
		chunked := rapid.Bool().Draw(t, "chunked")
		s := recvBody{Chunked: chunked, remaining: int64(len(body))}
		if chunked {
			s.remaining = 0
		}
		var text []byte
		taken := 0
		read := func() {
			for s.hasMore() {
				p := make([]byte, rapid.IntRange(1, 200).Draw(t, "space"))
				n, of := s.read(p)
				if n == 0 {
					t.Fatalf("there is more, and %d bytes of space take none of it", len(p))
				}
				text = append(text, p[:n]...)
				taken += of
			}
			if len(s.chunk) > 0 || s.UnreadBytes() > 0 {
				t.Fatalf("there is no more, and %d bytes of a chunk and %d of the body are unread", len(s.chunk), s.UnreadBytes())
			}
		}
		for i, p := range pieces {
			if !s.add(p, i == len(pieces)-1) {
				t.Fatalf("piece %d is refused", i)
			}
			if rapid.Bool().Draw(t, "reads") {
				read()
			}
		}
		if !s.end(nil) {
			t.Fatal("the end is refused")
		}
		read()
		got, ended := decoded(t, http1.NewBody(framingOf(chunked, len(body))), text)
		if !bytes.Equal(got, body) || !ended && (chunked || len(body) > 0) {
			t.Fatalf("read %d bytes, ended %v; want %d, and the end", len(got), ended, len(body))
		}
		if taken != len(body) {
			t.Fatalf("%d bytes were taken from the window, want %d", taken, len(body))
		}
	})
}

// A body that contradicts its Content-Length is refused as soon as that shows.
func TestReceivedBodiesKeepToTheirLength(t *testing.T) {
	for _, c := range []struct {
		length int64
		pieces []string
		ends   bool // with the last piece
		good   bool
	}{
		{5, []string{"hel", "lo"}, true, true},
		{5, []string{"hel", "lo!"}, true, false},
		{5, []string{"hello", "!"}, false, false},
		{5, []string{"hel"}, true, false},
		{5, []string{"hel"}, false, false}, // trailers end it
		{0, nil, false, true},
	} {
		s, good := recvBody{remaining: c.length}, true
		for i, p := range c.pieces {
			good = good && s.add([]byte(p), c.ends && i == len(c.pieces)-1)
		}
		if good = good && s.end(nil); good != c.good {
			t.Errorf("%d bytes as %q, ended %v: taken %v, want %v", c.length, c.pieces, c.ends, good, c.good)
		}
	}
}

// sender is a conn that collects frames.
func sender(window int64) *conn {
	k := newConn(&Shared{Loop: new(eventloop.Loop)}, nil)
	k.sendWindow, k.isDirty, k.frames = window, true, make([]byte, 0, 1<<10) // as markDirty leaves it
	return &k
}

// A body in HTTP/1.1's framing is sent in frames, whatever the sizes of the writes; never more than the windows allow,
// and with one END_STREAM, which is its end.
func TestSentBodiesKeepToTheirWindows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := rapid.SliceOfN(rapid.Byte(), 0, 2000).Draw(t, "body")
		chunked := rapid.Bool().Draw(t, "chunked")
		text := body
		if chunked {
			text = nil
			for rest := body; len(rest) > 0; {
				n := rapid.IntRange(1, len(rest)).Draw(t, "chunk")
				text = append(fmt.Appendf(text, "%x\r\n", n), rest[:n]...)
				text = append(text, "\r\n"...)
				rest = rest[n:]
			}
			text = append(text, "0\r\n\r\n"...)
		} else if len(body) == 0 {
			return // END_STREAM stands at the head
		}
		k := sender(rapid.Int64Range(0, 500).Draw(t, "connection"))
		s := sendBody{id: 1, sendWindow: rapid.Int64Range(0, 500).Draw(t, "stream"), body: http1.NewBody(framingOf(chunked, len(body)))}
		ofStream, ofConn := s.sendWindow, k.sendWindow
		for refused := 0; len(text) > 0 && !s.endSent; {
			most := rapid.IntRange(1, len(text)).Draw(t, "write")
			if s.body.AtTrailers() {
				most = len(text) // they have to be complete
			}
			n, err := s.write(k, text[:most])
			if err != nil {
				t.Fatal(err)
			}
			if sent := s.body.Size(); sent > ofStream || sent > ofConn {
				t.Fatalf("%d bytes were sent, and windows of %d and %d allowed", sent, ofStream, ofConn)
			}
			if text = text[n:]; n > 0 {
				refused = 0
				continue
			}
			if refused++; refused > 2 {
				t.Fatalf("nothing is taken of %q, with windows of %d and %d", text, s.sendWindow, k.sendWindow)
			}
			more := rapid.Int64Range(1, 500).Draw(t, "more")
			s.sendWindow, k.sendWindow = s.sendWindow+more, k.sendWindow+more
			ofStream, ofConn = ofStream+more, ofConn+more
		}
		var got []byte
		ends := 0
		for p := k.frames; len(p) > 0; {
			f, n, err := h2.Next(p)
			if err != nil || n == 0 || f.Type != h2.Data || f.Stream != 1 || ends > 0 {
				t.Fatalf("%+v, %d bytes, %v, behind %d ends", f, n, err, ends)
			}
			if got = append(got, f.Payload...); f.Has(h2.EndStream) {
				ends++
			}
			p = p[n:]
		}
		if !bytes.Equal(got, body) || ends != 1 {
			t.Fatalf("sent %d bytes and %d ends, want %d and one", len(got), ends, len(body))
		}
	})
}

// Trailers go with END_STREAM; those that are cut off are an error.
func TestSentTrailersEndTheStream(t *testing.T) {
	for text, good := range map[string]bool{"2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n": true, "2\r\nhi\r\n0\r\nx-sum: 1\r\n": false} {
		k := sender(100)
		s := sendBody{id: 1, sendWindow: 100, body: http1.NewBody(http1.ByChunks, 0)}
		var err error
		for p := []byte(text); len(p) > 0 && err == nil; {
			n := 0
			n, err = s.write(k, p)
			p = p[n:]
		}
		if (err == nil) != good || s.endSent != good {
			t.Errorf("%q: ended %v, %v; want %v", text, s.endSent, err, good)
			continue
		}
		if !good {
			continue
		}
		_, n, _ := h2.Next(k.frames)
		last, _, err := h2.Next(k.frames[n:])
		if err != nil || last.Type != h2.Headers || !last.Has(h2.EndStream) {
			t.Errorf("the last frame is %+v, %v; want HEADERS with END_STREAM", last, err)
		}
	}
}
