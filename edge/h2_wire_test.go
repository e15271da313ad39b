package edge

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/h2conn"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/h2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// What goes over the wire of HTTP/2, frame by frame where a client of Go's hides it.

// streaming answers with the body that it gets, while it gets it.
func streaming(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	_ = rc.EnableFullDuplex()
	_, _ = io.Copy(w, r.Body)
}

func TestHTTP2Bodies(t *testing.T) { eachServer(t, testHTTP2Bodies) }

func testHTTP2Bodies(t *testing.T) {
	for name, front := range fronts {
		p := to(granted("a", server(t, streaming)))
		r := front(t, p, nil)
		var clients sync.WaitGroup
		for i := range 8 {
			clients.Go(func() {
				body := make([]byte, 1<<20+i)
				_, _ = rand.NewChaCha8([32]byte{byte(i)}).Read(body)
				var sent io.Reader = bytes.NewReader(body)
				if i%2 == 0 {
					sent = io.MultiReader(sent) // of unknown length
				}
				res, err := r.client.Do(r.two("POST", "/", sent))
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				sum := sha256.New()
				n, err := io.Copy(sum, res.Body)
				_ = res.Body.Close()
				if want := sha256.Sum256(body); err != nil || !bytes.Equal(sum.Sum(nil), want[:]) {
					t.Errorf("%s: %d bytes of %d came back, or others, %v", name, n, len(body), err)
				}
			})
		}
		clients.Wait()
		if got := p.results(t); len(got) != 8 || slices.Max(got) != balance.OK {
			t.Errorf("%s: leases ended as %v", name, got)
		}
	}
}

// A client that reads slowly gets all, and delays no other.
func TestHTTP2SlowReader(t *testing.T) { eachServer(t, testHTTP2SlowReader) }

func testHTTP2SlowReader(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 1<<18)
	for name, front := range fronts {
		s := server(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/large" {
				_, _ = io.WriteString(w, large)
			}
		})
		r := front(t, to(granted("a", s)), nil)
		res, err := r.client.Do(r.two("GET", "/large", nil))
		if err != nil {
			t.Fatal(err)
		}
		for range 10 { // beside it, by the same connection
			if res, _ := r.do(r.two("GET", "/", nil)); res.StatusCode != 200 {
				t.Errorf("%s: got %d", name, res.StatusCode)
			}
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || string(body) != large {
			t.Errorf("%s: got %d bytes of %d, %v", name, len(body), len(large), err)
		}
	}
}

// Trailers go both ways to a server of HTTP/1.1, and interim responses come.
func TestHTTP2TrailersOfHTTP1(t *testing.T) { eachServer(t, testHTTP2TrailersOfHTTP1) }

func testHTTP2TrailersOfHTTP1(t *testing.T) {
	for name, front := range fronts {
		s := server(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Del("Link")
			w.Header().Set("Trailer", "X-After")
			body, _ := io.ReadAll(r.Body)
			_, _ = w.Write(body)
			w.Header().Set("X-After", "response, "+r.Trailer.Get("X-After"))
		})
		r := front(t, to(granted("a", s)), nil)
		early := ""
		ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			early = strconv.Itoa(code) + " " + h.Get("Link")
			return nil
		}})
		req := r.two("POST", "/", io.MultiReader(strings.NewReader("body"))).WithContext(ctx)
		req.Trailer = http.Header{"X-After": {"request"}}
		res, body := r.do(req)
		if body != "body" || res.Trailer.Get("X-After") != "response, request" || early != "103 </style.css>; rel=preload" {
			t.Errorf("%s: got %q, trailers %v, before that %q", name, body, res.Trailer, early)
		}
	}
}

// Servers that are reached by TLS, which loops leave to others if it is by HTTP/1.1.
func TestHTTP2BodiesToServersByTLS(t *testing.T) {
	eachPicker(t, func(t *testing.T) {
		for _, protocol := range []routing.Protocol{routing.HTTP1, routing.HTTP2} {
			testHTTP2BodiesToServersByTLS(t, protocol)
		}
	})
}

