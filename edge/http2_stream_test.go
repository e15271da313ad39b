package edge

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// A server of gRPC may end a call whose client has not ended its own side. The client gets the status, and its connection
// goes on.
func TestHTTP2ServerEndsTheStreamFirst(t *testing.T) {
	eachPicker(t, testHTTP2ServerEndsTheStreamFirst)
}

func testHTTP2ServerEndsTheStreamFirst(t *testing.T) {
	p := to(framing(t, nil, func(c *answerer, _ int) {
		for id := c.head(); id != 0; id = c.head() {
			c.say(id, false, ":status 200", "content-type application/grpc")
			_ = c.WriteData(id, false, []byte("\x00\x00\x00\x00\x01x"))
			c.say(id, true, "grpc-status 0", "x-after done")
		}
	}))
	r := runH2C(t, p, speaksHTTP2)
	c := r.talker()
	for range 3 {
		id := c.open(false, "content-type application/grpc", "te trailers")
		_ = c.WriteData(id, false, []byte("\x00\x00\x00\x00\x01y"))
		if got, want := c.hear(id, nil), ":status 200\ndata \x00\x00\x00\x00\x01x\nx-after done\nended\n"; got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	p.wantResults(t, balance.OK, balance.OK, balance.OK)
}

// Both sides of a stream may be silent for longer than a connection without a request may. How long that is, is
// seen by such connections: three of them end one after another.
func TestHTTP2StreamsMayBeSilent(t *testing.T) {
	t.Parallel()
	eachPicker(t, testHTTP2StreamsMayBeSilent)
}

func testHTTP2StreamsMayBeSilent(t *testing.T) {
	p := to(framing(t, nil, func(c *answerer, _ int) {
		id := c.head()
		c.say(id, false, ":status 200")
		_ = c.WriteData(id, false, []byte("first"))
		for {
			if _, said := c.next(); said == "" || said == "data word" {
				break
			}
		}
		_ = c.WriteData(id, true, []byte("second"))
		c.rest()
	}))
	r := runH2C(t, p, func(c *Config) { speaksHTTP2(c); c.Listeners[0].IdleTimeout = time.Second })
	c := r.talker()
	id := c.open(false)
	c.hear(id, func(said string) bool { return said == ":status 200\ndata first\n" })
	for range 3 {
		conn, err := net.Dial("tcp", r.address)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadAll(conn) // until the edge closes it
		_ = conn.Close()
	}
	_ = c.WriteData(id, false, []byte("word"))
	if got := c.hear(id, nil); got != "data second\nended\n" && got != "data second\n" {
		t.Errorf("after the silence: got %q", got)
	}
	p.wantResults(t, balance.OK)
}

// Twenty calls at once to a server that takes two streams by a connection are all answered.
func TestHTTP2ManyCallsToAServerOfTwoStreams(t *testing.T) {
	eachPicker(t, testHTTP2ManyCallsToAServerOfTwoStreams)
}

func testHTTP2ManyCallsToAServerOfTwoStreams(t *testing.T) {
	const most, calls = 2, 20
	var answered atomic.Int64
	p := to(framing(t, []http2.Setting{{ID: http2.SettingMaxConcurrentStreams, Val: most}}, func(c *answerer, _ int) {
		var writing sync.Mutex
		var open atomic.Int64
		for id := c.head(); id != 0; id = c.head() {
			if n := open.Add(1); n > most {
				t.Errorf("%d streams at once, want at most %d", n, most)
			}
			go func() {
				writing.Lock()
				defer writing.Unlock()
				open.Add(-1)
				answered.Add(1)
				c.say(id, true, ":status 204")
			}()
		}
	}))
	r := runH2C(t, p, speaksHTTP2)
	c := r.talker()
	for range calls {
		c.open(true)
	}
	for ended := 0; ended < calls; {
		f, err := c.ReadFrame()
		if err != nil {
			t.Fatalf("%d of %d are answered: %v", ended, calls, err)
		}
		if f, ok := f.(*http2.HeadersFrame); ok && f.StreamEnded() {
			ended++
		}
	}
	if n := answered.Load(); n != calls {
		t.Errorf("the server has answered %d calls, want %d", n, calls)
	}
}
