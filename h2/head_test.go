package h2

import (
	"errors"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/http1"
)

// fieldsOf cuts lines of name and value at the first blank.
func fieldsOf(lines string) (all [][2]string) {
	for line := range strings.SplitSeq(lines, "\n") {
		name, value, _ := strings.Cut(line, " ")
		all = append(all, [2]string{name, value})
	}
	return all
}

const get = ":method GET\n:scheme http\n:path /p?q\n:authority a"

func TestHead(t *testing.T) {
	for _, c := range []struct {
		name, fields string
		ended        bool
		want         string // empty: malformed
	}{
		{"without a body", get, true, "GET /p?q HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"with a body of unknown length", get, false, "GET /p?q HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"with one that is known", get + "\ncontent-length 3", false, "GET /p?q HTTP/1.1\r\nHost: a\r\ncontent-length: 3\r\n\r\n"},
		{"with an empty one", get + "\ncontent-length 0", true, "GET /p?q HTTP/1.1\r\nHost: a\r\ncontent-length: 0\r\n\r\n"},
		{"a length without a body", get + "\ncontent-length 3", true, ""},
		{"fields", get + "\nx-a 1\nx-b a b", true, "GET /p?q HTTP/1.1\r\nHost: a\r\nx-a: 1\r\nx-b: a b\r\n\r\n"},
		{"cookies", get + "\ncookie a=1\nx y\ncookie b=2", true, "GET /p?q HTTP/1.1\r\nHost: a\r\nx: y\r\nCookie: a=1; b=2\r\n\r\n"},
		{"trailers are welcome", get + "\nte trailers", true, "GET /p?q HTTP/1.1\r\nHost: a\r\nte: trailers\r\n\r\n"},
		{"the host again", get + "\nhost a", true, "GET /p?q HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"another host", get + "\nhost b", true, ""},
		{"the same host", get + "\nhost A", true, "GET /p?q HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"Host twice", ":method GET\n:scheme http\n:path /\nhost b\nhost b", true, ""},
		{"an empty authority", ":method GET\n:scheme http\n:path /\n:authority \nhost b", true, ""},
		{"a URL for a path", ":method GET\n:scheme http\n:authority a\n:path http://b/", true, ""},
		{"a path without a slash", ":method GET\n:scheme http\n:authority a\n:path x", true, ""},
		{"an asterisk of GET", ":method GET\n:scheme http\n:authority a\n:path *", true, ""},
		{"an asterisk", ":method OPTIONS\n:scheme http\n:authority a\n:path *", true, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"another scheme", ":method GET\n:scheme ftp\n:authority a\n:path /", true, ""},
		{"a host only", ":method GET\n:scheme http\n:path /\nhost b", true, "GET / HTTP/1.1\r\nHost: b\r\n\r\n"},
		{"CONNECT", ":method CONNECT\n:authority a:1", false, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"},
		{"CONNECT with a path", ":method CONNECT\n:authority a:1\n:path /", false, ""},
		{"CONNECT to another protocol", ":method CONNECT\n:authority a:1\n:path /\n:scheme http\n:protocol websocket", false, ""},
		{"no method", ":scheme http\n:path /", true, ""},
		{"no path", ":method GET\n:scheme http", true, ""},
		{"an empty path", ":method GET\n:scheme http\n:path ", true, ""},
		{"no scheme", ":method GET\n:path /", true, ""},
		{"a path twice", get + "\n:path /", true, ""},
		{"a pseudo-field late", get + "\nx y\n:path /", true, ""},
		{"that of a response", get + "\n:status 200", true, ""},
		{"Connection", get + "\nconnection close", true, ""},
		{"Transfer-Encoding", get + "\ntransfer-encoding chunked", false, ""},
		{"Upgrade", get + "\nupgrade h2c", true, ""},
		{"TE that is more", get + "\nte trailers, gzip", true, ""},
		{"a capital letter", get + "\nX-a 1", true, ""},
		{"a blank in a name", get + "\nx\ta 1", true, ""},
		{"a colon in a name", get + "\nx:a 1", true, ""},
		{"a line in a value", get + "\nx a\r", true, ""},
		{"a nought in a value", get + "\nx a\x00b", true, ""},
		{"a blank before a value", get + "\nx  a", true, ""},
		{"a line in a path", ":method GET\n:scheme http\n:path /\r", true, ""},
	} {
		h := Head{Limit: 1000}
		h.Begin(nil)
		for _, f := range fieldsOf(c.fields) {
			h.Field(f[0], f[1])
		}
		text, err := h.End(c.ended)
		var why *Error
		if errors.As(err, &why); c.want == "" && (why == nil || why.Code != ProtocolError) || c.want != "" && (err != nil || string(text) != c.want) {
			t.Errorf("%s: got %q, %v, want %q", c.name, text, err, c.want)
		}
	}
}

func TestTrailers(t *testing.T) {
	h := Head{Limit: 100}
	for fields, want := range map[string]string{"x-a 1\nx-b 2": "0\r\nx-a: 1\r\nx-b: 2\r\n\r\n", ":path /": "", "X a": "", "x " + strings.Repeat("y", 100): ""} {
		h.BeginTrailers([]byte("0\r\n"))
		for _, f := range fieldsOf(fields) {
			h.Field(f[0], f[1])
		}
		if text, err := h.End(true); (err == nil) != (want != "") || err == nil && string(text) != want {
			t.Errorf("%.20q: got %q, %v, want %q", fields, text, err, want)
		}
	}
}

// What is too large takes no more memory than it may, and the parser of HTTP/1 says so.
func TestHeadIsBounded(t *testing.T) {
	for _, name := range []string{"x", "cookie"} {
		h := Head{Limit: 1000}
		h.Begin(nil)
		for _, f := range fieldsOf(get) {
			h.Field(f[0], f[1])
		}
		for range 10000 {
			h.Field(name, strings.Repeat("y", 100))
		}
		text, err := h.End(true)
		if err != nil || len(text) > 3000 || cap(h.cookies) > 3000 {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		}
		parser := http1.RequestHead{Head: http1.Head{}}
		parser.Limits.Head = 1000
		if _, err := parser.Parse(text); err != http1.ErrLongHead {
			t.Errorf("%s: the parser says %v", name, err)
		}
	}
}

// Whatever the fields are, the head has what they say and nothing more, or is refused:
// no value becomes a line of its own, nor a request.
func FuzzHead(f *testing.F) {
	f.Add("GET", "/", "a", "x-a", "1", "cookie", "b=1", true)
	f.Add("POST", "/ HTTP/1.1\r\nX: y", "a", "content-length", "3", "content-length", "4", false)
	f.Add("GET / HTTP/1.1\r\n\r\nGET", "*", "", "host", "a b", "te", "trailers", false)
	f.Fuzz(func(t *testing.T, method, path, authority, name1, value1, name2, value2 string, ended bool) {
		h := Head{Limit: 4096}
		h.Begin(nil)
		h.Field(":method", method)
		h.Field(":scheme", "http")
		h.Field(":path", path)
		h.Field(":authority", authority)
		h.Field(name1, value1)
		h.Field(name2, value2)
		text, err := h.End(ended)
		if err != nil {
			return
		}
		var parser http1.RequestHead
		n, err := parser.Parse(text)
		if err != nil {
			return
		}
		if n != len(text) {
			t.Fatalf("%q: the head has %d bytes", text, n)
		}
		if got := string(parser.Verb.Of(text)); got != method {
			t.Fatalf("%q: method %q, want %q", text, got, method)
		}
		if got := string(parser.Target.Of(text)); method != "CONNECT" && got != path {
			t.Fatalf("%q: target %q, want %q", text, got, path)
		}
		if len(parser.Fields) > 4 {
			t.Fatalf("%q: %d fields of two", text, len(parser.Fields))
		}
		if parser.Framing == http1.ByChunks != h.Chunked {
			t.Fatalf("%q: framing %d", text, parser.Framing)
		}
	})
}