func testHTTP2BodiesToServersByTLS(t *testing.T, protocol routing.Protocol) {
	theirs, believed := identity(t, "127.0.0.1")
	arrived := make(chan struct{}, 1)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			arrived <- struct{}{}
			<-r.Context().Done()
			return
		}
		if r.ProtoMajor != int(protocol)+1 || r.Header.Get("Via") != "2 evenkeel" || r.Header.Get("X-Forwarded-For") != "127.0.0.1" {
			t.Errorf("the server got %s %v", r.Proto, r.Header)
		}
		streaming(w, r)
	}))
	s.EnableHTTP2 = protocol == routing.HTTP2
	s.TLS = &tls.Config{Certificates: []tls.Certificate{theirs}}
	s.StartTLS()
	t.Cleanup(s.Close)
	p := to(balance.Grant{Server: "a", Address: "https://" + s.Listener.Addr().String()})
	r := runH2C(t, p, func(c *Config) {
		c.Listeners[0].Routes[0].ServerTLS = &tls.Config{RootCAs: believed}
		c.Listeners[0].Routes[0].ServerProtocol = protocol
	})
	large := strings.Repeat("0123456789abcdef", 1<<16)
	for _, body := range []string{"", "small", large} {
		if res, got := r.do(r.two("POST", "/", io.MultiReader(strings.NewReader(body)))); res.StatusCode != 200 || got != body {
			t.Errorf("got %d and %d bytes of %d", res.StatusCode, len(got), len(body))
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-arrived; cancel() }()
	if res, err := r.client.Do(r.two("GET", "/wait", nil).WithContext(ctx)); err == nil {
		_ = res.Body.Close()
		t.Errorf("got %s", res.Status)
	}
	p.wantResults(t, balance.OK, balance.OK, balance.OK, balance.Canceled)
}

// talker is a client of HTTP/2 that reads frames one by one.
type talker struct {
	*attacker
	t      *testing.T
	heap   *hpack.Decoder
	method string
}

func (r *running) talker(settings ...http2.Setting) *talker {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	c := &talker{attacker: &attacker{Conn: conn, Framer: http2.NewFramer(conn, bufio.NewReader(conn)), id: 1}, t: r.t, heap: hpack.NewDecoder(4096, nil), method: "POST"}
	c.AllowIllegalWrites, c.AllowIllegalReads = true, true
	c.pack = hpack.NewEncoder(&c.text)
	_, _ = io.WriteString(conn, http2.ClientPreface)
	_ = c.WriteSettings(settings...)
	return c
}

// block packs fields, given as "name value".
func (c *talker) block(fields ...string) []byte {
	c.text.Reset()
	for _, f := range append([]string{":method " + c.method, ":scheme http", ":authority a", ":path /"}, fields...) {
		name, value, _ := strings.Cut(f, " ")
		_ = c.pack.WriteField(hpack.HeaderField{Name: name, Value: value}) // into memory
	}
	return bytes.Clone(c.text.Bytes())
}

// open begins a stream.
func (c *talker) open(ended bool, fields ...string) uint32 {
	c.id += 2
	_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: c.id - 2, BlockFragment: c.block(fields...), EndStream: ended, EndHeaders: true})
	return c.id - 2
}

