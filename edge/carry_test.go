package edge

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// scripted is a server that does with each connection what the test says.
func scripted(t *testing.T, serve func(conn *net.TCPConn, r *bufio.Reader)) balance.Grant {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return scriptedAt(t, l, serve)
}

func scriptedAt(t *testing.T, l net.Listener, serve func(conn *net.TCPConn, r *bufio.Reader)) balance.Grant {
	var serving sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, conn)
			mu.Unlock()
			serving.Go(func() {
				defer func() { _ = conn.Close() }()
				serve(conn.(*net.TCPConn), bufio.NewReader(conn))
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, conn := range open {
			_ = conn.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return balance.Grant{Server: "s1", Address: l.Addr().String()}
}

// answering reads each request whole and writes what answer makes of it.
func answering(answer func(r *http.Request, body string) string) func(*net.TCPConn, *bufio.Reader) {
	return func(conn *net.TCPConn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return
			}
			if _, err := io.WriteString(conn, answer(req, string(body))); err != nil {
				return
			}
		}
	}
}

func to(g balance.Grant) *fakePicker {
	p := newFakePicker()
	p.pick = among(g)
	return p
}

// client is a raw connection to the edge.
type rawClient struct {
	*net.TCPConn
	*bufio.Reader
	t *testing.T
}

func (r *running) dial() *rawClient {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	return &rawClient{conn.(*net.TCPConn), bufio.NewReader(conn), r.t}
}

func (c *rawClient) send(format string, args ...any) *rawClient {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.TCPConn, format, args...); err != nil {
		c.t.Fatal(err)
	}
	return c
}

