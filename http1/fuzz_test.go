package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"testing"
)

// FuzzRequest: arrival in two pieces changes nothing; what is forwarded is read
// alike here, is forwarded unchanged a second time, and is read alike by net/http.
func FuzzRequest(f *testing.F) {
	for _, in := range requestSeeds() {
		f.Add([]byte(in), uint16(7))
	}
	for i, m := range mutations() {
		if i%seedEvery == 0 {
			f.Add([]byte(m.in), uint16(len(m.in)/2))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, cut uint16) {
		checkSplit(t, in, int(cut)%(len(in)+1))
		checkForwarding(t, in)
	})
}

// seedEvery thins out the mutations that fuzzing starts from: all of them are run by
// TestSmuggling, and each costs a fuzzing run its warm-up.
const seedEvery = 20

func checkSplit(t *testing.T, in []byte, cut int) {
	checkDelay(t, in, cut, func(in []byte, cuts ...int) (string, error) { return fed(in, cuts) })
}

// checkDelay compares arrival in two pieces with arrival in one. What is wrong with
// an incomplete line may be noticed later, but at its LF at the latest.
func checkDelay(t *testing.T, in []byte, cut int, fed func([]byte, ...int) (string, error)) {
	t.Helper()
	want, wantErr := fed(in)
	got, err := fed(in, cut)
	if err == errMore && wantErr != errMore {
		got, err = fed(append(slices.Clip(in), '\n'), cut)
	}
	if got != want || !errors.Is(err, wantErr) {
		t.Errorf("%q cut at %d\n got %s, %v\nwant %s, %v", in, cut, got, err, want, wantErr)
	}
}

func checkForwarding(t *testing.T, in []byte) {
	t.Helper()
	out, n, err := forwarded(in)
	if err != nil {
		return
	}
	again, m, err := forwarded(append(slices.Clip(out), "GET /next"...))
	if err != nil || m != len(out) || !bytes.Equal(again, out) {
		if !hostless(in) {
			t.Errorf("%q is forwarded as\n%q, which is forwarded as\n%q, %v", in, out, again, err)
		}
	}
	checkAgainstNetHTTP(t, in, n)
	checkAgainstNetHTTP(t, append(slices.Clip(out), "GET /next"...), len(out))
}

// hostless tells of a request of HTTP/1.0 without Host, which is forwarded with an
// empty one if there is no better value; we would not take that ourselves.
func hostless(in []byte) bool {
	var h RequestHead
	n, _ := h.Parse(in)
	return n > 0 && h.Host.Len() == 0
}

// checkAgainstNetHTTP reads a message that we take to be in[:whole] with net/http,
// which must take it to be the same.
func checkAgainstNetHTTP(t *testing.T, in []byte, whole int) {
	t.Helper()
	var h RequestHead
	n, err := h.Parse(in)
	if err != nil || n == 0 {
		return
	}
	r := bufio.NewReaderSize(bytes.NewReader(bytes.TrimPrefix(in, []byte("\r\n"))), 1<<20)
	req, err := http.ReadRequest(r)
	if err != nil {
		t.Errorf("%q: accepted, but net/http says %v", in, err)
		return
	}
	data, used, err := decoded(h.Body(), in[n:], 1<<20)
	if err != nil {
		t.Fatalf("%q: passed, but not decoded: %v", in, err)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		t.Errorf("%q: body accepted, but net/http says %v", in, err)
	}
	rest, _ := io.ReadAll(r)
	if req.Method != string(h.Verb.Of(in)) || req.RequestURI != string(h.Target.Of(in)) ||
		h.Host.Len() > 0 && req.Host != string(h.Host.Of(in)) || !bytes.Equal(body, data) || !bytes.Equal(rest, in[n+used:]) || n+used != whole {
		t.Errorf("%q\n     got %s %q host %q body %q, then %q\nnet/http %s %q host %q body %q, then %q", in,
			h.Verb.Of(in), h.Target.Of(in), h.Host.Of(in), data, in[n+used:], req.Method, req.RequestURI, req.Host, body, rest)
	}
	if got, want := fieldsOf(&h.Head, in), req.Header; !sameFields(got, want) {
		t.Errorf("%q\n     got %q\nnet/http %q", in, got, want)
	}
}

func fieldsOf(h *Head, in []byte) http.Header {
	fields := http.Header{}
	for _, f := range h.Fields {
		name := textproto.CanonicalMIMEHeaderKey(string(f.Name.Of(in)))
		fields[name] = append(fields[name], string(f.Value.Of(in)))
	}
	return fields
}