// hear reads what the edge says of a stream, of the connection for zero, until it has
// ended or enough is there; what each frame says is one line.
func (c *talker) hear(stream uint32, enough func(said string) bool) (said string) {
	c.t.Helper()
	for enough == nil || !enough(said) {
		f, err := c.ReadFrame()
		if err != nil {
			return said + "end\n"
		}
		var fields []hpack.HeaderField
		if f, ok := f.(*http2.HeadersFrame); ok { // of whatever stream, since later ones refer to it
			if fields, err = c.heap.DecodeFull(f.HeaderBlockFragment()); err != nil {
				c.t.Fatal(err)
			}
		}
		if f.Header().StreamID != stream {
			continue
		}
		switch f := f.(type) {
		case *http2.HeadersFrame:
			for _, field := range fields {
				if field.Name == ":status" || strings.HasPrefix(field.Name, "x-after") {
					said += field.Name + " " + field.Value + "\n"
				}
			}
			if f.StreamEnded() {
				return said + "ended\n"
			}
		case *http2.DataFrame:
			if len(f.Data()) > 0 {
				said += "data " + string(f.Data()) + "\n"
			}
			if f.StreamEnded() {
				return said + "ended\n"
			}
		case *http2.RSTStreamFrame:
			return said + "reset " + f.ErrCode.String() + "\n"
		case *http2.GoAwayFrame:
			said += "goaway " + f.ErrCode.String() + "\n"
		case *http2.PingFrame:
			said += "ping " + string(f.Data[:]) + "\n"
		}
	}
	return said
}

// The same frames to both implementations have the same answer, or nearly.
func TestHTTP2Streams(t *testing.T) { eachPicker(t, testHTTP2Streams) }

func testHTTP2Streams(t *testing.T) {
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %s", r.Method, r.Header.Get("Cookie"), body)
	})
	p := to(granted("a", s))
	r := runH2C(t, p, func(c *Config) { c.Listeners[0].BodyLimit = 100 })
	for _, c := range []struct {
		name  string
		talk  func(*talker) uint32
		want  string
		lease bool // the master may be asked
	}{
		{"cookies", func(c *talker) uint32 { return c.open(true, "cookie a=1", "cookie b=2") }, ":status 200\ndata POST a=1; b=2 \nended\n", true},
		{"padding", func(c *talker) uint32 {
			_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.block("content-length 4"), EndHeaders: true, PadLength: 9, Priority: http2.PriorityParam{StreamDep: 7, Weight: 3}})
			_ = c.WriteDataPadded(1, false, []byte("bo"), make([]byte, 200))
			_ = c.WriteDataPadded(1, true, []byte("dy"), make([]byte, 2))
			return 1
		}, ":status 200\ndata POST  body\nended\n", true},
		{"a head in pieces", func(c *talker) uint32 {
			block := c.block("cookie " + strings.Repeat("x", 5))
			_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:3], EndStream: true})
			_ = c.WriteContinuation(1, false, nil)
			_ = c.WriteContinuation(1, false, block[3:9])
			_ = c.WriteContinuation(1, true, block[9:])
			return 1
		}, ":status 200\ndata POST xxxxx \nended\n", true},
		{"trailers", func(c *talker) uint32 {
			id := c.open(false)
			_ = c.WriteData(id, false, []byte("body"))
			c.text.Reset()
			_ = c.pack.WriteField(hpack.HeaderField{Name: "x-after", Value: "y"})
			_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.text.Bytes(), EndStream: true, EndHeaders: true})
			return id
		}, ":status 200\ndata POST  body\nended\n", true},
		{"less than was said", func(c *talker) uint32 {
			id := c.open(false, "content-length 5")
			_ = c.WriteData(id, true, []byte("body"))
			return id
		}, "reset PROTOCOL_ERROR\n", true},
		{"more than was said", func(c *talker) uint32 {
			id := c.open(false, "content-length 3")
			_ = c.WriteData(id, true, []byte("body"))
			return id
		}, "reset PROTOCOL_ERROR\n", true},
		{"a body behind its end", func(c *talker) uint32 { return c.open(true, "content-length 3") }, "reset PROTOCOL_ERROR\n", false},
		{"a capital letter", func(c *talker) uint32 { return c.open(true, "X-A 1") }, "reset PROTOCOL_ERROR\n", false},
		{"CONNECT", func(c *talker) uint32 {
			c.text.Reset()
			_ = c.pack.WriteField(hpack.HeaderField{Name: ":method", Value: "CONNECT"})
			_ = c.pack.WriteField(hpack.HeaderField{Name: ":authority", Value: "a:1"})
			_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.text.Bytes(), EndStream: true, EndHeaders: true})
			return 1
		}, ":status 501\n", false},
		{"one to itself", func(c *talker) uint32 {
			_ = c.WriteWindowUpdate(0, 1<<31-1)
			return 0
		}, "goaway FLOW_CONTROL_ERROR\n", false},
		{"a ping", func(c *talker) uint32 {
			_ = c.WritePing(false, [8]byte([]byte("12345678")))
			return 0
		}, "ping 12345678\n", false},
	} {
		p.mu.Lock()
		before := len(p.asks)
		p.mu.Unlock()
		talker := r.talker()
		id := c.talk(talker)
		if got := talker.hear(id, func(said string) bool { return id == 0 && said != "" || strings.HasPrefix(said, ":status 501") }); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
		_ = talker.Close()
		p.mu.Lock()
		if asked := len(p.asks) > before; asked && !c.lease {
			t.Errorf("%s: the master was asked", c.name)
		}
		p.mu.Unlock()
	}
	p.results(t)
}

