package edge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/limits"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
	"golang.org/x/net/http2"
)

// reflect answers with the request's method, path, trailers and body.
func reflect(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if r.Header.Get("Expect") != "" {
		w.WriteHeader(http.StatusExpectationFailed)
	}
	_, _ = fmt.Fprintf(w, "%s %s %s%s", r.Method, r.URL.Path, r.Trailer.Get("X-After"), body)
}

// oneLoop runs an edge whose events are dealt with in their order.
func oneLoop(t *testing.T, p *fakePicker, change func(*Config)) *running {
	r := run(t, p, func(c *Config) {
		c.Loops = 1
		c.Listeners[0].H2C = true
		if change != nil {
			change(c)
		}
	})
	transport := r.client.Transport.(*http.Transport)
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(true)
	t.Cleanup(func() {
		r.stop()
		for range r.stopped {
		}
		if n := r.bodies.Used(); n != 0 || r.bodies.Waits.Load() != 0 {
			t.Errorf("%d bytes of memory are held, and %d bodies wait, after all has ended", n, r.bodies.Waits.Load())
		}
	})
	return r
}

// seen returns once all that was sent to the edge before has been dealt with: a request that comes
// later has been answered.
func (r *running) seen() {
	r.t.Helper()
	if res, body := r.do(r.request("GET", "/seen", "")); res.StatusCode != 200 || body != "GET /seen " {
		r.t.Fatalf("got %d %q", res.StatusCode, body)
	}
}

func (p *fakePicker) askedFor(path string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.asks {
		if p.asks[i].Path == path {
			n++
		}
	}
	return n
}

// pattern is a body in which a piece that is missing or repeated shows.
func pattern(n int) string {
	var b strings.Builder
	for b.Len() < n {
		fmt.Fprintf(&b, "%d,", b.Len())
	}
	return b.String()[:n]
}

func TestBodyIsThereBeforeAServerIsAskedFor(t *testing.T) { eachServer(t, testBodyIsThereFirst) }

func testBodyIsThereFirst(t *testing.T) {
	p := to(granted("a", server(t, reflect)))
	r := oneLoop(t, p, nil)
	for _, size := range []int{2, 5000, 20_000, 100_000, 300_000, 1 << 20} {
		body := pattern(size)
		client := r.dial()
		path := fmt.Sprintf("/%d", size)
		client.send("POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", path, size, body[:size/2])
		r.seen()
		if n := p.askedFor(path); n != 0 {
			t.Errorf("%d bytes: the master was asked when half of the body had come", size)
		}
		client.send("%sGET /next HTTP/1.1\r\nHost: a\r\n\r\n", body[size/2:])
		if res, got := client.response("POST"); res.StatusCode != 200 || got != "POST "+path+" "+body || res.Close {
			t.Errorf("%d bytes: got %d %.40q, close %v", size, res.StatusCode, got, res.Close)
		}
		if res, got := client.response("GET"); res.StatusCode != 200 || got != "GET /next " {
			t.Errorf("behind %d bytes: got %d %.40q", size, res.StatusCode, got)
		}
	}
}

func TestBodyInChunksIsThereBeforeAServerIsAskedFor(t *testing.T) { eachServer(t, testChunksFirst) }

func testChunksFirst(t *testing.T) {
	p := to(granted("a", server(t, reflect)))
	r := oneLoop(t, p, nil)
	for _, size := range []int{2, 5000, 20_000, 300_000} {
		body := pattern(size)
		for _, cut := range []int{0, 1, 3} { // bytes of the trailers that come with the body
			client := r.dial().send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-After\r\n\r\n")
			end := "X-After: y\r\nEvenkeel-Forged: z\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n"
			client.send("%x\r\n%s\r\n1;x=y\r\n!\r\n0\r\n%s", size, body, end[:cut])
			r.seen()
			client.send("%s", end[cut:])
			if res, got := client.response("PUT"); res.StatusCode != 200 || got != "PUT / y"+body+"!" || res.Close {
				t.Errorf("%d bytes: got %d %.40q, close %v", size, res.StatusCode, got, res.Close)
			}
			if res, got := client.response("GET"); res.StatusCode != 200 || got != "GET /next " {
				t.Errorf("behind %d bytes: got %d %.40q", size, res.StatusCode, got)
			}
		}
	}
}

