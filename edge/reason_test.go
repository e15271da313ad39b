package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

func TestTheAccessLogSaysWhyTheEdgeAnswered(t *testing.T) {
	eachPicker(t, testTheAccessLogSaysWhyTheEdgeAnswered)
}

func testTheAccessLogSaysWhyTheEdgeAnswered(t *testing.T) {
	shed := balance.Refusal{Reason: balance.Shed, Needs: 12 * time.Second, Detail: "pool web: in the master's words"}
	for _, c := range []struct {
		name, request                string
		refusal                      *balance.Refusal
		status                       float64
		reason, detail, method, path string
		body                         string // a part of what the client is told
	}{
		{"no route", "GET /nowhere?secret=1 HTTP/1.1\r\nHost: a\r\n\r\n", nil, 404, "no-route", "", "GET", "/nowhere", "no route matches"},
		{"CONNECT", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", nil, 501, "method-not-supported", "", "CONNECT", "", "CONNECT is not served"},
		{"two hosts", "POST /a/x?secret=1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", nil, 400, "bad-request", "Host: want exactly one host and port (RFC 9112 3.2)", "POST", "/a/x", "Host: want exactly one"},
		{"no version", "GET /a/x HTTP\r\n\r\n", nil, 400, "bad-request", "", "GET", "/a/x", ""},
		{"no method", "\x16\x03\x01\x02 /x\r\n\r\n", nil, 400, "bad-request", "", "", "", ""},
		{"long head", "PUT /a/long HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 2000) + "\r\n\r\n", nil, 431, "head-too-large", "", "PUT", "/a/long", "the request's head is larger"},
		{"refused at once", "GET /a/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &shed, 429, "shed", "pool web: in the master's words", "GET", "/a/x",
			"refused at once: every server is at its limit, requests take up to 12s here, and this one has 10s"},
		{"waited", "GET /a/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &balance.Refusal{Reason: balance.Shed}, 429, "shed", "", "GET", "/a/x", "no server became free while the request could wait"},
		{"full", "GET /a/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &balance.Refusal{Reason: balance.Saturated}, 503, "saturated", "", "GET", "/a/x", "every server is full"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var mu sync.Mutex
			var lines bytes.Buffer
			p := newFakePicker()
			p.pick = among()
			if c.refusal != nil {
				p.pick = func(context.Context, *balance.Request) (balance.Grant, error) { return balance.Grant{}, c.refusal }
			}
			r := run(t, p, func(cfg *Config) {
				cfg.AccessLog = slog.New(slog.NewJSONHandler(locked{&mu, &lines}, nil))
				cfg.Listeners[0].Routes[0].Path = "/a/"
				cfg.Listeners[0].HeaderLimit = 1000
			})
			answer := r.raw(strings.Replace(c.request, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1))
			r.stop()
			<-r.stopped
			mu.Lock()
			defer mu.Unlock()
			var got map[string]any
			if err := json.Unmarshal(lines.Bytes(), &got); err != nil {
				t.Fatalf("%q: %v", lines.String(), err)
			}
			if got["status"] != c.status || got["reason"] != c.reason || got["method"] != c.method || got["path"] != c.path {
				t.Errorf("got %v, want %v %s %s %q", got, c.status, c.method, c.path, c.reason)
			}
			if c.detail != "" && got["detail"] != c.detail {
				t.Errorf("got detail %v, want %q", got["detail"], c.detail)
			}
			if strings.Contains(lines.String(), "secret") {
				t.Errorf("the log has the query: %s", lines.String())
			}
			if !strings.Contains(answer, c.body) || strings.Contains(answer, "master's words") {
				t.Errorf("the client was told %q, want %q", answer, c.body)
			}
		})
	}
}