// response reads one, to a request of that method.
func (c *rawClient) response(method string) (*http.Response, string) {
	c.t.Helper()
	res, err := http.ReadResponse(c.Reader, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("response: %v", err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatalf("body: %v", err)
	}
	return res, string(body)
}

// ended reports whether the edge has closed the connection and said nothing more.
func (c *rawClient) ended() bool {
	rest, err := io.ReadAll(c.Reader)
	return err == nil && len(rest) == 0
}

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

func TestFramings(t *testing.T) { eachServer(t, testFramings) }

func testFramings(t *testing.T) {
	for _, c := range []struct {
		name, request, answer string
		method                string
		status                int
		body                  string
		keeps                 bool // the client's connection
		reused                bool // the server's
	}{
		{"length", get, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "GET", 200, "hello", true, true},
		{"no body", get, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "GET", 200, "", true, true},
		{"chunks", get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=\"y\"\r\nlo\r\n0\r\n\r\n", "GET", 200, "hello", true, true},
		{"204", get, "HTTP/1.1 204 No Content\r\n\r\n", "GET", 204, "", true, true},
		{"204 with a length", get, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "GET", 204, "", true, false},
		{"304", get, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "GET", 304, "", true, true},
		{"HEAD", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD", 200, "", true, true},
		{"server closes", get, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", "GET", 200, "hello", true, false},
		{"server of 1.0", get, "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", "GET", 200, "hello", true, false},
		{"surplus", get, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", "GET", 200, "hello", true, false},
		{"surplus behind chunks", get, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nx", "GET", 200, "", true, false},
		{"client closes", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "GET", 200, "hello", false, true},
		{"client of 1.0", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "GET", 200, "hello", false, true},
		{"chunks to 1.0", "GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", "GET", 200, "hello", false, false},
		{"interim", get, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "GET", 200, "hello", true, true},
		{"interim to 1.0", "GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "GET", 200, "hello", false, true},
		{"request in chunks", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "POST", 200, "ok", true, true},
		{"both lengths", get, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "GET", 502, "", true, false},
		{"no HTTP", "POST / HTTP/1.1\r\nHost: a\r\n\r\n", "SSH-2.0-x\r\n", "POST", 502, "", true, false},
		{"switch that was not asked for", "POST / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "POST", 502, "", true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var conns atomic.Int64
			p := to(scripted(t, func(conn *net.TCPConn, r *bufio.Reader) {
				conns.Add(1)
				answering(func(*http.Request, string) string { return c.answer })(conn, r)
			}))
			r := run(t, p, func(c *Config) { c.Loops = 1 })
			client := r.dial()
			for i := range 2 {
				client.send("%s", c.request)
				res, body := client.response(c.method)
				for res.StatusCode == 103 {
					res, body = client.response(c.method)
				}
				if res.StatusCode != c.status || c.status < 300 && body != c.body {
					t.Fatalf("got %d %q, want %d %q", res.StatusCode, body, c.status, c.body)
				}
				if c.name == "HEAD" && res.ContentLength != 5 {
					t.Errorf("HEAD: length %d, want 5", res.ContentLength)
				}
				if !c.keeps {
					if i == 0 && !client.ended() {
						t.Errorf("the client's connection lives on")
					}
					client = r.dial()
				} else if res.Close {
					t.Fatalf("the edge closes, want the connection kept")
				}
			}
			p.results(t)
			attempts := int64(len(p.granted))
			if got := conns.Load(); c.reused && got != 1 || !c.reused && got != attempts {
				t.Errorf("%d connections to the server for %d attempts, want it used again: %v", got, attempts, c.reused)
			}
		})
	}
}

func TestBodyEndedByClose(t *testing.T) { eachServer(t, testBodyEndedByClose) }

func testBodyEndedByClose(t *testing.T) {
	p := to(scripted(t, func(conn *net.TCPConn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\nhel")
			_, _ = io.WriteString(conn, "lo")
		}
	}))
	r := run(t, p, nil)
	client := r.dial()
	for range 2 {
		if res, body := client.send(get).response("GET"); body != "hello" || res.Close || len(res.TransferEncoding) == 0 {
			t.Errorf("got %q, close %v, %v; want it in chunks and the connection kept", body, res.Close, res.TransferEncoding)
		}
	}
	old := r.dial().send("GET / HTTP/1.0\r\n\r\n")
	if res, body := old.response("GET"); body != "hello" || !res.Close || !old.ended() {
		t.Errorf("got %q, close %v", body, res.Close)
	}
	p.wantResults(t, balance.OK, balance.OK, balance.OK)
}

func TestPipelining(t *testing.T) { eachServer(t, testPipelining) }

func testPipelining(t *testing.T) {
	p := to(scripted(t, answering(func(r *http.Request, body string) string {
		said := r.RequestURI + body
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(said), said)
	})))
	r := run(t, p, nil)
	client, want := r.dial(), []string{}
	var all strings.Builder
	for i := range 20 {
		switch i % 3 {
		case 0:
			fmt.Fprintf(&all, "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i)
			want = append(want, fmt.Sprintf("/%d", i))
		case 1:
			fmt.Fprintf(&all, "\r\nPOST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", i)
			want = append(want, fmt.Sprintf("/%dhi", i))
		case 2:
			fmt.Fprintf(&all, "POST /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\n\r\n", i)
			want = append(want, fmt.Sprintf("/%dhi", i))
		}
	}
	for _, piece := range []int{all.Len(), 7, 1} {
		go func() {
			for text := all.String(); text != ""; {
				n := min(piece, len(text))
				_, _ = io.WriteString(client.TCPConn, text[:n]) // the edge may refuse, which the reader sees
				text = text[n:]
			}
		}()
		for i := range want {
			if _, body := client.response("GET"); body != want[i] {
				t.Fatalf("in pieces of %d: answer %d is %q, want %q", piece, i, body, want[i])
			}
		}
	}
}

func TestTrailers(t *testing.T) {
	t.Parallel()
	eachServer(t, testTrailers)
}

func testTrailers(t *testing.T) {
	p := to(scripted(t, func(conn *net.TCPConn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			body, _ := io.ReadAll(req.Body)
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\nX-Sum: %s\r\nContent-Length: 7\r\nEndpoint-Load-Metrics: TEXT cpu_utilization=0.5\r\n\r\n",
				len(body), body, req.Trailer.Get("X-Own")+req.Trailer.Get("Evenkeel-Lease")+req.Trailer.Get("Host"))
		}
	}))
	r := run(t, p, nil)
	client := r.dial()
	whole := "POST / HTTP/1.1\r\nHost: a\r\nTrailer: X-Own, Evenkeel-Lease, Host\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Own: mine\r\nEvenkeel-Lease: 1\r\nHost: b\r\n\r\n"
	for i, cut := range []int{len(whole), len(whole) - 1, len(whole) - 20, len(whole) - 45, len(whole) - 52} {
		client.send("%s", whole[:cut])
		if cut < len(whole) {
			r.asked(i + 1)
			client.send("%s", whole[cut:])
		}
		res, body := client.response("POST")
		if body != "hello" || res.Trailer.Get("X-Sum") != "mine" || len(res.Trailer) != 1 {
			t.Fatalf("cut at %d: got %q, trailers %v", cut, body, res.Trailer)
		}
		p.results(t)
	}
}

func TestExpectContinue(t *testing.T) { eachServer(t, testExpectContinue) }

func testExpectContinue(t *testing.T) {
	var refuse atomic.Bool
	p := to(scripted(t, func(conn *net.TCPConn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if refuse.Load() {
				_, _ = io.WriteString(conn, "HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
			body, _ := io.ReadAll(req.Body)
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
	}))
	r := run(t, p, streamed)
	const head = "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
	client := r.dial()
	for range 2 {
		if res, _ := client.send(head).response("PUT"); res.StatusCode != 100 {
			t.Fatalf("got %d, want 100", res.StatusCode)
		}
		if res, body := client.send("hello").response("PUT"); res.StatusCode != 200 || body != "hello" || res.Close {
			t.Fatalf("got %d %q, close %v", res.StatusCode, body, res.Close)
		}
	}
	refuse.Store(true)
	client = r.dial().send(head)
	if res, _ := client.response("PUT"); res.StatusCode != 417 || !res.Close || !client.ended() {
		t.Errorf("got %d, close %v; want the refusal and the end, since it is not known whether the body comes", res.StatusCode, res.Close)
	}
}

// A server may answer before it has read the request's body.
func TestEarlyResponse(t *testing.T) { eachServer(t, testEarlyResponse) }

func testEarlyResponse(t *testing.T) {
	p := to(scripted(t, func(conn *net.TCPConn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 413 Too Much\r\nContent-Length: 4\r\n\r\nstop")
			_, _ = io.Copy(io.Discard, r)
		}
	}))
	r := run(t, p, nil)
	client := r.dial().send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
	writing := make(chan struct{})
	go func() {
		defer close(writing)
		for piece := make([]byte, 64<<10); ; {
			if _, err := client.Write(piece); err != nil {
				return
			}
		}
	}()
	if res, body := client.response("POST"); res.StatusCode != 413 || body != "stop" || !res.Close {
		t.Errorf("got %d %q, close %v", res.StatusCode, body, res.Close)
	}
	_ = client.Close()
	<-writing
	p.wantResults(t, balance.ClientError)
}

// What a server begins to say while the body still comes, goes to the client.
func TestBothWaysAtOnce(t *testing.T) { eachServer(t, testBothWaysAtOnce) }

func testBothWaysAtOnce(t *testing.T) {
	p := to(scripted(t, func(conn *net.TCPConn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for line := bufio.NewScanner(req.Body); line.Scan(); {
			_, _ = fmt.Fprintf(conn, "%x\r\n%s\r\n", len(line.Bytes()), line.Bytes())
		}
		_, _ = io.WriteString(conn, "0\r\n\r\n")
	}))
	r := run(t, p, nil)
	client := r.dial().send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	res, err := http.ReadResponse(client.Reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"one", "three", "two"} {
		client.send("%x\r\n%s\n\r\n", len(word)+1, word)
		got := make([]byte, len(word))
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != word {
			t.Fatalf("got %q, %v; want %q before more is sent", got, err, word)
		}
	}
	client.send("0\r\n\r\n")
	if rest, err := io.ReadAll(res.Body); err != nil || len(rest) != 0 {
		t.Errorf("got %q, %v", rest, err)
	}
	p.wantResults(t, balance.OK)
}

func noise(n int) []byte {
	b := make([]byte, n)
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func TestLongBodies(t *testing.T) { eachServer(t, testLongBodies) }

func testLongBodies(t *testing.T) {
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Header.Get("X-Length") != "" {
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		}
		_, _ = w.Write(body)
	})))
	r := run(t, p, nil)
	for _, size := range []int{1, 16 << 10, 32<<10 - 1, 64 << 10, 64<<10 + 1, 1 << 20, 9<<20 + 7} {
		for _, method := range []string{"POST", "PUT"} {
			for _, length := range []bool{true, false} {
				req := r.request(method, "/", "")
				body := noise(size)
				req.Body = io.NopCloser(bytes.NewReader(body))
				if length {
					req.ContentLength = int64(size)
					req.Header.Set("X-Length", "yes")
				}
				if res, got := r.do(req); res.StatusCode != 200 || got != string(body) {
					t.Errorf("%s of %d bytes, length told: %v: got %d with %d bytes back, or others", method, size, length, res.StatusCode, len(got))
				}
			}
		}
	}
	p.results(t)
}