func TestStreamsOfHTTP2AreReadBeforeAServerIsAskedFor(t *testing.T) { eachServer(t, testStreamsFirst) }

func testStreamsFirst(t *testing.T) {
	p := to(granted("a", server(t, reflect)))
	r := oneLoop(t, p, nil)
	c := r.talker()
	body := pattern(20_000)
	var ids []uint32
	for range 3 {
		id := c.open(false, "content-length 20000")
		_ = c.WriteData(id, false, []byte(body[:10_000]))
		ids = append(ids, id)
	}
	r.seen()
	if n := p.askedFor("/"); n != 0 {
		t.Fatalf("the master was asked %d times when half of the bodies had come", n)
	}
	for _, id := range ids {
		_ = c.WriteData(id, true, []byte(body[10_000:]))
		said := c.hear(id, nil)
		if got := strings.ReplaceAll(strings.TrimSuffix(said, "\nended\n"), "\ndata ", ""); got != ":status 200POST / "+body {
			t.Errorf("stream %d: got %.80q", id, said)
		}
	}
}

// Beyond the bound a body streams, and so it does without one.
func TestLongBodyStreamsBehindItsBuffer(t *testing.T) { eachServer(t, testLongBodyStreams) }

func testLongBodyStreams(t *testing.T) {
	p := to(granted("a", server(t, reflect)))
	for name, bound := range map[string]int64{"bounded": 50_000, "off": -1} {
		r := oneLoop(t, p, func(c *Config) { c.Listeners[0].Routes[0].BufferRequest = bound })
		for _, chunked := range []bool{false, true} {
			before := p.askedFor("/long")
			body := pattern(3 << 20)
			client := r.dial()
			if chunked {
				client.send("POST /long HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s", len(body), body[:60_000])
			} else {
				client.send("POST /long HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:60_000])
			}
			p.untilAsked("/long", before+1) // though the rest has not come
			if client.send("%s", body[60_000:]); chunked {
				client.send("\r\n0\r\n\r\n")
			}
			if res, got := client.response("POST"); res.StatusCode != 200 || got != "POST /long "+body {
				t.Errorf("%s: got %d and %d bytes", name, res.StatusCode, len(got))
			}
		}
	}
}

// untilAsked waits until a path has been asked for so often.
func (p *fakePicker) untilAsked(path string, n int) {
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		if p.askedFor(path) >= n {
			return
		}
		<-changed
	}
}

// A client that waits for the server to speak first is not kept waiting for ever.
func TestFullDuplexGoesOn(t *testing.T) { eachServer(t, testFullDuplex) }

func testFullDuplex(t *testing.T) {
	p := to(granted("a", server(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.WriteString(w, "first ")
		w.(http.Flusher).Flush()
		_, _ = io.Copy(w, r.Body)
	})))
	r := oneLoop(t, p, nil)
	client := r.dial().send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	res, err := http.ReadResponse(client.Reader, &http.Request{Method: "POST"})
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, len("first "))
	if _, err := io.ReadFull(res.Body, first); err != nil || string(first) != "first " {
		t.Fatalf("got %q, %v", first, err)
	}
	client.send("3\r\nyes\r\n0\r\n\r\n")
	if rest, err := io.ReadAll(res.Body); err != nil || string(rest) != "yes" {
		t.Errorf("got %q, %v", rest, err)
	}
}

// What was read before can be sent to another server, however large it is.
func TestBufferedBodyIsSentAgain(t *testing.T) { eachServer(t, testBufferedAgain) }

