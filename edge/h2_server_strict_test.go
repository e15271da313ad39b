package edge

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/net/http2"

	"github.com/evenkeel-lb/evenkeel/edge/h2conn"
)

func runStrict(t *testing.T, answer http.HandlerFunc, change func(*Config)) (*running, *talker) {
	t.Helper()
	r := runH2C(t, to(granted("a", server(t, answer))), func(c *Config) {
		if change != nil {
			change(c)
		}
	})
	return r, r.talker()
}

// untilLeft is a server that answers when its client has left, or the test is over.
func untilLeft(t *testing.T) http.HandlerFunc {
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	return func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-over:
		}
	}
}

// A client that has streams reset for what it does wrong is held back as one that resets them.
func TestProvokedResetsWeighAsRapidResets(t *testing.T) {
	t.Parallel()
	const enough = h2conn.IdleFramesAtOnce/10 + 50 // far fewer than would do at one frame each
	for name, provoke := range map[string]func(c *talker, id uint32){
		"WINDOW_UPDATE of nothing": func(c *talker, id uint32) { _ = c.WriteWindowUpdate(id, 0) },
		"a window too large":       func(c *talker, id uint32) { _ = c.WriteWindowUpdate(id, 1<<31-1) },
		"DATA behind the end":      func(c *talker, id uint32) { _ = c.WriteData(id, true, nil) },
		"trailers behind the end": func(c *talker, id uint32) {
			_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0, 1, 'x', 1, 'y'}, EndStream: true, EndHeaders: true})
		},
		"RST_STREAM": func(c *talker, id uint32) { _ = c.WriteRSTStream(id, http2.ErrCodeCancel) },
	} {
		t.Run(name, func(t *testing.T) {
			r, c := runStrict(t, untilLeft(t), nil)
			for i := range enough {
				id := c.open(true)
				provoke(c, id)
				if name != "RST_STREAM" && i%50 == 49 { // not after each: what was spent is earned again as time passes
					c.hear(id, func(said string) bool { return strings.Contains(said, "reset ") })
				}
			}
			_ = c.WritePing(false, [8]byte{})
			eventually(t, fmt.Sprintf("after %d streams the client is held back", enough), func() bool { return testutil.ToFloat64(r.deps.Metrics.HeldBack) > 0 })
		})
	}
}

// DATA of a stream that has been reset is taken as far as it may have been on its way, and no further.
func TestDataOfDeadStreamsEarnsNothing(t *testing.T) {
	_, c := runStrict(t, untilLeft(t), nil)
	id := c.open(false)
	_ = c.WriteWindowUpdate(id, 0)
	if got := c.hear(id, func(said string) bool { return said != "" }); got != "reset PROTOCOL_ERROR\n" {
		t.Fatalf("got %q", got)
	}
	piece := make([]byte, 16<<10)
	for range h2conn.StreamWindow / len(piece) {
		_ = c.WriteData(id, false, piece)
	}
	_ = c.WritePing(false, [8]byte{1})
	if got := c.hear(0, func(said string) bool { return said != "" }); strings.Contains(got, "goaway") {
		t.Fatalf("what was on its way ended the connection: %q", got)
	}
	_ = c.WriteData(id, false, piece)
	if got := c.hear(0, func(said string) bool { return strings.Contains(said, "FLOW_CONTROL") }); !strings.Contains(got, "FLOW_CONTROL_ERROR") {
		t.Errorf("got %q, want the end of the connection", got)
	}
}

// A client that asks with more fields than are taken, again and again, is answered a few times.
func TestHeadsThatAreTooLongEndTheConnection(t *testing.T) {
	_, c := runStrict(t, echo, func(c *Config) { c.Listeners[0].HeaderLimit = 1 << 10 })
	long := "x " + strings.Repeat("y", 2<<10)
	for range 3 {
		if got := c.hear(c.open(true, long), nil); !strings.HasPrefix(got, ":status 431") {
			t.Fatalf("got %.40q", got)
		}
	}
	if got := c.hear(c.open(true), nil); !strings.HasPrefix(got, ":status 200") {
		t.Fatalf("one that is not too long: got %.40q", got)
	}
	c.open(true, long)
	if got := c.hear(0, func(said string) bool { return strings.Contains(said, "ENHANCE") }); !strings.Contains(got, "ENHANCE_YOUR_CALM") {
		t.Errorf("got %q, want the end of the connection", got)
	}
}

// Frames that do not fit into their turn are dealt with in the next ones.
func TestFramesBeyondATurnAreNotLost(t *testing.T) {
	_, c := runStrict(t, echo, func(c *Config) { c.maxTurn = time.Nanosecond })
	if got := c.hear(c.open(true), nil); !strings.HasPrefix(got, ":status 200") {
		t.Fatalf("got %.40q", got)
	}
	var ids []uint32
	for range 90 {
		for range 5 {
			_ = c.WriteRawFrame(0xfa, 0, 0, nil)
		}
		ids = append(ids, c.open(false, "content-length 3"))
		_ = c.WriteData(ids[len(ids)-1], true, []byte("abc"))
	}
	ended := 0
	for ended < len(ids) {
		f, err := c.ReadFrame()
		if err != nil {
			t.Fatalf("%d of %d are answered, %v", ended, len(ids), err)
		}
		if f.Header().Type == http2.FrameData && f.Header().Flags.Has(http2.FlagDataEndStream) {
			ended++
		}
	}
}