// Both directions of a tunnel end by themselves.
func TestTunnelHalfClose(t *testing.T) { eachServer(t, testTunnelHalfClose) }

func testTunnelHalfClose(t *testing.T) {
	back := noise(8 << 20)
	there := noise(8<<20 + 1)
	p := to(scripted(t, func(conn *net.TCPConn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nfirst")
		got, err := io.ReadAll(r) // ends when the client's half does
		if err != nil || !bytes.Equal(got, append([]byte("early"), there...)) {
			_, _ = io.WriteString(conn, "not what was sent")
			return
		}
		_, _ = conn.Write(back)
	}))
	r := run(t, p, nil)
	for range 3 {
		client := r.dial().send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly")
		res, err := http.ReadResponse(client.Reader, nil)
		if err != nil || res.StatusCode != 101 {
			t.Fatalf("got %v, %v", res, err)
		}
		if _, err := client.TCPConn.Write(there); err != nil {
			t.Fatal(err)
		}
		if r.Open() != 1 {
			t.Errorf("%d requests are open, want the tunnel", r.Open())
		}
		_ = client.CloseWrite()
		got, err := io.ReadAll(client.Reader)
		if err != nil || !bytes.Equal(got, append([]byte("first"), back...)) {
			t.Fatalf("got %d bytes, %v; want %d", len(got), err, len(back)+5)
		}
	}
	p.wantResults(t, balance.OK, balance.OK, balance.OK)
}

// A response of chunks with trailers that comes in two pieces is passed on whole, wherever it is cut.
func TestResponsesInTwoPieces(t *testing.T) { eachServer(t, testResponsesInTwoPieces) }

func testResponsesInTwoPieces(t *testing.T) {
	const begin, rest = "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe", "llo\r\n0\r\nX-Sum: mine\r\n\r\n"
	seen, cut := make(chan struct{}), make(chan int, 1)
	p := to(scripted(t, func(conn *net.TCPConn, r *bufio.Reader) {
		for {
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			at := <-cut
			_, _ = io.WriteString(conn, begin+rest[:at])
			<-seen
			_, _ = io.WriteString(conn, rest[at:])
		}
	}))
	r := run(t, p, nil)
	client := r.dial()
	for at := range rest {
		cut <- at
		client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		for line := ""; line != "\r\n"; {
			var err error
			if line, err = client.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		seen <- struct{}{}
		for text := ""; !strings.HasSuffix(text, "0\r\nX-Sum: mine\r\n\r\n"); {
			line, err := client.ReadString('\n')
			if text += line; err != nil {
				t.Fatalf("cut at %d: %q, then %v", at, text, err)
			}
		}
	}
}