func testBufferedAgain(t *testing.T) {
	for _, size := range []int{1000, 20_000, 1 << 20} {
		p := newFakePicker()
		p.pick = among(granted("s0", server(t, dropping)), granted("s1", server(t, reflect)))
		r := oneLoop(t, p, nil)
		body := pattern(size)
		client := r.dial()
		client.send("PUT /p HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size)
		r.dial() // another packet, so that the body does not come with its head
		if res, got := client.send("%s", body).response("PUT"); res.StatusCode != 200 || got != "PUT /p "+body {
			t.Errorf("%d bytes: got %d %.40q", size, res.StatusCode, got)
		}
		p.wantResults(t, balance.Broken, balance.OK)
	}
}

// The edge itself tells a client to go on, once, and the server of no expectation.
func TestExpectationIsMetByTheEdge(t *testing.T) { eachServer(t, testExpectationMet) }

func testExpectationMet(t *testing.T) {
	p := to(granted("a", server(t, reflect)))
	r := oneLoop(t, p, nil)
	client := r.dial()
	for range 2 {
		if res, _ := client.send("POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").response("POST"); res.StatusCode != 100 {
			t.Fatalf("got %d, want 100", res.StatusCode)
		}
		if n := p.askedFor("/e"); n != 0 {
			t.Fatalf("the master was asked before the body had come")
		}
		if res, body := client.send("hello").response("POST"); res.StatusCode != 200 || body != "POST /e hello" || res.Close {
			t.Fatalf("got %d %q, close %v", res.StatusCode, body, res.Close)
		}
		p.mu.Lock()
		p.asks = nil
		p.mu.Unlock()
	}
	client.send("POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhe")
	r.seen()
	res, body := client.send("llo").response("POST")
	if res.StatusCode == 100 && fd.ReadsAhead { // the head may be known before what has come behind it
		res, body = client.response("POST")
	}
	if res.StatusCode != 200 || body != "POST /e hello" {
		t.Errorf("a client that did not wait: got %d %q", res.StatusCode, body)
	}
	talker := r.talker()
	id := talker.open(false, "expect 100-continue", "content-length 5")
	if said := talker.hear(id, func(said string) bool { return said != "" }); said != ":status 100\n" {
		t.Errorf("HTTP/2: got %q", said)
	}
	_ = talker.WriteData(id, true, []byte("hello"))
	if said := talker.hear(id, nil); said != ":status 200\ndata POST / hello\nended\n" {
		t.Errorf("HTTP/2: got %q", said)
	}
}

// When no memory is left, bodies wait unread, and go on when some is given back.
func TestBodiesWaitForMemory(t *testing.T) { eachServer(t, testBodiesWait) }

func testBodiesWait(t *testing.T) {
	p := to(granted("a", server(t, reflect)))
	r := oneLoop(t, p, func(c *Config) { c.BufferMemory = 1 << 20 })
	const clients, size = 20, 200_000
	body := pattern(size)
	var all []*rawClient
	for i := range clients {
		c := r.dial()
		c.send("POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", i, size)
		c.send("%s", body[:5000])
		all = append(all, c)
	}
	for r.bodies.Waits.Load() == 0 {
		r.seen()
	}
	if used := r.bodies.Used(); used > 1<<20 {
		t.Errorf("%d bytes are held, want at most 1 MiB", used)
	}
	var done sync.WaitGroup
	for i, c := range all {
		done.Go(func() {
			if _, err := io.WriteString(c.TCPConn, body[5000:]); err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			res, err := http.ReadResponse(c.Reader, &http.Request{Method: "POST"})
			if err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			if got, err := io.ReadAll(res.Body); err != nil || string(got) != fmt.Sprintf("POST /%d %s", i, body) {
				t.Errorf("client %d: got %d %.40q, %v", i, res.StatusCode, got, err)
			}
		})
	}
	done.Wait()
}

// A client that has its share of the memory holds no servers by bodies that do not come to their ends:
// they wait unread, a few at a time are read on, and others are served.
func TestBodiesBeyondAClientsShareWaitUnread(t *testing.T) { eachServer(t, testBodiesBeyondShare) }

func testBodiesBeyondShare(t *testing.T) {
	p := to(granted("a", server(t, reflect)))
	r := oneLoop(t, p, func(c *Config) { c.BufferMemory = 8 << 20 })
	const clients, size, kept = 24, 1_000_000, 1000
	body := pattern(size)
	finish := make(chan struct{})
	var done sync.WaitGroup
	for i := range clients {
		done.Go(func() {
			c := r.dial()
			c.send("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size)
			if _, err := io.WriteString(c.TCPConn, body[:size-kept]); err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			<-finish
			if _, err := io.WriteString(c.TCPConn, body[size-kept:]); err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			res, err := http.ReadResponse(c.Reader, &http.Request{Method: "POST"})
			if err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			if got, err := io.ReadAll(res.Body); err != nil || string(got) != "POST /up "+body {
				t.Errorf("client %d: got %d %.40q, %v", i, res.StatusCode, got, err)
			}
		})
	}
	for r.bodies.Waits.Load() < clients/2 && p.askedFor("/up") == 0 {
		r.seen()
	}
	victim := &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).DialContext}}
	defer victim.CloseIdleConnections()
	for range 3 {
		res, err := victim.Do(r.request("POST", "/victim", body[:300_000]))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(res.Body); err != nil || string(got) != "POST /victim "+body[:300_000] {
			t.Errorf("another client got %d %.40q, %v", res.StatusCode, got, err)
		}
		_ = res.Body.Close()
	}
	if n := p.askedFor("/up"); n != 0 {
		t.Errorf("%d servers are asked for by bodies that have not come to their ends", n)
	}
	if used := r.bodies.Used(); used > 8<<20 {
		t.Errorf("%d bytes are held, want at most 8 MiB", used)
	}
	close(finish)
	done.Wait()
}

