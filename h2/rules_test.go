package h2

import (
	"strings"
	"testing"
)

// textOf has a head's fields written.
func textOf(h *Head, fields string, ended bool) (string, error) {
	h.Begin(nil)
	for _, f := range fieldsOf(fields) {
		h.Field(f[0], f[1])
	}
	text, err := h.End(ended)
	return string(text), err
}

func TestSchemes(t *testing.T) {
	for _, c := range []struct {
		s           Schemes
		http, https bool
	}{{0, true, true}, {HTTP, true, false}, {HTTPS, false, true}, {HTTP | HTTPS, true, true}} {
		if a, b := c.s.Take("http"), c.s.Take("https"); a != c.http || b != c.https || c.s.Take("ftp") || c.s.Take("") {
			t.Errorf("%v takes http %v and https %v, want %v and %v alone", c.s, a, b, c.http, c.https)
		}
	}
}

// What is wrong with the pseudo-fields is found though nothing else is.
func TestPseudoFields(t *testing.T) {
	for _, fields := range []string{
		":method GET\n:scheme http\n:path /\n:authority ", ":method GET\n:scheme http\n:path /\nx y\n:authority a", ":method GET\n:scheme http\n:path /\n:method GET", ":method \n:scheme http\n:path /",
	} {
		if text, err := textOf(&Head{Limit: 1000}, fields, true); err == nil {
			t.Errorf("%q: got %q, want an error", fields, text)
		}
	}
}

// A request that may have a body says when it has none, unless it has said so.
func TestRequestsWithoutABody(t *testing.T) {
	for method, says := range map[string]bool{"GET": false, "HEAD": false, "DELETE": false, "POST": true, "PUT": true, "PATCH": true} {
		fields := ":method " + method + "\n:scheme http\n:path /\n:authority a"
		if text, err := textOf(&Head{Limit: 1000}, fields, true); err != nil || strings.Contains(text, "Content-Length: 0\r\n") != says {
			t.Errorf("%s: got %q, %v, want the length %v", method, text, err, says)
		}
		if text, err := textOf(&Head{Limit: 1000}, fields, false); err != nil || strings.Contains(strings.ToLower(text), "content-length") {
			t.Errorf("%s with a body: got %q, %v", method, text, err)
		}
		if text, err := textOf(&Head{Limit: 1000}, fields+"\ncontent-length 0", true); err != nil || strings.Count(strings.ToLower(text), "content-length") != 1 {
			t.Errorf("%s with a length: got %q, %v, want it once", method, text, err)
		}
	}
	h := Head{Limit: 1000}
	h.BeginTrailers(nil)
	h.method = "POST"
	if text, err := h.End(true); string(text) != "\r\n" || err != nil {
		t.Errorf("trailers: got %q, %v", text, err)
	}
}

// Limits are what still may be.
func TestBoundsOfHeads(t *testing.T) {
	const trailers = "x: y\r\n"
	for limit, good := range map[int]bool{len(trailers): true, len(trailers) + 1: true, len(trailers) - 1: false} {
		h := Head{Limit: limit}
		h.BeginTrailers(nil)
		h.Field("x", "y")
		if text, err := h.End(true); (err == nil) != good {
			t.Errorf("%d bytes of %d: got %q, %v", len(trailers), limit, text, err)
		}
	}
	for size, more := range map[int]bool{4: true, 5: true, 6: false} {
		h := Head{Limit: 5}
		h.text = append(h.text, strings.Repeat("x", size)...)
		if h.append("a", "b"); (len(h.text) > size) != more {
			t.Errorf("behind %d bytes of 5: %q, want more %v", size, h.text, more)
		}
	}
}

func TestLengthsOfBodies(t *testing.T) {
	for text, want := range map[string]int64{"": -1, "0": 0, "9": 9, "10": 10, "90": 90, "999999999999999999": 999999999999999999, "1000000000000000000": -1, "/": -1, ":": -1, "1:": -1, "-1": -1, "1 ": -1} {
		if got := number(text); got != want {
			t.Errorf("%q is %d, want %d", text, got, want)
		}
		h := Head{}
		if h.length(text); want >= 0 && h.Length != want {
			t.Errorf("%q of a request is %d, want %d", text, h.Length, want)
		}
	}
}

func TestStatuses(t *testing.T) {
	for text, want := range map[string]int{
		"100": 100, "199": 199, "200": 200, "999": 999, "909": 909, "190": 190, "101": 0, "099": 0, "/00": 0, ":00": 0, "1/0": 0, "1:0": 0, "10/": 0, "10:": 0, "20": 0, "2000": 0, "": 0,
	} {
		r := Reply{Limit: 100}
		r.Begin(nil)
		if r.Field(":status", text); r.Status != want || (r.err == nil) != (want > 0) {
			t.Errorf("%q: status %d, %v, want %d", text, r.Status, r.err, want)
		}
	}
}

// Trailers are expected where they are announced, and with gRPC: then a length is not passed on, behind which there is no place for them.
func TestWhereTrailersAreExpected(t *testing.T) {
	for field, want := range map[string]bool{"trailer x": true, "content-type application/grpc": true, "content-type application/grpc+proto": true, "content-type text/plain": false, "x application/grpc": false} {
		r := Reply{Limit: 1000}
		r.Begin(nil)
		for _, f := range fieldsOf(":status 200\n" + field + "\ncontent-length 3") {
			r.Field(f[0], f[1])
		}
		text, err := r.End(false)
		if err != nil || r.Chunked != want || strings.Contains(string(text), "content-length") == want || (r.Length == 3) == want {
			t.Errorf("%s: got %q, %v, in chunks %v, want %v", field, text, err, r.Chunked, want)
		}
	}
}

func TestWhatEndsALine(t *testing.T) {
	for c := range 256 {
		if got, want := breaksLine("a"+string([]byte{byte(c)})+"b"), c == 0 || c == '\n' || c == '\r'; got != want {
			t.Errorf("byte %d ends a line: %v, want %v", c, got, want)
		}
	}
}

// A block of fields is as many frames as it needs, of which the last says that it is the last.
func TestBlocksInFrames(t *testing.T) {
	const most = 4
	for size := range 3*most + 1 {
		block := strings.Repeat("x", size)
		rest := FinishBlock(append(BeginBlock([]byte("before")), block...), len("before"), EndStream, 3, most)[len("before"):]
		got, frames := "", 0
		for ended := false; !ended; frames++ {
			at := string(rest)
			kind, flags, n := Type(rest[3]), Flags(rest[4]), int(rest[2])
			if want := map[bool]Type{true: Headers, false: Continuation}[frames == 0]; kind != want || n > most || (flags&EndStream != 0) != (frames == 0) || rest[8] != 3 {
				t.Fatalf("%d bytes, frame %d: %q", size, frames, at)
			}
			got += string(rest[HeadSize : HeadSize+n])
			rest, ended = rest[HeadSize+n:], flags&EndHeaders != 0
		}
		if want := max(1, (size+most-1)/most); got != block || len(rest) != 0 || frames != want {
			t.Errorf("%d bytes: %q in %d frames, want %d, and %d bytes behind", size, got, frames, want, len(rest))
		}
	}
}

func TestNamesOfTheStaticTable(t *testing.T) {
	for name, known := range map[string]bool{"": false, "{": false, "\xff": false, "date": true, "Date": true, "dates": false, "dat": false, "zz": false} {
		if got := static([]byte(name)); (got > 0) != known {
			t.Errorf("%q stands at %d, want that it stands there: %v", name, got, known)
		}
	}
}
