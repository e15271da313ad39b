package edge

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/h2conn"
	"github.com/evenkeel-lb/evenkeel/h2"
)

// keptFor is what loops keep for a client of HTTP/2 that takes it slowly.
type keptFor struct{ trunk, branch int } // bytes for the connection, and the most for one of its streams

func (r *running) kept() (k keptFor) {
	r.engine.EachLoop(func(l *eventloop.Loop, _ *exchange.LoopStats) {
		l.Owners(func(o eventloop.Owner) {
			if t, ok := o.(*h2conn.ServerConn); ok {
				k.trunk += t.PendingBytes()
				t.Users(func(u h2conn.ServerUser) {
					k.branch = max(k.branch, u.(interface{ PendingBytes() int }).PendingBytes())
				})
			}
		})
	})
	return k
}

// A client that asks for much by many streams and takes nothing does not make the edge
// read it from servers.
func TestHTTP2SlowReadersPinNothing(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 1<<16)
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := io.WriteString(w, large); err != nil {
				return
			}
		}
	})
	p := to(granted("a", s))
	r := runH2C(t, p, nil)
	c := r.talker(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	_ = c.WriteWindowUpdate(0, 1<<30)
	const enough = 128 << 10 // bytes for a client that takes none, beyond which no server is read
	for range h2conn.MaxStreams {
		c.open(true)
	}
	r.asked(h2conn.MaxStreams)
	var most keptFor
	for limit := time.Now().Add(time.Minute); most.trunk < enough/2; {
		if time.Now().After(limit) {
			t.Fatalf("after a minute %d bytes wait for a client that takes none", most.trunk)
		}
		now := r.kept()
		most = keptFor{max(most.trunk, now.trunk), max(most.branch, now.branch)}
	}
	if most.trunk > enough+2*h2.FrameMost || most.branch > 8<<10 {
		t.Errorf("%d bytes are kept for the connection, want at most %d; for one stream %d, want at most %d", most.trunk, enough+2*h2.FrameMost, most.branch, 8<<10)
	}
	_ = c.Close()
	p.results(t)
}
