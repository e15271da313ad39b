package edge

import (
	"bytes"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/logs"
)

// The combined format has what the client said, also of requests that could not be read, and after the buffer with the head is used again.
func TestCombinedLog(t *testing.T) { eachPicker(t, testCombinedLog) }

func testCombinedLog(t *testing.T) {
	var mu sync.Mutex
	var lines bytes.Buffer
	format, err := logs.ParseAccessFormat("combined")
	if err != nil {
		t.Fatal(err)
	}
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("twelve bytes")) })))
	r := run(t, p, func(c *Config) {
		c.AccessLog, c.LogClient = slog.New(format.Handler(locked{&mu, &lines})), format.TellsClient()
	})
	r.do(r.request("POST", "/a%20b?c=d", strings.Repeat("b", 1<<20), "Referer", "https://a.example/", "User-Agent", `say "hello"`)) // which takes the place of the head
	r.raw("GET /x?y=z HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n")
	r.stop()
	<-r.stopped
	mu.Lock()
	defer mu.Unlock()
	got := regexp.MustCompile(`\[[^\]]*\]`).ReplaceAllString(lines.String(), "[T]")
	for _, want := range []string{`127.0.0.1 - - [T] "POST /a%20b?c=d HTTP/1.1" 200 12 "https://a.example/" "say \x22hello\x22"` + "\n", `127.0.0.1 - - [T] "GET /x -" 400 `} {
		if !strings.Contains(got, want) {
			t.Errorf("logged %s, want %s", got, want)
		}
	}
}