// An answer that does not wait for the request's body ends the stream without a fault
// (RFC 9113, 8.1).
func TestHTTP2EarlyAnswer(t *testing.T) { eachServer(t, testHTTP2EarlyAnswer) }

func testHTTP2EarlyAnswer(t *testing.T) {
	p := to(granted("a", server(t, echo)))
	r := runH2C(t, p, func(c *Config) { c.Listeners[0].BodyLimit = 10 })
	c := r.talker()
	id := c.open(false, "content-length 100")
	if got := c.hear(id, nil); !strings.HasPrefix(got, ":status 413\ndata {") || !strings.HasSuffix(got, "\nended\n") {
		t.Errorf("got %q", got)
	}
	_ = c.WriteData(id, true, []byte("late")) // was on its way: no fault
	id = c.open(true)
	if got := c.hear(id, nil); got != ":status 200\ndata POST / \nended\n" {
		t.Errorf("another request: got %q", got)
	}
}

// A client's GOAWAY is about streams that we would begin. Its own are served.
func TestHTTP2ClientsGoAwayEndsNoStreams(t *testing.T) {
	eachPicker(t, testHTTP2ClientsGoAwayEndsNoStreams)
}

func testHTTP2ClientsGoAwayEndsNoStreams(t *testing.T) {
	r := runH2C(t, to(granted("a", server(t, echo))), nil)
	c := r.talker()
	for range 2 {
		if err := c.WriteGoAway(0, http2.ErrCodeNo, nil); err != nil {
			t.Fatal(err)
		}
		id := c.open(true)
		if got := c.hear(id, nil); got != ":status 200\ndata POST / \nended\n" {
			t.Errorf("a request behind GOAWAY: got %q", got)
		}
	}
}

// No more goes to a client than its windows let through, and all of it when they open.
func TestHTTP2Windows(t *testing.T) { eachPicker(t, testHTTP2Windows) }

func testHTTP2Windows(t *testing.T) {
	const body = "0123456789abcdefghijklmnopqrstuvwxyz"
	s := server(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, body) })
	r := runH2C(t, to(granted("a", s)), nil)
	c := r.talker(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0})
	c.heap.SetMaxDynamicTableSize(0)
	id := c.open(true)
	got := c.hear(id, func(said string) bool { return strings.Count(said, "\n") == 2 })
	if want := ":status 200\ndata 0123456789\n"; got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
	_ = c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 5}) // five less than nothing
	_ = c.WriteWindowUpdate(id, 6)
	if got := c.hear(id, func(said string) bool { return said != "" }); got != "data a\n" {
		t.Fatalf("got %q, want one byte", got)
	}
	_ = c.WriteWindowUpdate(id, 1000)
	if got := strings.ReplaceAll(c.hear(id, nil), "\ndata ", ""); got != "data "+body[11:]+"\nended\n" {
		t.Errorf("got %q, want the rest", got)
	}
}

// One stream more than is allowed is refused, and others go on.
func TestHTTP2StreamsAreBounded(t *testing.T) { eachPicker(t, testHTTP2StreamsAreBounded) }

