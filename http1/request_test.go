package http1

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Each row names the section of RFC 9112, or of 9110 where it says so, that it obeys.
func TestRequestHead(t *testing.T) {
	long := strings.Repeat("a", 9000)
	for _, row := range []struct {
		rfc, in string
		err     error
	}{
		{"2.2 CRLF", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", nil},
		{"2.2 one empty line before", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", nil},
		{"2.2 two empty lines before", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", ErrRequestLine},
		{"2.2 bare LF, request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", ErrBareLF},
		{"2.2 bare LF, field", "GET / HTTP/1.1\r\nHost: a\n\r\n", ErrBareLF},
		{"2.2 bare LF, end", "GET / HTTP/1.1\r\nHost: a\r\n\n", ErrBareLF},
		{"2.2 bare CR, field", "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", ErrBareCR},
		{"2.2 bare CR, end", "GET / HTTP/1.1\r\nHost: a\r\n\rX", ErrBareCR},
		{"2.2 space before the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", ErrFold},
		{"2.3 version 1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", ErrVersion},
		{"2.3 version 2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", ErrVersion},
		{"2.3 preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ErrPreface},
		{"2.3 lower case", "GET / http/1.1\r\nHost: a\r\n\r\n", ErrRequestLine},
		{"2.3 two digits", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", ErrRequestLine},
		{"2.3 no version", "GET /\r\nHost: a\r\n\r\n", ErrRequestLine},
		{"3 two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", ErrRequestLine},
		{"3 two spaces", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", ErrRequestLine},
		{"3 tab", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", ErrRequestLine},
		{"3 space at the end", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", ErrRequestLine},
		{"3 target too long", "GET /" + long + " HTTP/1.1\r\nHost: a\r\n\r\n", ErrLongLine},
		{"3.1 method not a token", "G@T / HTTP/1.1\r\nHost: a\r\n\r\n", ErrRequestLine},
		{"3.1 unknown method", "BREW / HTTP/1.1\r\nHost: a\r\n\r\n", nil},
		{"3.1 method too long", strings.Repeat("A", 33) + " / HTTP/1.1\r\nHost: a\r\n\r\n", ErrLongMethod},
		{"3.2 fragment", "GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
		{"3.2 byte beyond ASCII", "GET /\xe9 HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
		{"3.2 NUL", "GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", ErrRequestLine},
		{"3.2.1 no slash", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
		{"3.2.1 bad escape", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
		{"3.2.1 short escape", "GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
		{"3.2.1 plain % in a query", "GET /?100% HTTP/1.1\r\nHost: a\r\n\r\n", nil},
		{"3.2.2 absolute", "GET http://b:80/x HTTP/1.1\r\nHost: B\r\n\r\n", nil},
		{"3.2 absolute, another Host", "GET http://b:80/x HTTP/1.1\r\nHost: a\r\n\r\n", ErrOtherHost},
		{"3.2.2 absolute without Host", "GET http://b/ HTTP/1.1\r\n\r\n", ErrHost},
		{"3.2.2 another scheme", "GET ftp://b/ HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
		{"9110 4.2.1 empty host", "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
		{"9110 4.2.4 user information", "GET http://u@b/ HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
		{"3.2.3 authority", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", nil},
		{"3.2.3 authority without port", "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
		{"3.2.3 CONNECT with a path", "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
		{"3.2.3 authority of another method", "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
		{"3.2.4 asterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", nil},
		{"3.2.4 asterisk of another method", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
		{"3.2 no Host", "GET / HTTP/1.1\r\n\r\n", ErrHost},
		{"3.2 no Host in 1.0", "GET / HTTP/1.0\r\n\r\n", nil},
		{"3.2 two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", ErrHost},
		{"3.2 two Hosts in 1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", ErrHost},
		{"3.2 empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", ErrHost},
		{"3.2 Host of two", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", ErrHost},
		{"3.2 Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", ErrHost},
		{"3.2 Host with user information", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", ErrHost},
		{"3.2 Host, IPv6", "GET / HTTP/1.1\r\nHost: [::ffff:1.2.3.4]:8080\r\n\r\n", nil},
		{"3.2 Host, bad IPv6", "GET / HTTP/1.1\r\nHost: [1::2::3]\r\n\r\n", ErrHost},
		{"3.2 Host, port too high", "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", ErrHost},
		{"3.2 Host, empty port", "GET / HTTP/1.1\r\nHost: a:\r\n\r\n", ErrHost},
		{"5 no colon", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", ErrFieldName},
		{"5 empty name", "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", ErrFieldName},
		{"5 name not a token", "GET / HTTP/1.1\r\nHost: a\r\nX(: x\r\n\r\n", ErrFieldName},
		{"5 too many", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 100) + "\r\n", ErrManyFields},
		{"5 too much", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 33<<10) + "\r\n\r\n", ErrLongHead},
		{"5.1 space before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", ErrSpaceInName},
		{"5.1 tab before the colon", "GET / HTTP/1.1\r\nHost\t: a\r\n\r\n", ErrSpaceInName},
		{"5.1 no space and much space after it", "GET / HTTP/1.1\r\nHost:a\r\nX: \t b \t\r\nY:\r\n\r\n", nil},
		{"5.2 obs-fold", "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", ErrFold},
		{"9110 5.5 NUL", "GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n", ErrFieldValue},
		{"9110 5.5 DEL", "GET / HTTP/1.1\r\nHost: a\r\nX: long enough\x7f\r\n\r\n", ErrFieldValue},
		{"9110 5.5 tab, obs-text", "GET / HTTP/1.1\r\nHost: a\r\nX: a\tb\xff\r\n\r\n", nil},
		{"6.1 chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n", nil},
		{"6.1 in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", ErrTransferCoding},
		{"6.1 another coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", ErrUnknownCoding},
		{"6.1 not a coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;\r\n\r\n", ErrTransferCoding},
		{"6.1 chunked twice", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", ErrTransferCoding},
		{"6.1 underscore", "POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n", ErrLookalike},
		{"6.1 dot", "POST / HTTP/1.1\r\nHost: a\r\nTransfer.Encoding: chunked\r\n\r\n", ErrLookalike},
		{"6.3 both", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", ErrTwoLengths},
		{"6.3 list", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", ErrContentLength},
		{"6.3 twice", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", ErrContentLength},
		{"6.3 sign", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", ErrContentLength},
		{"6.3 empty", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", ErrContentLength},
		{"6.3 overflow", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n", ErrContentLength},
		{"9110 6.5.1 Trailer: Content-Length", "POST / HTTP/1.1\r\nHost: a\r\nTrailer: X, Content-Length\r\n\r\n", ErrTrailer},
		{"9110 7.6.1 Connection: Host", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Host\r\n\r\n", ErrConnection},
		{"9110 7.6.1 not a token", "GET / HTTP/1.1\r\nHost: a\r\nConnection: a b\r\n\r\n", ErrConnection},
		{"9110 7.8 two Upgrades", "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: a\r\nUpgrade: b\r\n\r\n", ErrUpgrade},
		{"9110 9.3.6 CONNECT with a body", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 0\r\n\r\n", ErrConnectBody},
		{"9110 10.1.1 another expectation", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", ErrExpect},
		{"9110 10.1.1 another expectation in 1.0", "POST / HTTP/1.0\r\nExpect: 200-ok\r\n\r\n", nil},
	} {
		var h RequestHead
		n, err := h.Parse([]byte(row.in))
		if err != row.err || (n == len(row.in)) != (err == nil) || err != nil && n != 0 {
			t.Errorf("RFC 9112 %s: %.80q\n got %d, %v\nwant %d, %v", row.rfc, row.in, n, err, len(row.in), row.err)
		}
	}
}

func TestRequestFacts(t *testing.T) {
	for _, row := range []struct{ in, want string }{
		{"GET http://B:80?q HTTP/1.1\r\nHost: b\r\n\r\n",
			`1 GET 2 http://B:80?q path="?q" host="B:80" expect=false minor=1 framing=1 length=-1 keep=true upgrade="" [Host: "b" 1]`},
		{"POST /x HTTP/1.0\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n",
			`3 POST 1 /x path="/x" host="" expect=false minor=0 framing=1 length=0 keep=true upgrade="" [Connection: "Keep-Alive" 4] [Content-Length: "0" 2]`},
		{"PUT /x HTTP/1.1\r\nHost: a\r\nConnection: close, Upgrade,, keep-alive\r\nUpgrade: websocket\r\nExpect: 100-Continue\r\nContent-Length: 7\r\n\r\n",
			`4 PUT 1 /x path="/x" host="a" expect=true minor=1 framing=2 length=7 keep=false upgrade="websocket" [Host: "a" 1] [Connection: "close, Upgrade,, keep-alive" 4] [Upgrade: "websocket" 12] [Expect: "100-Continue" 13] [Content-Length: "7" 2]`},
		{"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
			`1 GET 1 / path="/" host="a" expect=false minor=1 framing=1 length=-1 keep=true upgrade="" [Host: "a" 1] [Upgrade: "websocket" 12]`},
		{"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
			`1 GET 1 / path="/" host="" expect=false minor=0 framing=1 length=-1 keep=false upgrade="" [Connection: "upgrade" 4] [Upgrade: "websocket" 12]`},
		{"CONNECT [::1]:443 HTTP/1.1\r\nHost: x\r\n\r\n",
			`8 CONNECT 3 [::1]:443 path="" host="[::1]:443" expect=false minor=1 framing=1 length=-1 keep=true upgrade="" [Host: "x" 1]`},
		{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
			`3 POST 1 / path="/" host="a" expect=false minor=1 framing=3 length=-1 keep=true upgrade="" [Host: "a" 1] [Transfer-Encoding: "chunked" 3]`},
	} {
		var h RequestHead
		if n, err := h.Parse([]byte(row.in)); n != len(row.in) {
			t.Errorf("%q: %d, %v", row.in, n, err)
		} else if got := requestFacts(&h, []byte(row.in)); got != row.want {
			t.Errorf("%q\n got %s\nwant %s", row.in, got, row.want)
		}
	}
}

func TestRequestAsked(t *testing.T) {
	in := []byte("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nX-One: 1\r\nX_One: 2\r\n\r\n")
	var h RequestHead
	_, _ = h.Parse(in)
	if got, want := h.Asked(true), (Asked{Method: MethodGet, Upgrade: true}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if h.Asked(false).Upgrade {
		t.Error("asked for an upgrade that was not forwarded")
	}
	if v, ok := h.Value(in, "x-one"); string(v) != "1" || !ok {
		t.Errorf("X-One: got %q, %v", v, ok)
	}
	if v, ok := h.Value(in, "x-two"); v != nil || ok {
		t.Errorf("X-Two: got %q, %v", v, ok)
	}
}

// What is parsed before must not show in what is parsed after.
func TestRequestHeadIsUsedAgain(t *testing.T) {
	first := []byte("POST /x HTTP/1.0\r\nHost: a\r\nConnection: close, x\r\nTE: trailers\r\nX: y\r\nContent-Length: 7\r\n\r\n")
	for _, broken := range []string{"GET /", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n", "POST http://a/ HTTP/1.1\r\nExpect: x\r\n"} {
		var used, fresh RequestHead
		second := []byte(largeRequest)
		_, _ = used.Parse(first)
		_, _ = used.Parse([]byte(broken))
		used.Reset()
		_, _ = used.Parse(second)
		_, _ = fresh.Parse(second)
		if got, want := requestFacts(&used, second), requestFacts(&fresh, second); got != want {
			t.Errorf("after %q\n got %s\nwant %s", broken, got, want)
		}
		if got, want := string(used.Append(nil, second, &Rewrite{})), string(fresh.Append(nil, second, &Rewrite{})); got != want {
			t.Errorf("after %q\n got %q\nwant %q", broken, got, want)
		}
	}
}

// fed parses in as it arrives in pieces and returns the verdict.
func fed(in []byte, cuts []int) (string, error) {
	h := RequestHead{Head: Head{lines: lines{Limits: Limits{Line: 200, Head: 400, Fields: 20}}}}
	for _, cut := range append(cuts, len(in)) {
		n, err := h.Parse(in[:cut])
		if err != nil {
			return "", err
		}
		if n > 0 {
			return requestFacts(&h, in), nil
		}
	}
	return "", errMore
}

// A head that arrives in pieces gives the facts, and the error, of the whole.
func TestRequestSplitAnywhere(t *testing.T) {
	seeds := requestSeeds()
	check := func(t rapid.TB, in []byte) {
		want, wantErr := fed(in, nil)
		for cut := range in {
			if got, err := fed(in, []int{cut}); got != want || !errors.Is(err, wantErr) {
				t.Fatalf("%q cut at %d\n got %s, %v\nwant %s, %v", in, cut, got, err, want, wantErr)
			}
		}
		every := make([]int, len(in))
		for i := range every {
			every[i] = i
		}
		if got, err := fed(in, every); got != want || !errors.Is(err, wantErr) {
			t.Fatalf("%q byte by byte\n got %s, %v\nwant %s, %v", in, got, err, want, wantErr)
		}
	}
	for _, in := range seeds {
		check(t, []byte(in))
	}
	rapid.Check(t, func(t *rapid.T) {
		in := []byte(rapid.SampledFrom(seeds).Draw(t, "seed"))
		for range rapid.IntRange(0, 3).Draw(t, "changes") {
			at := rapid.IntRange(0, len(in)).Draw(t, "at")
			with := rapid.SampledFrom([]string{"\r", "\n", "\r\n", " ", "\t", ":", "\x00", "a", ",", "0", strings.Repeat("x", 150)}).Draw(t, "with")
			in = append(in[:at:at], append([]byte(with), in[at:]...)...)
		}
		check(t, in)
	})
}

// Byte by byte, the work must not grow with the square of the length: the parser
// may look at each byte a few times, not thousands of times. It is counted by what
// is rescanned: while the line is incomplete, scan stands at the end of the input.
func TestRequestResumeIsCheap(t *testing.T) {
	in := []byte("GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("v", 20000) + "\r\n\r\n")
	var h RequestHead
	for i := 1; i < len(in); i++ {
		if n, err := h.Parse(in[:i]); n != 0 || err != nil {
			t.Fatal(i, n, err)
		}
		if h.scan != i {
			t.Fatalf("after %d bytes %d are known to have no LF", i, h.scan)
		}
	}
	if n, err := h.Parse(in); n != len(in) || err != nil {
		t.Fatal(n, err)
	}
}

func requestSeeds() []string {
	return []string{
		smallRequest, largeRequest[:380] + "\r\n\r\n",
		"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\nHost: a\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"GET http://b:80?q HTTP/1.1\r\nHost: b:80\r\n\r\n",
		"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n.",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, X\r\nUpgrade: websocket\r\nX: 1\r\nTE: trailers\r\n\r\n",
		"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
		"GET / HTTP/1.1\r\nHost:a\r\nX:  b \t\r\nY:\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
	}
}

func TestErrorsHaveAStatusAndAText(t *testing.T) {
	for e := ErrRequestLine; e <= ErrTruncated; e++ {
		if http.StatusText(e.Status()) == "" || len(e.Error()) < 10 {
			t.Errorf("error %d: status %d, text %q", e, e.Status(), e.Error())
		}
	}
}
