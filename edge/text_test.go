package edge

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// logged returns the access log of what do does at an edge before a server that answers so. It reads
// nothing of a body before it asks for a server.
func logged(t *testing.T, answer http.HandlerFunc, do func(r *running)) (records []map[string]any) {
	t.Helper()
	var mu sync.Mutex
	var lines bytes.Buffer
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, answer)))
	r := run(t, p, func(c *Config) {
		c.AccessLog = slog.New(slog.NewJSONHandler(locked{&mu, &lines}, nil))
		c.Listeners[0].Routes[0].BufferRequest = -1
	})
	do(r)
	r.stop()
	<-r.stopped
	for d := json.NewDecoder(&lines); d.More(); {
		record := make(map[string]any)
		if err := d.Decode(&record); err != nil {
			t.Fatal(err)
		}
		records = append(records, record)
	}
	return records
}

func wantLogged(t *testing.T, record map[string]any, method, host, path, id string) {
	t.Helper()
	for key, want := range map[string]string{"method": method, "host": host, "path": path, "request": id} {
		if record[key] != want {
			t.Errorf("the log says %s %q, want %q", key, record[key], want)
		}
	}
}

// What a client sends behind an uploaded body takes the place of the request's head in memory, and
// must not take it in the log.
func TestWhatFollowsABodyDoesNotReachTheLog(t *testing.T) { eachPicker(t, testWhatFollowsABody) }

func testWhatFollowsABody(t *testing.T) {
	const head = "POST /admin/delete/42 HTTP/1.1\r\nHost: bank.example\r\nX-Request-Id: real-1\r\n"
	const behind = "GETx /static/kitten-01 HTTP/1.1\r\nHost: cats.example\r\nX-Request-Id: fake-1\r\n\r\n"
	begun := make(chan struct{}, 1) // a server has the request, whose body streams
	answer := func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			begun <- struct{}{}
		}
		echo(w, r)
	}
	for name, framing := range map[string][2]string{
		"by length": {"Content-Length: 3000\r\n\r\n" + strings.Repeat("x", 100), strings.Repeat("x", 2900)},
		"by chunks": {"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "5\r\nhello\r\n0\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			records := logged(t, answer, func(r *running) {
				conn, err := net.Dial("tcp", r.address)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = conn.Close() }()
				_, _ = io.WriteString(conn, head+framing[0]) // the answers tell
				<-begun
				_, _ = io.WriteString(conn, framing[1]+behind)
				in := bufio.NewReader(conn)
				for _, want := range []string{"POST /admin/delete/42 ", "GETx /static/kitten-01 "} {
					res, err := http.ReadResponse(in, nil)
					if err != nil {
						t.Fatal(err)
					}
					if body, err := io.ReadAll(res.Body); err != nil || !strings.HasPrefix(string(body), want) {
						t.Errorf("got %.40q, %v; want %q", body, err, want)
					}
				}
			})
			if len(records) != 2 {
				t.Fatalf("%d requests are in the log, want 2: %v", len(records), records)
			}
			wantLogged(t, records[0], "POST", "bank.example", "/admin/delete/42", "real-1")
			wantLogged(t, records[1], "GETx", "cats.example", "/static/kitten-01", "fake-1")
		})
	}
}

func TestOwnedTextStaysWhatItWas(t *testing.T) {
	var o ownedText
	for round := range 3 {
		o.reset()
		source := []byte("abcdefghij")
		var kept, want []string
		for i := range 200 {
			copy(source, fmt.Sprintf("%d-%d ", round, i))
			want = append(want, string(source[:i%10]))
			kept = append(kept, o.clone(unsafeString(source[:i%10])))
		}
		clear(source)
		for i := range kept {
			if kept[i] != want[i] {
				t.Fatalf("round %d: string %d is %q, want %q", round, i, kept[i], want[i])
			}
		}
	}
}

func TestHeadOwnsItsStrings(t *testing.T) {
	for _, c := range []struct{ target, path, query string }{
		{"/a/b", "/a/b", ""}, {"/a?b=c", "/a", "b=c"}, {"/a?", "/a", ""}, {"/%61?x", "/a", "x"}, {"/%zz?x", "/%zz", "x"}, {"*", "*", ""}, {"", "", ""},
	} {
		source := []byte("GET h.example " + c.target + " " + c.path + " " + c.query)
		at := 0
		next := func(n int) string { at += n + 1; return unsafeString(source[at-n-1 : at-1]) }
		h := requestInfo{method: next(3), host: next(9), target: next(len(c.target)), path: next(len(c.path)), query: next(len(c.query))}
		h.raw, _, _ = strings.Cut(h.target, "?")
		var o ownedText
		own := h.clone(&o)
		for i := range source {
			source[i] = '#'
		}
		if own.method != "GET" || own.host != "h.example" || own.target != c.target || own.path != c.path || own.query != c.query {
			t.Errorf("%q: got %q %q %q %q %q", c.target, own.method, own.host, own.target, own.path, own.query)
		}
	}
}

func TestKeptHeadAllocatesNothing(t *testing.T) {
	var o ownedText
	h := requestInfo{method: "GET", host: "h.example", target: "/a/b?c=d", raw: "/a/b", path: "/a/b", query: "c=d"}
	if n := testing.AllocsPerRun(100, func() {
		o.reset()
		h.clone(&o)
		o.clone("an-id")
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