func testHTTP2StreamsAreBounded(t *testing.T) {
	release := make(chan struct{})
	s := server(t, func(w http.ResponseWriter, r *http.Request) { <-release; echo(w, r) })
	p := to(granted("a", s))
	r := runH2C(t, p, nil)
	c := r.talker()
	_ = c.WriteSettingsAck()
	for range h2conn.MaxStreams {
		c.open(true)
	}
	r.asked(h2conn.MaxStreams)
	if got := c.hear(c.open(true), nil); got != "reset REFUSED_STREAM\n" && got != "reset PROTOCOL_ERROR\n" {
		t.Errorf("got %q", got)
	}
	close(release)
	if got := c.hear(1, nil); got != ":status 200\ndata POST / \nended\n" {
		t.Errorf("the first stream: got %q", got)
	}
	if got := p.results(t); len(got) != h2conn.MaxStreams || slices.Max(got) != balance.OK {
		t.Errorf("leases ended as %v", got)
	}
}

// Nor does a request of HTTP/2, where a loop serves it.
func TestHTTP2RequestsAllocateNothing(t *testing.T) {
	eachPicker(t, func(t *testing.T) {
		t.Run("to HTTP/1.1", func(t *testing.T) { testHTTP2RequestsAllocateNothing(t, routing.HTTP1) })
		t.Run("to HTTP/2", func(t *testing.T) { testHTTP2RequestsAllocateNothing(t, routing.HTTP2) })
	})
}

func testHTTP2RequestsAllocateNothing(t *testing.T, to routing.Protocol) {
	allocateNothing(t, true, to, func(conn net.Conn) func() {
		_, _ = io.WriteString(conn, http2.ClientPreface)
		c := &talker{attacker: &attacker{Framer: http2.NewFramer(conn, conn), id: 1}, method: "GET"}
		c.pack = hpack.NewEncoder(&c.text)
		_ = c.WriteSettings()
		_ = c.WriteSettingsAck()
		fields := []string{"user-agent test", "accept */*", "cookie a=b"}
		frame, answer := h2.AppendFrame(nil, 0, h2.Headers, 0, 0), make([]byte, 4096)
		return func() {
			if c.id < 5 { // later ones are packed as the second is
				block := c.block(fields...)
				frame = append(h2.AppendFrame(nil, len(block), h2.Headers, h2.EndStream|h2.EndHeaders, 0), block...)
			}
			binary.BigEndian.PutUint32(frame[5:], c.id)
			c.id += 2
			_, _ = conn.Write(frame)
			for got := answer[:0]; !bytes.HasSuffix(got, []byte("hello")); {
				n, err := conn.Read(answer[len(got):])
				if got = answer[:len(got)+n]; err != nil {
					t.Fatalf("got %q, %v", got, err)
				}
			}
		}
	})
}

// A connection that is not needed ends, and its client is told that nothing was lost.
func TestHTTP2IdleConnectionsEnd(t *testing.T) {
	t.Parallel()
	eachPicker(t, testHTTP2IdleConnectionsEnd)
}

func testHTTP2IdleConnectionsEnd(t *testing.T) {
	r := runH2C(t, to(granted("a", server(t, echo))), func(c *Config) { c.Listeners[0].IdleTimeout = time.Second })
	c := r.talker()
	if got := c.hear(c.open(true), nil); got != ":status 200\ndata POST / \nended\n" {
		t.Errorf("got %q", got)
	}
	if got := c.hear(0, func(said string) bool { return strings.HasSuffix(said, "end\n") }); got != "goaway NO_ERROR\nend\n" {
		t.Errorf("then got %q", got)
	}
}

// A stopping edge tells so, lets what is under way end, and takes nothing beyond.
func TestHTTP2GoAway(t *testing.T) { eachPicker(t, testHTTP2GoAway) }

