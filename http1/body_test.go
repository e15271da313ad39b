package http1

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestBody(t *testing.T) {
	for _, row := range []struct {
		name    string
		framing Framing
		length  int64
		in      string
		data    string
		rest    string
		err     error
	}{
		{"none", NoBody, -1, "GET", "", "GET", nil},
		{"length", ByLength, 5, "helloGET", "hello", "GET", nil},
		{"length, short", ByLength, 5, "hell", "hell", "", errMore},
		{"chunks", ByChunks, -1, "5\r\nhello\r\n00\r\n\r\nGET", "hello", "GET", nil},
		{"two chunks, upper and lower case", ByChunks, -1, "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", "", nil},
		{"no chunks", ByChunks, -1, "0\r\n\r\nGET", "", "GET", nil},
		{"trailers", ByChunks, -1, "1\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\nGET", "x", "GET", nil},
		{"extension", ByChunks, -1, "1;a=\"b;c\"\r\nx\r\n0;e\r\n\r\nGET", "x", "GET", nil},
		{"eight digits", ByChunks, -1, "00000001\r\nx\r\n0\r\n\r\n", "x", "", nil},
		{"nine digits", ByChunks, -1, "000000001\r\nx\r\n0\r\n\r\n", "", "", ErrChunkSize},
		{"no digit", ByChunks, -1, "\r\nx", "", "", ErrChunkSize},
		{"prefix", ByChunks, -1, "0x1\r\nx", "", "", ErrChunkSize},
		{"sign", ByChunks, -1, "+1\r\nx", "", "", ErrChunkSize},
		{"space before", ByChunks, -1, " 1\r\nx", "", "", ErrChunkSize},
		{"space after", ByChunks, -1, "1 \r\nx", "", "", ErrChunkSize},
		{"tab before the extension", ByChunks, -1, "1\t;a\r\nx", "", "", ErrChunkSize},
		{"bare LF", ByChunks, -1, "1\nx\r\n", "", "", ErrBareLF},
		{"bare LF in the extension", ByChunks, -1, "1;a\nx\r\n", "", "", ErrBareLF},
		{"bare CR", ByChunks, -1, "1\rx\r\n", "", "", ErrBareCR},
		{"bare CR in the extension", ByChunks, -1, "1;a\rb\r\nx\r\n", "", "", ErrBareCR},
		{"NUL in the extension", ByChunks, -1, "1;\x00\r\nx\r\n", "", "", ErrChunkExtension},
		{"extension, quoted", ByChunks, -1, "1;a=\"\\\";\";b\r\nx\r\n0\r\n\r\n", "x", "", nil},
		{"extension, quote not closed", ByChunks, -1, "1;a=\"b\r\nx\r\n", "", "", ErrChunkExtension},
		{"extension, quote not closed by an escaped one", ByChunks, -1, "1;a=\"\\\"\r\nx\r\n", "", "", ErrChunkExtension},
		{"extension too long", ByChunks, -1, "1;" + strings.Repeat("a", 1025) + "\r\nx\r\n", "", "", ErrChunkExtension},
		{"extensions too long", ByChunks, -1, strings.Repeat("1;"+strings.Repeat("a", 500)+"\r\nx\r\n", 3), "xx", "", ErrChunkExtension},
		{"longer than its size", ByChunks, -1, "1\r\nxy\r\n", "x", "", ErrChunkEnd},
		{"LF after the data", ByChunks, -1, "1\r\nx\n0\r\n\r\n", "x", "", ErrChunkEnd},
		{"CR after the data", ByChunks, -1, "1\r\nx\r0\r\n\r\n", "x", "", ErrChunkEnd},
		{"LF at the end", ByChunks, -1, "0\r\n\n", "", "", ErrBareLF},
		{"CR at the end", ByChunks, -1, "0\r\n\rX", "", "", ErrBareCR},
		{"bad trailer", ByChunks, -1, "0\r\nA : b\r\n\r\n", "", "", ErrSpaceInName},
		{"folded trailer", ByChunks, -1, "0\r\nA: b\r\n c\r\n\r\n", "", "", ErrFold},
		{"close", ByClose, -1, "anything", "anything", "", errMore},
	} {
		for _, step := range []int{1, 2, 3, 1 << 20} {
			data, n, err := decoded(NewBody(row.framing, row.length), []byte(row.in), step)
			if err != row.err || string(data) != row.data || err == nil && row.in[n:] != row.rest {
				t.Errorf("%s, %d at a time: %.60q\n got %q rest %q, %v\nwant %q rest %q, %v", row.name, step, row.in, data, row.in[n:], err, row.data, row.rest, row.err)
			}
		}
		_, n, err := passed(nil, NewBody(row.framing, row.length), []byte(row.in), nil)
		if err != row.err || err == nil && row.in[n:] != row.rest {
			t.Errorf("%s, passed: %.60q\n got rest %q, %v\nwant %q, %v", row.name, row.in, row.in[n:], err, row.rest, row.err)
		}
	}
}

func TestBodyEnds(t *testing.T) {
	for _, row := range []struct {
		framing Framing
		length  int64
		in      string
		want    error
	}{
		{NoBody, -1, "", nil}, {ByLength, 0, "", nil}, {ByLength, 2, "ab", nil}, {ByLength, 2, "a", ErrTruncated},
		{ByChunks, -1, "1\r\na\r\n", ErrTruncated}, {ByChunks, -1, "0\r\n", ErrTruncated}, {ByChunks, -1, LastChunk, nil},
		{ByClose, -1, "a", nil},
	} {
		b := NewBody(row.framing, row.length)
		if n, err := b.Pass([]byte(row.in)); n != len(row.in) || err != nil {
			t.Errorf("%+v: %d, %v", row, n, err)
		}
		if err := b.Close(); err != row.want || b.Done() != (row.want == nil) {
			t.Errorf("%+v: got %v, done %v", row, err, b.Done())
		}
	}
}

