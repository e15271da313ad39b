package edge

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// attacker is a client of HTTP/2 that writes what frames it likes.
type attacker struct {
	net.Conn
	*http2.Framer
	text bytes.Buffer
	pack *hpack.Encoder
	id   uint32
}

func (r *running) attacker() *attacker {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	a := &attacker{Conn: conn, Framer: http2.NewFramer(conn, conn), id: 1}
	a.AllowIllegalWrites = true
	a.pack = hpack.NewEncoder(&a.text)
	_, _ = io.WriteString(conn, http2.ClientPreface)
	_ = a.WriteSettings()
	return a
}

// request opens a stream.
func (a *attacker) request(last bool) error {
	a.text.Reset()
	for _, f := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "a"}, {Name: ":path", Value: "/"}} {
		_ = a.pack.WriteField(f) // into memory
	}
	err := a.WriteHeaders(http2.HeadersFrameParam{StreamID: a.id, BlockFragment: a.text.Bytes(), EndStream: true, EndHeaders: last})
	a.id += 2
	return err
}

// Whatever one attacker sends, another client is served and the edge's leases are all
// given back. The attacker is cut off, or read no faster than its frames are allowed.
func TestFloods(t *testing.T) {
	t.Parallel()
	eachPicker(t, testFloods)
}

func testFloods(t *testing.T) {
	floods := map[string]func(*attacker) error{
		"rapid reset": func(a *attacker) error {
			return errors.Join(a.request(true), a.WriteRSTStream(a.id-2, http2.ErrCodeCancel))
		},
		"continuation": func(a *attacker) error {
			if a.id == 1 {
				if err := a.request(false); err != nil {
					return err
				}
			}
			a.text.Reset()
			_ = a.pack.WriteField(hpack.HeaderField{Name: "x", Value: strings.Repeat("y", 1000), Sensitive: true})
			return a.WriteContinuation(a.id-2, false, a.text.Bytes())
		},
		"empty continuation": func(a *attacker) error {
			if a.id == 1 {
				if err := a.request(false); err != nil {
					return err
				}
			}
			return a.WriteContinuation(a.id-2, false, nil)
		},
		"settings":   func(a *attacker) error { return a.WriteSettings() },
		"ping":       func(a *attacker) error { return a.WritePing(false, [8]byte{}) },
		"priority":   func(a *attacker) error { return a.WritePriority(3, http2.PriorityParam{Weight: 1}) },
		"empty data": func(a *attacker) error { return a.WriteRawFrame(http2.FrameData, 0, 1, nil) },
		"malformed": func(a *attacker) error {
			a.id += 2
			return a.WriteHeaders(http2.HeadersFrameParam{StreamID: a.id, BlockFragment: []byte{0x82}, EndStream: true, EndHeaders: true})
		},
		"unknown": func(a *attacker) error { return a.WriteRawFrame(0xfa, 0, 0, nil) },
	}
	for name, flood := range floods {
		t.Run(name, func(t *testing.T) {
			p := to(granted("a", server(t, echo)))
			r := runH2C(t, p, nil)
			a := r.attacker()
			attacking := make(chan error, 1)
			go func() {
				_ = a.SetWriteDeadline(time.Now().Add(time.Minute))
				for {
					if err := flood(a); err != nil {
						attacking <- err
						return
					}
				}
			}()
			limit := time.Now().Add(time.Minute)
			bounded := func() bool { return len(attacking) > 0 || testutil.ToFloat64(r.deps.Metrics.HeldBack) > 0 }
			for n := 0; n < 10 || !bounded(); n++ {
				if time.Now().After(limit) {
					t.Error("after a minute the attacker was neither cut off nor held back")
					break
				}
				if res, body := r.do(r.two("POST", "/", strings.NewReader("x"))); res.StatusCode != 200 || body != "POST / x" {
					t.Errorf("the other client got %d %q", res.StatusCode, body)
				}
			}
			_ = a.Close() // if the edge has not
			if err := <-attacking; err == nil {
				t.Error("the attack ended without an error")
			}
			p.results(t)
		})
	}
}