func testHTTP2GoAway(t *testing.T) {
	release := make(chan struct{})
	s := server(t, func(w http.ResponseWriter, r *http.Request) { <-release; echo(w, r) })
	p := to(granted("a", s))
	r := runH2C(t, p, nil)
	c := r.talker()
	id := c.open(true)
	r.asked(1)
	r.stop()
	if got := c.hear(0, func(said string) bool { return strings.Contains(said, "goaway") }); got != "goaway NO_ERROR\n" {
		t.Errorf("got %q", got)
	}
	close(release)
	if got := c.hear(id, nil); got != ":status 200\ndata POST / \nended\n" {
		t.Errorf("the request under way got %q", got)
	}
	_ = c.Close()
	if err := <-r.stopped; err != nil {
		t.Error(err)
	}
	p.wantResults(t, balance.OK)
}

// A head that does not come to its end is not waited for.
func TestHTTP2HalfAHeadEnds(t *testing.T) {
	t.Parallel()
	eachPicker(t, func(t *testing.T) {
		r := runH2C(t, newFakePicker(), func(c *Config) { c.Listeners[0].HeaderTimeout = time.Second })
		c := r.talker()
		_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.block()[:3]})
		if got := c.hear(0, func(said string) bool { return strings.HasSuffix(said, "end\n") }); got != "goaway PROTOCOL_ERROR\nend\n" {
			t.Errorf("got %q", got)
		}
	})
}

// Whatever a client of HTTP/2 sends, the edge goes on serving others, and gives all leases back.
func FuzzHTTP2Client(f *testing.F) {
	var text bytes.Buffer
	pack := hpack.NewEncoder(&text)
	for _, field := range []string{":method PUT", ":scheme http", ":authority a", ":path /", "content-length 3"} {
		name, value, _ := strings.Cut(field, " ")
		_ = pack.WriteField(hpack.HeaderField{Name: name, Value: value}) // into memory
	}
	head := func(flags h2.Flags, stream uint32, block []byte) []byte {
		return append(h2.AppendFrame(nil, len(block), h2.Headers, flags, stream), block...)
	}
	data := append(h2.AppendFrame(nil, 3, h2.Data, h2.EndStream, 1), "abc"...)
	f.Add(head(h2.EndHeaders, 1, text.Bytes()), data)
	f.Add(append(head(0, 1, text.Bytes()[:5]), append(h2.AppendFrame(nil, text.Len()-5, h2.Continuation, h2.EndHeaders, 1), text.Bytes()[5:]...)...), data)
	f.Add(append(head(h2.EndHeaders|h2.EndStream, 1, text.Bytes()[:4]), h2.AppendReset(nil, 1, h2.Cancel)...), h2.AppendWindowUpdate(nil, 0, 1<<30))
	f.Add(h2.AppendSettings(nil, h2.Chosen{Setting: h2.InitialWindowSize, Value: 1}), head(h2.EndHeaders|h2.EndStream, 3, text.Bytes()[:4]))
	s := httptest.NewServer(http.HandlerFunc(echo))
	f.Cleanup(s.Close)
	p := to(granted("a", s))
	address := fuzzed(f, Config{ID: "e1", Loops: 1, Listeners: []routing.Listener{{Listen: "127.0.0.1:0", H2C: true, Routes: []routing.Route{{Pool: "web"}}}}}, p)
	f.Fuzz(func(t *testing.T, first, second []byte) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		_, _ = conn.Write(h2.AppendSettings([]byte(h2.Preface), h2.Chosen{Setting: h2.EnablePush}))
		_, _ = conn.Write(first)
		_, _ = conn.Write(second)
		_ = conn.(*net.TCPConn).CloseWrite()
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the edge does not let go of the connection")
		}
		p.results(t)
	})
}

// fuzzed runs an edge for as long as a target is fuzzed, and returns where it listens.
func fuzzed(f *testing.F, cfg Config, p exchange.Picker) (address string) {
	f.Helper()
	e, err := New(cfg, p)
	if err != nil {
		f.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- e.Run(ctx, l) }()
	f.Cleanup(func() { stop(); <-stopped })
	return l.Addr().String()
}
