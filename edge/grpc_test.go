package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/http2"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// fields returns the first head of a stream, and whether it ends it.
func (c *talker) fields(stream uint32) (fields map[string]string, ended bool) {
	c.t.Helper()
	for {
		f, err := c.ReadFrame()
		if err != nil {
			c.t.Fatalf("no head came: %v", err)
		}
		head, ok := f.(*http2.HeadersFrame)
		if !ok {
			continue
		}
		list, err := c.heap.DecodeFull(head.HeaderBlockFragment())
		if err != nil {
			c.t.Fatal(err)
		}
		if head.StreamID != stream {
			continue
		}
		fields = make(map[string]string)
		for _, f := range list {
			fields[f.Name] = f.Value
		}
		return fields, head.StreamEnded()
	}
}

// leave ends the edge, after which all is counted and logged, and does not keep it waiting.
func (c *talker) leave(r *running) {
	r.stop()
	c.hear(0, func(said string) bool { return strings.Contains(said, "goaway") })
	_ = c.Conn.Close()
	for range r.stopped {
	}
}

// What the edge itself has to say to a gRPC client is one head, as gRPC has it.
func TestGRPCIsAnsweredSo(t *testing.T) { eachPicker(t, testGRPCIsAnsweredSo) }

func testGRPCIsAnsweredSo(t *testing.T) {
	late := framing(t, nil, func(c *answerer, _ int) { c.rest() })
	refusing := func(r balance.Refusal) func(context.Context, *balance.Request) (balance.Grant, error) {
		return func(context.Context, *balance.Request) (balance.Grant, error) { return balance.Grant{}, &r }
	}
	for _, c := range []struct {
		name    string
		pick    func(context.Context, *balance.Request) (balance.Grant, error)
		change  func(*Config)
		ask     []string // beside the content type
		code    string
		message string
		push    string
	}{
		{"no route", nil, func(c *Config) { c.Listeners[0].Routes[0].Path = "/other" }, nil, "12", "no route matches the request's host and path (no-route)", ""},
		{"no server", refusing(balance.Refusal{Reason: balance.NoServer}), nil, nil, "14", "no server is ready for the request (no-server)", "1000"},
		{"full", refusing(balance.Refusal{Reason: balance.Saturated, RetryAfter: 1500 * time.Microsecond}), nil, nil, "8", "every server is full, and so is the queue (saturated)", "2"},
		{"unreachable", among(dead(t, "50%")), nil, nil, "14", "the server could not be reached (unreachable, server 50%25)", ""},
		{"late", among(late), func(c *Config) { c.ResponseTimeout = 20 * time.Millisecond }, nil, "4", "the server did not answer in time (timeout, server a)", ""},
		{"too large", nil, func(c *Config) { c.Listeners[0].BodyLimit = 10 }, []string{"content-length 11"}, "8", "the request's body is larger than is taken here (body-too-large)", ""},
		{"too large a head", nil, func(c *Config) { c.Listeners[0].HeaderLimit = 1000 }, []string{"x-after " + strings.Repeat("x", 2000)}, "8",
			"the request's head is larger, or has more lines, than is taken here (head-too-large)", ""},
	} {
		p := newFakePicker()
		p.pick = c.pick
		if c.pick == nil {
			p.pick = among()
		}
		var mu sync.Mutex
		var log bytes.Buffer
		r := runH2C(t, p, func(cfg *Config) {
			speaksHTTP2(cfg)
			cfg.AccessLog = slog.New(slog.NewJSONHandler(locked{&mu, &log}, nil))
			if c.change != nil {
				c.change(cfg)
			}
		})
		client := r.talker()
		id := client.open(len(c.ask) == 0, append([]string{"content-type application/grpc+proto", "te trailers"}, c.ask...)...)
		got, ended := client.fields(id)
		if !ended || got[":status"] != "200" || got["content-type"] != "application/grpc" || got["grpc-status"] != c.code ||
			got["grpc-message"] != c.message || got["grpc-retry-pushback-ms"] != c.push || got["x-request-id"] == "" || got["content-length"] != "" {
			t.Errorf("%s: got %v, ended %t; want status %s, %q, pushback %q", c.name, got, ended, c.code, c.message, c.push)
		}
		client.leave(r)
		mu.Lock()
		if want := `"grpc_status":` + c.code + "}"; !strings.Contains(log.String(), want) {
			t.Errorf("%s: the access log has no %s: %s", c.name, want, log.String())
		}
		mu.Unlock()
	}
}

// A gRPC status in trailers, or in a head that is all there is, says how a call went: to the master,
// in the access log and in metrics.
func TestGRPCStatusIsRead(t *testing.T) { eachPicker(t, testGRPCStatusIsRead) }