func TestBodyLimit(t *testing.T) {
	for _, row := range []struct {
		framing Framing
		length  int64
		in      string
		want    error
	}{
		{ByLength, 5, "a", nil}, {ByLength, 6, "a", ErrLongBody},
		{ByChunks, -1, "5\r\nhello\r\n0\r\n\r\n", nil}, {ByChunks, -1, "6\r\nh", ErrLongBody}, {ByChunks, -1, "5\r\nhello\r\n1\r\n.", ErrLongBody},
		{ByClose, -1, "hello", nil}, {ByClose, -1, "hello.", ErrLongBody},
	} {
		b := NewBody(row.framing, row.length)
		b.Limit = 5
		if _, err := b.Pass([]byte(row.in)); err != row.want {
			t.Errorf("%+v: got %v", row, err)
		}
	}
}

// What was moved without being seen counts as if it had been seen.
func TestBodySkip(t *testing.T) {
	b := NewBody(ByChunks, -1)
	if n, err := b.Pass([]byte("400\r\nabc")); n != 8 || err != nil || b.Run() != 1021 {
		t.Fatal(n, err, b.Run())
	}
	b.Skip(1000)
	b.Skip(21)
	if b.Run() != 0 || b.Size() != 1024 {
		t.Fatal(b.Run(), b.Size())
	}
	if n, err := b.Pass([]byte("\r\n" + LastChunk + "GET")); n != 7 || err != nil || !b.Done() {
		t.Fatal(n, err, b.Done())
	}
	l := NewBody(ByLength, 10)
	l.Skip(10)
	if !l.Done() {
		t.Fatal("a body of 10 is not done after 10")
	}
}

func TestBodyRunHeedsTheLimit(t *testing.T) {
	b := NewBody(ByClose, -1)
	b.Limit = 10
	b.Skip(4)
	if b.Run() != 6 || b.Done() {
		t.Fatal(b.Run(), b.Done())
	}
	b.Skip(6)
	if n, err := b.Pass([]byte("x")); n != 0 || err != ErrLongBody {
		t.Fatal(n, err)
	}
}

func TestBodyMisused(t *testing.T) {
	for name, misuse := range map[string]func(b *Body){
		"Skip":         func(b *Body) { b.Skip(6) },
		"ReadTrailers": func(b *Body) { _, _ = b.ReadTrailers(new(Trailers), nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			b := NewBody(ByLength, 5)
			misuse(&b)
		}()
	}
}

// A body put into chunks in any way, shown in any pieces, comes out as it went in;
// and what Pass lets through is exactly the message.
func TestChunkedRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		chunks := rapid.SliceOf(rapid.SliceOfN(rapid.Byte(), 1, 40)).Draw(t, "chunks")
		var in, want []byte
		for _, c := range chunks {
			in = AppendChunkSize(in, len(c))
			in = append(append(in, c...), "\r\n"...)
			want = append(want, c...)
		}
		in = append(in, LastChunk...)
		whole := len(in)
		in = append(in, "GET / HTTP/1.1\r\n"...)
		step := rapid.IntRange(1, 50).Draw(t, "step")
		data, n, err := decoded(NewBody(ByChunks, -1), in, step)
		if !bytes.Equal(data, want) || n != whole || err != nil {
			t.Fatalf("%q by %d\n got %q, %d, %v\nwant %q, %d", in, step, data, n, err, want, whole)
		}
		b := NewBody(ByChunks, -1)
		cut := rapid.IntRange(0, whole).Draw(t, "cut")
		n, err = b.Pass(in[:cut])
		m, err2 := b.Pass(in[n:])
		if n != cut || n+m != whole || err != nil || err2 != nil || !b.Done() || b.Size() != int64(len(want)) {
			t.Fatalf("%q cut at %d: passed %d and %d of %d, %v, %v, size %d", in, cut, n, m, whole, err, err2, b.Size())
		}
	})
}

func TestTrailersForwarded(t *testing.T) {
	in := []byte("Grpc-Status: 0\r\nContent-Length: 5\r\nX:y\r\nHost: a\r\nTransfer_Encoding: chunked\r\nX-Forwarded-For: x\r\nEvenkeel-Lease: 1\r\nIf-Match: x\r\nSet-Cookie: a=b\r\n\r\n")
	b := NewBody(ByChunks, -1)
	if n, err := b.Pass([]byte("0\r\n")); n != 3 || err != nil || b.Done() {
		t.Fatal(n, err, b.Done())
	}
	if n, err := b.Pass(in); n != 0 || err != nil || !b.AtTrailers() {
		t.Fatal(n, err, b.AtTrailers())
	}
	var tr Trailers
	for cut := range in {
		if n, err := b.ReadTrailers(&tr, in[:cut]); n != 0 || err != nil {
			t.Fatal(cut, n, err)
		}
	}
	if n, err := b.ReadTrailers(&tr, in); n != len(in) || err != nil || !b.Done() {
		t.Fatal(n, err, b.Done())
	}
	if got, want := string(tr.Append(nil, in, edgeNames)), "Grpc-Status: 0\r\nX: y\r\n\r\n"; got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}
