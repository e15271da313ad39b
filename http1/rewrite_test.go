package http1

import (
	"strings"
	"testing"
)

func TestRequestForwarded(t *testing.T) {
	full := Rewrite{Drop: edgeNames, Add: []byte("Via: 1.1 e\r\n")}
	for _, row := range []struct {
		name, in, want string
		rw             Rewrite
	}{
		{"as it is", "GET /a?b HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n", "GET /a?b HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n", Rewrite{}},
		{"white space", "GET / HTTP/1.1\r\nHost:a\r\nX:  y\t\r\nY:\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nY: \r\n\r\n", Rewrite{}},
		{"one hop", "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X\r\nx: y\r\nKeep-Alive: 5\r\nProxy-Connection: a\r\nProxy-Authorization: a\r\nHTTP2-Settings: a\r\nUpgrade: b\r\nTE: gzip\r\nY: z\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: a\r\nY: z\r\n\r\n", Rewrite{}},
		{"open", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n", Rewrite{Open: true, Add: []byte("X: y\r\n")}},
		{"TE: trailers", "GET / HTTP/1.1\r\nHost: a\r\nTE: gzip, trailers\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n", Rewrite{}},
		{"upgrade", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX: y\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", Rewrite{Upgrade: true}},
		{"upgrade and TE", "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: x , upgrade,yy\r\nX: y\r\nY_: z\r\nUpgrade: a/1, b\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: a\r\nY_: z\r\nTE: trailers\r\nUpgrade: a/1, b\r\nConnection: upgrade, TE, close\r\n\r\n", Rewrite{Upgrade: true, Close: true, KeepAlive: true}},
		{"upgrade not in earnest", "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", Rewrite{Upgrade: true}},
		{"chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nX: y\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n", Rewrite{}},
		{"length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:3\r\n\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n", Rewrite{Drop: NewNames("content-length", "host")}},
		{"absolute", "GET http://B:1/x?y HTTP/1.1\r\nHost: b:1\r\n\r\n", "GET /x?y HTTP/1.1\r\nHost: B:1\r\n\r\n", Rewrite{}},
		{"absolute, no path", "GET http://b?y HTTP/1.1\r\nHost: b\r\n\r\n", "GET /?y HTTP/1.1\r\nHost: b\r\n\r\n", Rewrite{}},
		{"absolute, nothing", "GET HTTPS://b HTTP/1.1\r\nHost: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: b\r\n\r\n", Rewrite{}},
		{"absolute, OPTIONS", "OPTIONS http://b HTTP/1.1\r\nHost: b\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n", Rewrite{}},
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Rewrite{}},
		{"CONNECT", "CONNECT a:1 HTTP/1.1\r\nHost: b\r\n\r\n", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", Rewrite{}},
		{"1.0", "GET / HTTP/1.0\r\nExpect: 100-continue\r\nX: y\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n", Rewrite{Host: []byte("h")}},
		{"1.0, no host to be had", "GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: \r\n\r\n", Rewrite{}},
		{"another host", "GET / HTTP/1.1\r\nX: y\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n", Rewrite{Host: []byte("h")}},
		{"dropped and added", "GET / HTTP/1.1\r\nHost: a\r\nEvenkeel-Lease: 1\r\nevenkeel_edge: 1\r\nX: y\r\nForwarded: z\r\nForwarded2: z\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nForwarded2: z\r\nVia: 1.1 e\r\n\r\n", full},
		{"close", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", Rewrite{Close: true}},
		{"after an empty line", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", Rewrite{}},
	} {
		var h RequestHead
		if n, err := h.Parse([]byte(row.in)); n != len(row.in) {
			t.Errorf("%s: %d, %v", row.name, n, err)
		} else if got := string(h.Append(nil, []byte(row.in), &row.rw)); got != row.want {
			t.Errorf("%s\n got %q\nwant %q", row.name, got, row.want)
		}
	}
}

func TestResponseForwarded(t *testing.T) {
	get := Asked{Method: MethodGet}
	for _, row := range []struct {
		name, in string
		to       Asked
		rw       Rewrite
		want     string
	}{
		{"as it is", "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 1\r\n\r\n", get, Rewrite{}, "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 1\r\n\r\n"},
		{"1.0", "HTTP/1.0 404\r\nX:y\r\nContent-Length: 1\r\n\r\n", get, Rewrite{}, "HTTP/1.1 404 \r\nX: y\r\nContent-Length: 1\r\n\r\n"},
		{"one hop", "HTTP/1.1 200 OK\r\nConnection: close, X\r\nX: y\r\nKeep-Alive: 1\r\nUpgrade: h2c\r\nProxy-Authenticate: a\r\nContent-Length: 1\r\n\r\n", get, Rewrite{}, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"},
		{"dropped", "HTTP/1.1 200 OK\r\nEndpoint-Load-Metrics: TEXT a=1\r\nendpoint-load-metrics-bin: x\r\nContent-Length: 1\r\n\r\n", get, Rewrite{Drop: edgeNames}, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n", get, Rewrite{KeepAlive: true}, "HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n"},
		{"chunked to 1.0", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", get, Rewrite{Framing: ByClose, Close: true}, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"},
		{"close to 1.1", "HTTP/1.1 200 OK\r\n\r\n", get, Rewrite{Framing: ByChunks}, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"to HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", Asked{Method: MethodHead}, Rewrite{Framing: ByChunks}, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"},
		{"204 that says too much", "HTTP/1.1 204 No\r\nContent-Length: 7\r\n\r\n", get, Rewrite{}, "HTTP/1.1 204 No\r\n\r\n"},
		{"101", "HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: x\r\nY: z\r\n\r\n", Asked{Method: MethodGet, Upgrade: true}, Rewrite{Upgrade: true}, "HTTP/1.1 101 S\r\nY: z\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"},
	} {
		var h ResponseHead
		if n, err := h.Parse([]byte(row.in), row.to); n != len(row.in) {
			t.Errorf("%s: %d, %v", row.name, n, err)
		} else if got := string(h.Append(nil, []byte(row.in), &row.rw)); got != row.want {
			t.Errorf("%s\n got %q\nwant %q", row.name, got, row.want)
		}
	}
}

func TestNames(t *testing.T) {
	s := NewNames("X-One", "evenkeel-*", "two_three", "z", "y-*", "")
	for name, want := range map[string]bool{
		"x-one": true, "X_ONE": true, "x-on": false, "x-one-": false, "Evenkeel-Lease": true, "evenkeel_": true,
		"evenkeel": false, "Two-Three": true, "*": false, "a": false,
		"Z": true, "za": false, "zaz": false, "Y-": true, "y": false, "y-a": true, "Y_Zebra": true, "ya": false,
	} {
		if got := s.Has([]byte(name)); got != want {
			t.Errorf("%q: got %v, want %v", name, got, want)
		}
	}
	if (*Names)(nil).Has([]byte("a")) {
		t.Error("a nil set has something")
	}
}

// Servers that make environment variables of fields turn every character that is no letter or digit into
// one, so that a name with any of them may be read as ours.
func TestNamesAreComparedAsServersMayReadThem(t *testing.T) {
	s := NewNames("Evenkeel-Client-Subject")
	for c := range 128 {
		token := strings.IndexByte("!#$%&'*+-.^_`|~", byte(c)) >= 0
		name := []byte("Evenkeel-Client" + string(rune(c)) + "Subject")
		if got := s.Has(name); got != token {
			t.Errorf("%q: got %v, want %v", name, got, token)
		}
	}
}

func TestValidValue(t *testing.T) {
	for v, want := range map[string]bool{"": true, "a b\tc\xff": true, " a": false, "a ": false, "a\r\nb": false, "a\x00": false, "0123456789\x7f": false} {
		if got := ValidValue([]byte(v)); got != want {
			t.Errorf("%q: got %v, want %v", v, got, want)
		}
	}
}