// A body that has begun and finds no more memory is given up in time, since it holds some.
func TestBodiesThatWaitWithMemoryAreGivenUp(t *testing.T) {
	t.Parallel()
	eachServer(t, testBodiesGivenUp)
}

func testBodiesGivenUp(t *testing.T) {
	p := to(granted("a", server(t, reflect)))
	r := oneLoop(t, p, func(c *Config) {
		c.BufferMemory = 8 << 20
		c.Listeners[0].IdleTimeout = time.Second
		c.Listeners[0].Routes[0].BodyRate = -1
	})
	body := pattern(700_000)
	var all []*rawClient
	for range 12 {
		c := r.dial()
		c.send("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
		c.send("%s", body[:5000])
		all = append(all, c)
	}
	r.seen() // all have begun
	for _, c := range all {
		go func() { _, _ = io.WriteString(c.TCPConn, body[5000:]) }()
	}
	for i, c := range all {
		if res, text := c.response("POST"); res.StatusCode != 408 {
			t.Errorf("client %d: got %d %q, want 408", i, res.StatusCode, text)
		}
	}
	if n := p.askedFor("/up"); n != 0 {
		t.Errorf("%d servers were asked for", n)
	}
}

// A body that is too slow is answered 408, whether or not its server was asked for, and holds nothing.
func TestSlowBodiesAreGivenUp(t *testing.T) {
	t.Parallel()
	eachServer(t, testSlowBodies)
}

func testSlowBodies(t *testing.T) {
	p := to(granted("a", server(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })))
	r := oneLoop(t, p, func(c *Config) {
		c.bodyWindow = 300 * time.Millisecond
		c.Listeners[0].Routes = append(c.Listeners[0].Routes, routing.Route{Path: "/stream", Pool: "web", BufferRequest: -1})
	})
	for path, asked := range map[string]int{"/buffer": 0, "/stream": 1} {
		client := r.dial().send("POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nx", path)
		if res, body := client.response("POST"); res.StatusCode != 408 || !strings.Contains(body, "body-timeout") {
			t.Errorf("%s: got %d %q, want 408", path, res.StatusCode, body)
		}
		if n := p.askedFor(path); n != asked {
			t.Errorf("%s: the master was asked %d times, want %d", path, n, asked)
		}
	}
	p.wantResults(t, balance.Canceled)
}

// Of many requests without a length whose bodies do not come, a few hold a server, and not for long.
func TestSilentStreamsHoldFewServers(t *testing.T) {
	t.Parallel()
	eachPicker(t, testSilentStreams)
}

func testSilentStreams(t *testing.T) {
	p := to(granted("a", server(t, reflect)))
	r := oneLoop(t, p, func(c *Config) { c.bodyWindow = 900 * time.Millisecond })
	c := r.talker()
	var ids []uint32
	var all bytes.Buffer // sent at once: those that begin later would outlast the first
	framer := http2.NewFramer(&all, nil)
	for range 20 {
		ids = append(ids, c.id)
		_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: c.id, BlockFragment: c.block(), EndHeaders: true}) // into memory
		c.id += 2
	}
	_, _ = c.Conn.Write(all.Bytes())
	c.hearAll(ids, func(id uint32, said string) {
		if !strings.HasPrefix(said, ":status 408\n") {
			t.Errorf("stream %d: got %q, want 408", id, said)
		}
	})
	if n := p.askedFor("/"); n != 2 {
		t.Errorf("the master was asked for %d silent requests, want 2", n)
	}
	r.seen()
	p.wantResults(t, balance.Canceled, balance.Canceled, balance.OK)
}

