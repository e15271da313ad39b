package edge

import (
	"bufio"
	"bytes"
	"encoding/json"
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
