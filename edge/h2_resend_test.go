package edge

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/bodies"
	"golang.org/x/net/http2"
)

// notTaking is a server of HTTP/2 that refuses the first POSTs, each after it has got as many bytes of
// its body, and answers the next one with what came of its body then. Until it takes a stream, no more
// of a body comes than the first windows let through.
func notTaking(t *testing.T, refusals, bytesBefore int, window uint32, refuse func(c *answerer, stream uint32)) balance.Grant {
	var mu sync.Mutex
	return framing(t, []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: window}}, func(c *answerer, _ int) {
		if window > 1<<16-1 {
			_ = c.WriteWindowUpdate(0, window-(1<<16-1))
		}
		got, refused := make(map[uint32]*bytes.Buffer), make(map[uint32]bool)
		for {
			f, err := c.ReadFrame()
			if err != nil {
				return
			}
			stream, ended := f.Header().StreamID, false
			switch f := f.(type) {
			case *http2.HeadersFrame:
				fields, err := c.heap.DecodeFull(f.HeaderBlockFragment())
				if err != nil {
					t.Error(err)
				}
				if ended = f.StreamEnded(); got[stream] == nil {
					got[stream] = new(bytes.Buffer)
					refused[stream] = ended // a GET, which is answered below
					if ended {
						c.say(stream, true, ":status 204")
					}
				} else {
					fmt.Fprintf(got[stream], "%s: %s", fields[0].Name, fields[0].Value)
				}
			case *http2.DataFrame:
				got[stream].Write(f.Data())
				ended = f.StreamEnded()
				if n := uint32(len(f.Data())); n > 0 && refusals == 0 {
					_ = c.WriteWindowUpdate(0, n)
					_ = c.WriteWindowUpdate(stream, n)
				}
			default:
				continue
			}
			mu.Lock()
			if refusals > 0 && !refused[stream] && got[stream].Len() >= bytesBefore {
				refusals--
				refused[stream] = true
				refuse(c, stream)
				_ = c.WriteWindowUpdate(0, uint32(got[stream].Len()))
			}
			mu.Unlock()
			if ended && !refused[stream] {
				c.say(stream, false, ":status 200")
				_ = c.WriteData(stream, true, fmt.Appendf(nil, "%x", sha256.Sum256(got[stream].Bytes())))
			}
		}
	})
}

// A request that a server has not taken is sent again though a part of its body has gone, as long as
// that part is still there. It costs the server nothing.
func TestHTTP2BodiesNotTaken(t *testing.T) { eachPicker(t, testHTTP2BodiesNotTaken) }

func testHTTP2BodiesNotTaken(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	random := func(n int) []byte {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		return p
	}
	refused := func(c *answerer, stream uint32) { _ = c.WriteRSTStream(stream, http2.ErrCodeRefusedStream) }
	sentAway := func(c *answerer, stream uint32) { _ = c.WriteGoAway(stream-2, http2.ErrCodeNo, nil) }
	const narrow, wide = 1<<16 - 1, 1 << 20
	for _, c := range []struct {
		name     string
		body     []byte
		trailer  bool
		refusals int
		before   int // bytes of the body that the server has when it refuses
		window   uint32
		refuse   func(*answerer, uint32)
		status   int
		result   balance.Result // of the first lease of the POST
		leases   int
	}{
		{"a short body, refused", random(3), false, 1, 3, narrow, refused, 200, balance.OK, 1},
		{"a short body, refused twice", random(3), false, 2, 3, narrow, refused, 200, balance.Full, 2},
		{"a short body, sent away", random(3), false, 1, 3, narrow, sentAway, 200, balance.OK, 1},
		{"a long body before its end", random(90_000), false, 1, 20_000, narrow, sentAway, 200, balance.OK, 1},
		{"a long body to the window's end", random(90_000), false, 1, narrow, narrow, sentAway, 200, balance.OK, 1},
		{"trailers", random(2000), true, 1, 2000 + len("x-after: 5"), narrow, sentAway, 200, balance.OK, 1},
		{"more than is copied, of which little has gone", random(4 * bodies.MaxCopied), false, 1, 1, narrow, sentAway, 200, balance.OK, 1},
		{"more than is copied", random(4 * bodies.MaxCopied), false, 1, 2 * bodies.MaxCopied, wide, sentAway, 502, balance.Canceled, 1},
	} {
		for _, length := range []int64{int64(len(c.body)), -1} {
			grant := notTaking(t, c.refusals, c.before, c.window, c.refuse)
			p := newFakePicker()
			grant.Server = "a"
			p.pick = among(grant, balance.Grant{Server: "b", Address: grant.Address})
			r := runH2C(t, p, speaksHTTP2)
			if res, _ := r.do(r.two("GET", "/", nil)); res.StatusCode != 204 {
				t.Fatalf("%s: the connection begins with %d", c.name, res.StatusCode)
			}
			req := r.two("POST", "/", io.NopCloser(bytes.NewReader(c.body)))
			want := bytes.Clone(c.body)
			if req.ContentLength = length; c.trailer {
				req.ContentLength, req.Trailer = -1, http.Header{"X-After": {"5"}}
				want = append(want, "x-after: 5"...)
			}
			res, body := r.do(req)
			switch {
			case res.StatusCode != c.status:
				t.Errorf("%s, length %d: got %d %s, want %d", c.name, length, res.StatusCode, body, c.status)
			case c.status != 200:
				wantStatus(t, res, body, c.status, "not-taken")
			case body != fmt.Sprintf("%x", sha256.Sum256(want)):
				t.Errorf("%s, length %d: the server got another body", c.name, length)
			}
			results := []balance.Result{balance.OK, c.result, balance.OK}
			p.wantResults(t, results[:1+c.leases]...)
			r.stop()
		}
	}
}

// A server closes all connections that it has kept just when a request's body is on its way: what can
// be repeated is, by a new connection, bytes that have gone included.
func TestKeptConnectionsCloseUnderABody(t *testing.T) {
	eachPicker(t, testKeptConnectionsCloseUnderABody)
}

func testKeptConnectionsCloseUnderABody(t *testing.T) {
	const begun = "hello"
	var mu sync.Mutex
	conns, idle := 0, make(chan struct{})
	p := to(scripted(t, func(conn *net.TCPConn, r *bufio.Reader) {
		mu.Lock()
		conns++
		kept := conns <= 2
		mu.Unlock()
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if req.Method == "PUT" && kept {
				_, _ = io.ReadFull(req.Body, make([]byte, len(begun)))
				_ = conn.Close()
				return
			}
			if req.Method == "GET" { // both are here before one is answered
				idle <- struct{}{}
			}
			body, _ := io.ReadAll(req.Body)
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
	}))
	r := run(t, p, nil)
	first, second := r.dial().send(get), r.dial().send(get)
	<-idle
	<-idle
	first.response("GET")
	second.response("GET")
	first.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	first.send("5\r\n%s\r\n6\r\n world\r\n0\r\n\r\n", begun)
	if res, body := first.response("PUT"); res.StatusCode != 200 || body != "hello world" {
		t.Errorf("got %d %q, want all of the body back", res.StatusCode, body)
	}
	p.wantResults(t, balance.OK, balance.OK, balance.OK)
	if mu.Lock(); conns != 3 {
		t.Errorf("%d connections, want two kept ones and a new one", conns)
	}
	mu.Unlock()
}