func testGRPCStatusIsRead(t *testing.T) {
	for _, c := range []struct {
		name     string
		kind     string // of the request
		talk     func(a *answerer, id uint32)
		result   balance.Result
		code     int
		logged   any    // nil: not
		counted  string // label; empty: not
		pushback time.Duration
	}{
		{"ok", "application/grpc", func(a *answerer, id uint32) {
			a.say(id, false, ":status 200", "content-type application/grpc")
			_ = a.WriteData(id, false, []byte("\x00\x00\x00\x00\x00"))
			a.say(id, true, "grpc-status 0")
		}, balance.OK, 0, 0., "0", 0},
		{"unavailable in trailers", "application/grpc", func(a *answerer, id uint32) {
			a.say(id, false, ":status 200", "content-type application/grpc")
			_ = a.WriteData(id, false, []byte("\x00\x00\x00\x00\x00"))
			a.say(id, true, "grpc-status 14", "grpc-message down")
		}, balance.Fault, 14, 14., "14", 0},
		{"unavailable at once", "application/grpc", func(a *answerer, id uint32) {
			a.say(id, true, ":status 200", "content-type application/grpc", "grpc-status 14")
		}, balance.Fault, 14, 14., "14", 0},
		{"full, with a pushback", "application/grpc", func(a *answerer, id uint32) {
			a.say(id, true, ":status 200", "content-type application/grpc", "grpc-status 14", "grpc-retry-pushback-ms 250")
		}, balance.Full, 14, 14., "14", 250 * time.Millisecond},
		{"not found", "application/grpc+proto", func(a *answerer, id uint32) {
			a.say(id, true, ":status 200", "content-type application/grpc", "grpc-status 5")
		}, balance.ClientError, 5, 5., "5", 0},
		{"a code that is not defined", "application/grpc", func(a *answerer, id uint32) {
			a.say(id, true, ":status 200", "content-type application/grpc", "grpc-status 99")
		}, balance.Fault, 99, 99., "2", 0},
		{"no status", "application/grpc", func(a *answerer, id uint32) {
			a.say(id, true, ":status 200", "content-type application/grpc")
		}, balance.Fault, 2, 2., "2", 0},
		{"broken off", "application/grpc", func(a *answerer, id uint32) {
			a.say(id, false, ":status 200", "content-type application/grpc")
			_ = a.WriteRSTStream(id, http2.ErrCodeInternal)
		}, balance.Broken, 0, nil, "none", 0},
		{"HTTP's own word", "application/grpc", func(a *answerer, id uint32) { a.say(id, true, ":status 404") }, balance.ClientError, 0, nil, "none", 0},
		{"a route that redirects", "application/grpc", func(a *answerer, id uint32) {
			a.say(id, true, ":status 200", "content-type application/grpc", "grpc-status 0")
		}, balance.OK, 0, 0., "0", 0},
		{"no gRPC", "text/plain", func(a *answerer, id uint32) { a.say(id, true, ":status 200", "grpc-status 14") }, balance.OK, 0, nil, "", 0},
	} {
		p := to(framing(t, nil, func(a *answerer, _ int) {
			if id := a.head(); id != 0 {
				c.talk(a, id)
				a.rest()
			}
		}))
		var mu sync.Mutex
		var log bytes.Buffer
		r := runH2C(t, p, func(cfg *Config) {
			speaksHTTP2(cfg)
			if c.name == "a route that redirects" { // gRPC clients follow no redirect
				cfg.Listeners[0].Routes[0].Link = balance.LinkRedirect
			}
			cfg.AccessLog = slog.New(slog.NewJSONHandler(locked{&mu, &log}, nil))
		})
		client := r.talker()
		client.hear(client.open(true, "content-type "+c.kind, "te trailers"), nil)
		p.wantResults(t, c.result)
		p.mu.Lock()
		if o := p.done[1][0]; o.GRPC != c.code || o.RetryAfter != c.pushback {
			t.Errorf("%s: the master was told %+v, want gRPC status %d and to wait %v", c.name, o, c.code, c.pushback)
		}
		p.mu.Unlock()
		client.leave(r)
		page := httptest.NewRecorder()
		promhttp.HandlerFor(r.deps.Metrics.Registry, promhttp.HandlerOpts{}).ServeHTTP(page, httptest.NewRequest("GET", "/", nil))
		text, _ := io.ReadAll(page.Body)
		if want := `evenkeel_edge_grpc_requests_total{grpc_status="` + c.counted + `",pool="web"} 1`; c.counted != "" && !strings.Contains(string(text), want) ||
			c.counted == "" && strings.Contains(string(text), "evenkeel_edge_grpc_requests_total{") {
			t.Errorf("%s: want %s in the metrics:\n%s", c.name, want, text)
		}
		var line map[string]any
		mu.Lock()
		if err := json.Unmarshal(log.Bytes(), &line); err != nil || line["grpc_status"] != c.logged {
			t.Errorf("%s: got %v, %v in the access log, want %v", c.name, line, err, c.logged)
		}
		mu.Unlock()
	}
}