// sameFields compares all but those that net/http moves elsewhere or makes up.
func sameFields(a, b http.Header) bool {
	for _, name := range []string{"Host", "Transfer-Encoding", "Trailer", "Content-Length", "Cache-Control", "Connection"} {
		a.Del(name)
		b.Del(name)
	}
	if len(a) != len(b) {
		return false
	}
	for name := range a {
		if !slices.Equal(a[name], b[name]) {
			return false
		}
	}
	return true
}

// FuzzResponse: arrival in two pieces changes nothing, and net/http reads the same.
func FuzzResponse(f *testing.F) {
	for i, in := range responseSeeds() {
		f.Add([]byte(in), uint16(i), uint8(i))
	}
	for i, m := range mutations() {
		if i%seedEvery != 0 {
			continue
		}
		if _, fields, ok := strings.Cut(m.in, "\r\n"); ok {
			f.Add([]byte("HTTP/1.1 200 OK\r\n"+fields), uint16(20), uint8(1))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, cut uint16, asked uint8) {
		to := Asked{Method: Method(asked % 10), Upgrade: asked >= 128}
		checkDelay(t, in, int(cut)%(len(in)+1), func(in []byte, cuts ...int) (string, error) { return fedResponse(in, to, cuts...) })
		checkResponse(t, in, to)
	})
}

func checkResponse(t *testing.T, in []byte, to Asked) {
	var h ResponseHead
	n, err := h.Parse(in, to)
	if err != nil || n == 0 || h.Tunnel || h.Status < 200 || h.Status == 204 {
		return
	}
	out := h.Append(nil, in, &Rewrite{})
	var again ResponseHead
	if m, err := again.Parse(out, to); m != len(out) || again.Framing != h.Framing && h.Framing != ByClose || again.Length != h.Length {
		t.Errorf("%q\nis forwarded as %q: %d, %v, framing %d, length %d; want framing %d, length %d", in, out, m, err, again.Framing, again.Length, h.Framing, h.Length)
	}
	data, used, err := decoded(h.Body(), in[n:], 1<<20)
	if err == errMore && h.Framing == ByClose {
		err = nil
	}
	if err != nil {
		return
	}
	r := bufio.NewReaderSize(bytes.NewReader(in), 1<<20)
	method := http.MethodGet
	if to.Method == MethodHead {
		method = http.MethodHead
	}
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		t.Errorf("%q: accepted, but net/http says %v", in, err)
		return
	}
	body, err := io.ReadAll(resp.Body)
	rest, _ := io.ReadAll(r)
	if err != nil || resp.StatusCode != h.Status || !bytes.Equal(body, data) || !bytes.Equal(rest, in[n+used:]) || !sameFields(fieldsOf(&h.Head, in), resp.Header) {
		t.Errorf("%q\n     got %d %q, then %q\nnet/http %d %q, then %q, %v", in, h.Status, data, in[n+used:], resp.StatusCode, body, rest, err)
	}
}

// FuzzChunked: pieces change nothing, Pass and Decode agree on where the body ends,
// net/http finds the same data and the same end.
func FuzzChunked(f *testing.F) {
	for _, in := range []string{LastChunk, "5\r\nhello\r\n0\r\n\r\nGET", "5;a=b\r\nhello\r\nA\r\n0123456789\r\n00\r\nX: y\r\n\r\n", "1\nx", "5 \r\nhello\r\n", "0\r\nA : b\r\n\r\n"} {
		f.Add([]byte(in), uint8(1))
	}
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		data, n, err := decoded(NewBody(ByChunks, -1), in, 1<<20)
		data2, n2, err2 := decoded(NewBody(ByChunks, -1), in, int(step)+1)
		if !bytes.Equal(data, data2) || err == nil && n != n2 || !errors.Is(err2, err) {
			t.Fatalf("%q: %q, %d, %v; by %d: %q, %d, %v", in, data, n, err, int(step)+1, data2, n2, err2)
		}
		out, n3, err3 := passed(nil, NewBody(ByChunks, -1), in, nil)
		if !errors.Is(err3, err) || err == nil && n3 != n {
			t.Fatalf("%q: decoded %d, %v; passed %d, %v", in, n, err, n3, err3)
		}
		if err != nil {
			return
		}
		head := "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
		checkAgainstNetHTTP(t, append([]byte(head), in...), len(head)+n)
		checkAgainstNetHTTP(t, append([]byte(head), out...), len(head)+len(out))
	})
}
