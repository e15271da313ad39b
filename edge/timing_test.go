package edge

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

func TestServerTiming(t *testing.T) { eachPicker(t, testServerTiming) }

func testServerTiming(t *testing.T) {
	own := server(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("Server-Timing", "db;dur=53")
		w.Header().Add("Server-Timing", "cache;desc=\"hit\"")
	})
	p := newFakePicker()
	p.pick = func(context.Context, *balance.Request) (balance.Grant, error) {
		g := granted("s1", own)
		g.Waited = 1500 * time.Microsecond
		time.Sleep(g.Waited) // the ask lasts as long as it says that it waited
		return g, nil
	}
	r := run(t, p, func(c *Config) { c.Listeners[0].ServerTiming = true })
	res, _ := r.do(r.request("GET", "/", ""))
	told := strings.Join(res.Header["Server-Timing"], ", ")
	if !regexp.MustCompile(`^pick;dur=[0-9.]+, queue;dur=1\.5, db;dur=53, cache;desc="hit"$|^db;dur=53, cache;desc="hit", pick;dur=[0-9.]+, queue;dur=1\.5$`).MatchString(told) {
		t.Errorf("got %q, want pick and queue beside the server's own", told)
	}
	r = run(t, p, nil)
	if res, _ := r.do(r.request("GET", "/", "")); strings.Join(res.Header["Server-Timing"], ", ") != "db;dur=53, cache;desc=\"hit\"" {
		t.Errorf("not asked for: got %q", res.Header["Server-Timing"])
	}
}

// What a server has compressed passes as it is, and the edge compresses nothing.
func TestCompressionIsLeftAlone(t *testing.T) { eachPicker(t, testCompressionIsLeftAlone) }

func testCompressionIsLeftAlone(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(bytes.Repeat([]byte("text "), 10_000)) // a buffer takes all
	_ = z.Close()
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") == "" {
			_, _ = io.WriteString(w, strings.Repeat("text ", 10_000))
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Vary", "Accept-Encoding")
		w.Header().Set("ETag", `"packed"`)
		w.Header().Set("Endpoint-Load-Metrics", "TEXT cpu_utilization=0.5")
		w.Header().Set("Endpoint-Load-Metrics-Bin", "")
		_, _ = w.Write(packed.Bytes())
	})))
	r := run(t, p, nil)
	res, body := r.do(r.request("GET", "/", "", "Accept-Encoding", "gzip"))
	if body != packed.String() || res.Header.Get("Content-Encoding") != "gzip" || res.Header.Get("Vary") != "Accept-Encoding" || res.Header.Get("ETag") != `"packed"` {
		t.Errorf("got %d bytes of %d, header %v", len(body), packed.Len(), res.Header)
	}
	for name := range res.Header {
		if strings.Contains(strings.ToLower(name), "load-metrics") {
			t.Errorf("the client got %s", name)
		}
	}
	if res, body := r.do(r.request("GET", "/", "")); res.Header.Get("Content-Encoding") != "" || len(body) != 50_000 {
		t.Errorf("unasked: got %d bytes, header %v", len(body), res.Header)
	}
}