// hearAll reads until each stream has been told a status, and its end.
func (c *talker) hearAll(ids []uint32, told func(id uint32, said string)) {
	c.t.Helper()
	for said, ended := make(map[uint32]string), 0; ended < len(ids); {
		f, err := c.ReadFrame()
		if err != nil {
			c.t.Fatalf("%d of %d streams have ended: %v", ended, len(ids), err)
		}
		id, last := f.Header().StreamID, false
		switch f := f.(type) {
		case *http2.HeadersFrame:
			fields, err := c.heap.DecodeFull(f.HeaderBlockFragment())
			if err != nil {
				c.t.Fatal(err)
			}
			said[id] += fields[0].Name + " " + fields[0].Value + "\n"
			last = f.StreamEnded()
		case *http2.DataFrame:
			last = f.StreamEnded()
		}
		if last {
			ended++
			told(id, said[id])
		}
	}
}

// grpcMessage is one of gRPC.
func grpcMessage(size int) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0}, uint32(size))
	return append(b, pattern(size)...)
}

// grpcEdge is an edge before a gRPC server that says how much it got, and another one that seen asks.
func grpcEdge(t *testing.T, change func(*Config)) (*fakePicker, *running) {
	grpc := granted("grpc", http2Server(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if r.Header.Get("First") != "" {
			_ = rc.Flush()
		}
		sum := sha256.New()
		n, _ := io.Copy(sum, r.Body)
		_, _ = fmt.Fprintf(w, "%d %x", n, sum.Sum(nil))
	}))
	other := granted("other", server(t, reflect))
	p := newFakePicker()
	p.pick = func(_ context.Context, req *balance.Request) (balance.Grant, error) {
		if req.Path == "/seen" {
			return other, nil
		}
		return grpc, nil
	}
	return p, oneLoop(t, p, func(c *Config) {
		c.Listeners[0].Routes = []routing.Route{{Pool: "web", ServerProtocol: routing.HTTP2}, {Path: "/seen", Pool: "web"}}
		if change != nil {
			change(c)
		}
	})
}

// pour writes a body as the windows let it.
func (c *talker) pour(id uint32, body []byte, last bool) {
	c.t.Helper()
	const most = 16 << 10
	for room := 64 << 10; len(body) > 0; {
		for room < min(len(body), most) {
			f, err := c.ReadFrame()
			if err != nil {
				c.t.Fatalf("%d bytes are left: %v", len(body), err)
			}
			if f, ok := f.(*http2.WindowUpdateFrame); ok && f.StreamID == id {
				room += int(f.Increment)
			}
		}
		n := min(len(body), most)
		_ = c.WriteData(id, last && n == len(body), body[:n])
		body, room = body[n:], room-n
	}
}

// A gRPC request asks for a server when its first message is there, whole.
func TestGRPCAsksWithItsFirstMessage(t *testing.T) { eachPicker(t, testGRPCFirstMessage) }

func testGRPCFirstMessage(t *testing.T) {
	p, r := grpcEdge(t, nil)
	for i, size := range []int{0, 10, 20_000, 900_000} {
		all := grpcMessage(size)
		c := r.talker()
		id := c.open(false, "content-type application/grpc")
		c.pour(id, all[:4], false)
		r.seen()
		c.pour(id, all[4:len(all)-1], false)
		r.seen()
		if n := p.askedFor("/"); n != i {
			t.Errorf("%d bytes: the master was asked before the last of them", size)
		}
		_ = c.WriteData(id, false, all[len(all)-1:])
		p.untilAsked("/", i+1) // though the stream goes on
		_ = c.WriteData(id, true, nil)
		want := fmt.Sprintf(":status 200\ndata %d %x\nended\n", len(all), sha256.Sum256(all))
		if said := c.hear(id, nil); said != want {
			t.Errorf("%d bytes: got %q, want %q", size, said, want)
		}
	}
}

