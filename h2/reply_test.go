package h2

import (
	"errors"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/http1"
)

func TestReply(t *testing.T) {
	for _, c := range []struct {
		name, fields string
		ended        bool
		want         string // empty: malformed
		length       int64
	}{
		{"without a body", ":status 200", true, "HTTP/1.1 200 \r\n\r\n", -1},
		{"with one of unknown length", ":status 200\nx-a 1", false, "HTTP/1.1 200 \r\nx-a: 1\r\ntransfer-encoding: chunked\r\n\r\n", -1},
		{"with one that is known", ":status 404\ncontent-length 3\nx-a 1", false, "HTTP/1.1 404 \r\nx-a: 1\r\ncontent-length: 3\r\n\r\n", 3},
		{"with an empty one", ":status 200\ncontent-length 0", true, "HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n", -1},
		{"to HEAD", ":status 200\ncontent-length 3", true, "HTTP/1.1 200 \r\ncontent-length: 3\r\n\r\n", -1},
		{"of gRPC", ":status 200\ncontent-length 3\ncontent-type application/grpc+proto", false, "HTTP/1.1 200 \r\ncontent-type: application/grpc+proto\r\ntransfer-encoding: chunked\r\n\r\n", -1},
		{"that announces trailers", ":status 200\ncontent-length 3\ntrailer x-a", false, "HTTP/1.1 200 \r\ntrailer: x-a\r\ntransfer-encoding: chunked\r\n\r\n", -1},
		{"no content", ":status 204", false, "HTTP/1.1 204 \r\n\r\n", -1},
		{"not modified", ":status 304\ncontent-length 3", false, "HTTP/1.1 304 \r\ncontent-length: 3\r\n\r\n", -1},
		{"interim", ":status 103\nlink x", false, "HTTP/1.1 103 \r\nlink: x\r\n\r\n", -1},
		{"blanks around a value", ":status 200\nx-a  1 ", true, "HTTP/1.1 200 \r\nx-a:  1 \r\n\r\n", -1},
		{"interim and the end", ":status 103", true, "", 0},
		{"a length that is none", ":status 200\ncontent-length x", false, "", 0},
		{"one with a blank", ":status 200\ncontent-length 1 ", false, "", 0},
		{"an empty one", ":status 200\ncontent-length ", true, "", 0},
		{"two lengths", ":status 200\ncontent-length 3\ncontent-length 3", false, "", 0},
		{"another protocol", ":status 101", false, "", 0},
		{"no status", "x-a 1", true, "", 0},
		{"nothing", "", true, "", 0},
		{"a status behind fields", "x-a 1\n:status 200", true, "", 0},
		{"two", ":status 200\n:status 200", true, "", 0},
		{"a long one", ":status 2000", true, "", 0},
		{"one of letters", ":status 2x0", true, "", 0},
		{"one below 100", ":status 099", true, "", 0},
		{"a pseudo-field of a request", ":status 200\n:path /", true, "", 0},
		{"Connection", ":status 200\nconnection close", true, "", 0},
		{"Transfer-Encoding", ":status 200\ntransfer-encoding chunked", false, "", 0},
		{"a capital letter", ":status 200\nX-a 1", true, "", 0},
		{"a line in a value", ":status 200\nx-a 1\r", true, "", 0},
	} {
		r := Reply{Limit: 1000}
		r.Begin(nil)
		if c.fields != "" {
			for _, f := range fieldsOf(c.fields) {
				r.Field(f[0], f[1])
			}
		}
		text, err := r.End(c.ended)
		var why *Error
		if errors.As(err, &why); c.want == "" && (why == nil || why.Code != ProtocolError) || c.want != "" && (err != nil || string(text) != c.want || r.Length != c.length) {
			t.Errorf("%s: got %q of %d, %v, want %q of %d", c.name, text, r.Length, err, c.want, c.length)
		}
	}
}

func TestReplyTrailers(t *testing.T) {
	r := Reply{Limit: 100}
	for fields, want := range map[string]string{"grpc-status 0\nx-b 2": "0\r\ngrpc-status: 0\r\nx-b: 2\r\n\r\n", ":status 200": "", "X a": "", "x " + strings.Repeat("y", 100) + "\nz 1": ""} {
		r.BeginTrailers([]byte("0\r\n"))
		for _, f := range fieldsOf(fields) {
			r.Field(f[0], f[1])
		}
		if text, err := r.End(true); (err == nil) != (want != "") || err == nil && string(text) != want {
			t.Errorf("%.20q: got %q, %v, want %q", fields, text, err, want)
		}
	}
}

// Whatever the fields are, the head has what they say and nothing more, or is refused.
func FuzzReply(f *testing.F) {
	f.Add("200", "x-a", "1", "content-length", "1", true, false)
	f.Add("200 OK\r\nX: y", "trailer", "x", "content-length", "3", false, false)
	f.Add("200", "0", "0", "content-length", "1 ", false, false)
	f.Add("304", "content-length", "18446744073709551616", "content-type", "application/grpc", false, true)
	f.Fuzz(func(t *testing.T, status, name1, value1, name2, value2 string, ended, bodiless bool) {
		r := Reply{Limit: 4096}
		r.Begin(nil)
		r.Bodiless = bodiless
		r.Field(":status", status)
		r.Field(name1, value1)
		r.Field(name2, value2)
		text, err := r.End(ended)
		if err != nil {
			return
		}
		asked := http1.Asked{Method: http1.MethodGet, Ended: ended}
		if bodiless {
			asked.Method = http1.MethodHead
		}
		var parser http1.ResponseHead
		n, err := parser.Parse(text, asked)
		if err != nil {
			return
		}
		switch {
		case n != len(text):
			t.Fatalf("%q: the head has %d bytes", text, n)
		case parser.Status != r.Status:
			t.Fatalf("%q: status %d, want %d", text, parser.Status, r.Status)
		case len(parser.Fields) > 3:
			t.Fatalf("%q: %d fields of two", text, len(parser.Fields))
		case ended && parser.Framing != http1.NoBody, parser.Framing == http1.ByClose, parser.Framing == http1.ByLength && parser.Length != r.Length,
			parser.Framing == http1.ByChunks && !r.Chunked:
			t.Fatalf("%q: framing %d, length %d, want %d", text, parser.Framing, parser.Length, r.Length)
		}
	})
}