// A message longer than the bound is not waited for.
func TestGRPCMessageBeyondTheBoundStreams(t *testing.T) { eachPicker(t, testGRPCLongMessage) }

func testGRPCLongMessage(t *testing.T) {
	p, r := grpcEdge(t, func(c *Config) { c.Listeners[0].Routes[0].BufferRequest = 100_000 })
	all := grpcMessage(500_000)
	c := r.talker()
	id := c.open(false, "content-type application/grpc")
	c.pour(id, all[:150_000], false)
	p.untilAsked("/", 1)
	_ = c.WriteSettings() // whose acknowledgement comes behind all window updates
	rest := all[150_000:]
	for room := 0; len(rest) > 0; {
		f, err := c.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if f, ok := f.(*http2.WindowUpdateFrame); ok && f.StreamID == id {
			room += int(f.Increment)
		}
		for n := min(room, len(rest), 16<<10); n > 0; n = min(room, len(rest), 16<<10) {
			_ = c.WriteData(id, n == len(rest), rest[:n])
			rest, room = rest[n:], room-n
		}
	}
	want := fmt.Sprintf(":status 200\ndata %d %x\nended\n", len(all), sha256.Sum256(all))
	if said := c.hear(id, nil); said != want {
		t.Errorf("got %q, want %q", said, want)
	}
}

// A gRPC stream that begins without a message asks after a while, but of one client only a few do as long
// as nothing comes; with its first message every one asks.
func TestSilentGRPCStreamsAskLate(t *testing.T) {
	t.Parallel()
	eachPicker(t, testSilentGRPC)
}

func testSilentGRPC(t *testing.T) {
	p, r := grpcEdge(t, nil)
	c := r.talker()
	var ids []uint32
	for range 6 {
		ids = append(ids, c.open(false, "content-type application/grpc"))
	}
	p.untilAsked("/", limits.MostStalls)
	for _, id := range ids {
		_ = c.WriteData(id, true, grpcMessage(10))
	}
	c.hearAll(ids, func(id uint32, said string) {
		if said != ":status 200\n" {
			t.Errorf("stream %d: got %q", id, said)
		}
	})
	if n := p.askedFor("/"); n != len(ids) {
		t.Errorf("the master was asked %d times, want %d", n, len(ids))
	}
}

// What was read of a body before a server that speaks TLS was asked for goes there whole, and what follows on the client's
// connection to another server.
func TestBufferedBodyGoesToATLSServer(t *testing.T) { eachPicker(t, testBufferedBodyGoesToATLSServer) }

func testBufferedBodyGoesToATLSServer(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(reflect))
	theirs, believed := identity(t, "127.0.0.1")
	s.TLS = &tls.Config{Certificates: []tls.Certificate{theirs}}
	s.StartTLS()
	t.Cleanup(s.Close)
	plain := granted("other", server(t, reflect))
	p := newFakePicker()
	p.pick = func(_ context.Context, req *balance.Request) (balance.Grant, error) {
		if req.Path == "/seen" {
			return plain, nil
		}
		return balance.Grant{Server: "a", Address: "https://" + s.Listener.Addr().String()}, nil
	}
	r := oneLoop(t, p, func(c *Config) {
		c.Listeners[0].Routes = []routing.Route{{Pool: "web", ServerTLS: &tls.Config{RootCAs: believed}}, {Path: "/seen", Pool: "web"}}
	})
	r.seen()
	body := pattern(200_000)
	for i, framing := range []string{fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body), fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\nX-After: y\r\n\r\n", len(body), body)} {
		client := r.dial().send("POST /p HTTP/1.1\r\nHost: a\r\n%s", framing)
		if i == 0 {
			client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
		}
		if res, got := client.response("POST"); res.StatusCode != 200 || got != "POST /p "+[]string{"", "y"}[i]+body {
			t.Errorf("%.20q: got %d %.40q", framing, res.StatusCode, got)
		}
		if i == 0 {
			if res, got := client.response("GET"); res.StatusCode != 200 || got != "GET /next " {
				t.Errorf("behind it: got %d %.40q", res.StatusCode, got)
			}
		}
	}
}
