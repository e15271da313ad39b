package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/internal/logtest"
	"github.com/evenkeel-lb/evenkeel/preface"
)

// tcpServer is a server that does with each connection as it is told, until the test ends.
func tcpServer(t *testing.T, id balance.ServerID, serve func(*net.TCPConn)) balance.Grant {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			open.Go(func() {
				serve(conn.(*net.TCPConn))
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		open.Wait()
	})
	return balance.Grant{Server: id, Address: l.Addr().String()}
}

func echoTCP(c *net.TCPConn) {
	_, _ = io.Copy(c, c) // the client sees what is missing
	_ = c.CloseWrite()
}

// asTCP makes the first listener carry anything.
func asTCP(c *Config) { c.Listeners[0].Mode = routing.ModeTCP }

func (r *running) connect() *net.TCPConn {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	r.t.Cleanup(func() { _ = conn.Close() })
	return conn.(*net.TCPConn)
}

// exchangeAll sends text, ends its side and returns all that comes back.
func exchangeAll(t *testing.T, conn *net.TCPConn, text string) string {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	back, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("after %d bytes: %v", len(back), err)
	}
	return string(back)
}

func wantReset(t *testing.T, conn net.Conn) {
	t.Helper()
	if n, err := conn.Read(make([]byte, 100)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %d bytes and %v, want a reset", n, err)
	}
}

func TestTunnelIsOneFlight(t *testing.T) { eachPicker(t, testTunnelIsOneFlight) }

func testTunnelIsOneFlight(t *testing.T) {
	p := newFakePicker()
	p.pick = among(tcpServer(t, "s1", echoTCP))
	logged := new(logtest.Log)
	r := run(t, p, func(c *Config) {
		asTCP(c)
		c.Listeners[0].Routes[0].Key = "client"
		c.AccessLog = slog.New(slog.NewTextHandler(logged, nil))
	})
	conn := r.connect()
	for i := range 3 {
		text := fmt.Sprintf("ping %d", i)
		back := make([]byte, len(text))
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, back); err != nil || string(back) != text {
			t.Fatalf("got %q, %v", back, err)
		}
	}
	if n := r.Open(); n != 1 {
		t.Errorf("%d are open, want 1", n)
	}
	if back := exchangeAll(t, conn, "bye"); back != "bye" {
		t.Errorf("got %q", back)
	}
	p.wantResults(t, balance.OK)
	ask := p.asks[0]
	if ask.Key != "127.0.0.1" || ask.Client != netip.MustParseAddr("127.0.0.1") || ask.Method != "" || ask.Link != balance.LinkRoute {
		t.Errorf("asked %+v", ask)
	}
	r.stop()
	<-r.stopped
	line := logged.String()
	for _, want := range []string{"msg=connection", "bytes_in=21", "bytes_out=21", "pool=web", "server=s1", "lease=0000000000000001", "client=127.0.0.1", "attempts=1", "ended=ok"} {
		if !strings.Contains(line, want) {
			t.Errorf("access log has no %s: %s", want, line)
		}
	}
	for name, want := range map[string]string{
		`evenkeel_edge_connections_total{ended="ok",pool="web"}`:           "1",
		`evenkeel_edge_connection_bytes_total{direction="in",pool="web"}`:  "21",
		`evenkeel_edge_connection_bytes_total{direction="out",pool="web"}`: "21",
		`evenkeel_edge_in_flight{pool="web"}`:                              "0",
	} {
		if page := metricsPage(t, r.Edge); !strings.Contains(page, name+" "+want+"\n") {
			t.Errorf("metrics have no %s %s", name, want)
		}
	}
}

func metricsPage(t *testing.T, e *Edge) string {
	t.Helper()
	w := newPage()
	req, err := http.NewRequest("GET", "/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	e.Handler().ServeHTTP(w, req)
	return w.b.String()
}

type pageWriter struct {
	h http.Header
	b bytes.Buffer
}

func newPage() *pageWriter                        { return &pageWriter{h: make(http.Header)} }
func (w *pageWriter) Header() http.Header         { return w.h }
func (w *pageWriter) Write(p []byte) (int, error) { return w.b.Write(p) }
func (w *pageWriter) WriteHeader(int)             {}

func TestTunnelIsTriedElsewhere(t *testing.T) { eachPicker(t, testTunnelIsTriedElsewhere) }

func testTunnelIsTriedElsewhere(t *testing.T) {
	p := newFakePicker()
	p.pick = among(dead(t, "s1"), dead(t, "s2"), tcpServer(t, "s3", echoTCP))
	r := run(t, p, asTCP)
	if back := exchangeAll(t, r.connect(), "hello"); back != "hello" {
		t.Errorf("got %q", back)
	}
	p.wantResults(t, balance.Unreachable, balance.Unreachable, balance.OK)
}

func TestTunnelWithoutServerIsReset(t *testing.T) { eachPicker(t, testTunnelWithoutServerIsReset) }

func testTunnelWithoutServerIsReset(t *testing.T) {
	for name, pick := range map[string]func(context.Context, *balance.Request) (balance.Grant, error){
		"refused": func(context.Context, *balance.Request) (balance.Grant, error) {
			return balance.Grant{}, &balance.Refusal{Reason: balance.NoServer}
		},
		"unreachable": among(dead(t, "s1")),
		"no master": func(context.Context, *balance.Request) (balance.Grant, error) {
			return balance.Grant{}, errors.New("none")
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newFakePicker()
			p.pick = pick
			wantRefusal(t, run(t, p, asTCP), "")
		})
	}
}

func TestTunnelFallsBack(t *testing.T) { eachPicker(t, testTunnelFallsBack) }

func testTunnelFallsBack(t *testing.T) {
	p := newFakePicker()
	s := tcpServer(t, "s1", echoTCP)
	p.pick = func(context.Context, *balance.Request) (balance.Grant, error) {
		return balance.Grant{}, errors.New("no master")
	}
	p.snap = &balance.Snapshot{Servers: []balance.SnapshotServer{{ID: "s1", Address: s.Address}}}
	if back := exchangeAll(t, run(t, p, asTCP).connect(), "hello"); back != "hello" {
		t.Errorf("got %q", back)
	}
}

func TestTunnelsResetIsPassedOn(t *testing.T) { eachPicker(t, testTunnelsResetIsPassedOn) }

func testTunnelsResetIsPassedOn(t *testing.T) {
	t.Run("client's", func(t *testing.T) {
		linked, seen := make(chan error, 1), make(chan error, 1)
		p := newFakePicker()
		p.pick = among(tcpServer(t, "s1", func(c *net.TCPConn) {
			_, err := io.ReadFull(c, make([]byte, 4))
			linked <- err
			_, err = io.Copy(io.Discard, c)
			seen <- err
		}))
		r := run(t, p, asTCP)
		conn := r.connect()
		_, _ = io.WriteString(conn, "some") // fails with what follows
		if err := <-linked; err != nil {
			t.Fatal(err)
		}
		_ = conn.SetLinger(0)
		_ = conn.Close()
		if err := <-seen; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the server saw %v, want a reset", err)
		}
		p.wantResults(t, balance.Canceled)
	})
	t.Run("server's", func(t *testing.T) {
		p := newFakePicker()
		p.pick = among(tcpServer(t, "s1", func(c *net.TCPConn) {
			_, _ = io.ReadFull(c, make([]byte, 4)) // fails with what follows
			_, _ = io.WriteString(c, "an answer")
			_ = c.SetLinger(0)
		}))
		r := run(t, p, asTCP)
		conn := r.connect()
		_, _ = io.WriteString(conn, "some") // fails with what follows
		if _, err := io.ReadAll(conn); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client saw %v, want a reset", err)
		}
		p.wantResults(t, balance.Broken)
	})
}

func TestIdleTunnelIsCut(t *testing.T) { eachPicker(t, testIdleTunnelIsCut) }

func testIdleTunnelIsCut(t *testing.T) {
	p := newFakePicker()
	p.pick = among(tcpServer(t, "s1", echoTCP))
	r := run(t, p, func(c *Config) { asTCP(c); c.Listeners[0].IdleTimeout = 10 * time.Millisecond })
	wantReset(t, r.connect())
	p.wantResults(t, balance.Canceled)
}

func TestTunnelWhoseClientBreaksOffIsNotLinked(t *testing.T) {
	eachPicker(t, testTunnelWhoseClientBreaksOffIsNotLinked)
}

func testTunnelWhoseClientBreaksOffIsNotLinked(t *testing.T) {
	p := newFakePicker()
	asked := make(chan struct{})
	tell := sync.OnceFunc(func() { close(asked) })
	p.pick = func(ctx context.Context, _ *balance.Request) (balance.Grant, error) {
		tell()
		<-ctx.Done()
		return balance.Grant{}, ctx.Err()
	}
	r := run(t, p, asTCP)
	conn := r.connect()
	<-asked
	_ = conn.SetLinger(0)
	_ = conn.Close()
	for limit := time.Now().Add(time.Minute); r.Open() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("the ask is still open")
		}
	}
}

func TestTunnelsDrain(t *testing.T) { eachPicker(t, testTunnelsDrain) }

func testTunnelsDrain(t *testing.T) {
	p := newFakePicker()
	p.pick = among(tcpServer(t, "s1", echoTCP))
	r := run(t, p, asTCP)
	finishes := r.connect()
	r.asked(1)
	r.stop()
	if back := exchangeAll(t, finishes, "last words"); back != "last words" {
		t.Errorf("got %q", back)
	}
	<-r.stopped
	p.wantResults(t, balance.OK)

	r = run(t, p, func(c *Config) { asTCP(c); c.DrainTime = 10 * time.Millisecond })
	stays := r.connect()
	r.asked(2)
	r.stop()
	wantReset(t, stays)
	p.wantResults(t, balance.OK, balance.Canceled)
}

// Where another edge goes on in this one's place, tunnels take as long as they do, until
// they have had enough of that.
func TestTunnelsOutliveTheirListener(t *testing.T) { eachPicker(t, testTunnelsOutliveTheirListener) }

func testTunnelsOutliveTheirListener(t *testing.T) {
	p := newFakePicker()
	p.pick = among(tcpServer(t, "s1", echoTCP))
	r := run(t, p, func(c *Config) { asTCP(c); c.DrainTime = time.Nanosecond })
	conn := r.connect()
	r.asked(1)
	r.Replace()
	r.stop()
	for { // until the socket is closed, after which the drain begins
		late, err := net.Dial("tcp", r.address)
		if err != nil {
			break
		}
		_ = late.Close()
	}
	const word = "still here"
	for range 3 {
		_, _ = io.WriteString(conn, word) // what comes back tells
		if back := make([]byte, len(word)); readFull(conn, back) != word {
			t.Fatalf("got %q", back)
		}
	}
	r.Finish()
	wantReset(t, conn)
	if got := p.results(t)[0]; got != balance.Canceled {
		t.Errorf("the lease ended as %v, want canceled", got)
	}
}

func readFull(r io.Reader, b []byte) string {
	n, _ := io.ReadFull(r, b) // what is missing tells
	return string(b[:n])
}

func TestTunnelsByServerName(t *testing.T) { eachPicker(t, testTunnelsByServerName) }

func testTunnelsByServerName(t *testing.T) {
	p := newFakePicker()
	say := func(what string) balance.Grant {
		return tcpServer(t, balance.ServerID(what), func(c *net.TCPConn) {
			b, err := io.ReadAll(c)
			_, _ = fmt.Fprintf(c, "%s: %d bytes, %v", what, len(b), err)
		})
	}
	servers := map[string]balance.Grant{"a": say("a"), "sub": say("sub"), "any": say("any")}
	p.pick = func(_ context.Context, req *balance.Request) (balance.Grant, error) {
		switch {
		case req.Host == "a.example":
			return servers["a"], nil
		case strings.HasSuffix(req.Host, ".sub.example"):
			return servers["sub"], nil
		}
		return servers["any"], nil
	}
	r := run(t, p, func(c *Config) {
		asTCP(c)
		c.Listeners[0].Routes = []routing.Route{{Host: "a.example", Pool: "a"}, {Host: "*.sub.example", Pool: "sub"}, {Pool: "any"}}
	})
	for name, want := range map[string]string{"a.example": "a", "x.sub.example": "sub", "b.example": "any", "": "any"} {
		hello := "SSH-2.0-nobody"
		if name != "" {
			hello = string(firstMessage(t, name))
		}
		conn := r.connect()
		for _, part := range []string{hello[:len(hello)/2], hello[len(hello)/2:]} {
			_, _ = io.WriteString(conn, part) // the server says how much came
		}
		_ = conn.CloseWrite()
		back, err := io.ReadAll(conn)
		if got, all := string(back), fmt.Sprintf("%s: %d bytes, <nil>", want, len(hello)); got != all || err != nil {
			t.Errorf("%q: got %q, %v; want %q", name, got, err, all)
		}
	}

	only := run(t, p, func(c *Config) {
		asTCP(c)
		c.Listeners[0].Routes = []routing.Route{{Host: "a.example", Pool: "a"}}
		c.Listeners[0].HeaderTimeout = 20 * time.Millisecond
	})
	for what, first := range map[string][]byte{"another name": firstMessage(t, "b.example"), "no TLS": []byte("GET / HTTP/1.1\r\n\r\n"), "silence": nil, "half a hello": firstMessage(t, "a.example")[:40]} {
		t.Log(what)
		wantRefusal(t, only, string(first))
	}
}

// firstMessage is what a client says to the server of that name.
func firstMessage(t *testing.T, name string) []byte {
	t.Helper()
	client, server := net.Pipe()
	first := make(chan []byte, 1)
	go func() {
		b := make([]byte, 16<<10)
		n, _ := server.Read(b) // none: the test fails
		_ = server.Close()
		first <- b[:n]
	}()
	_ = tls.Client(client, &tls.Config{ServerName: name}).Handshake() // ends with the pipe
	_ = client.Close()
	return <-first
}

func loopback(c *Config) {
	c.Listeners[0].ProxyTrusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
}

func TestProxyHeaderThroughTunnel(t *testing.T) { eachPicker(t, testProxyHeaderThroughTunnel) }

func testProxyHeaderThroughTunnel(t *testing.T) {
	told := preface.Proxy{Source: netip.MustParseAddrPort("192.0.2.7:4711"), Destination: netip.MustParseAddrPort("192.0.2.1:443")}
	for version, want := range map[int]string{0: "hello", 1: string(told.AppendV1(nil)) + "hello", 2: string(told.AppendV2(nil, "")) + "hello"} {
		p := newFakePicker()
		p.pick = among(tcpServer(t, "s1", echoTCP))
		r := run(t, p, func(c *Config) { asTCP(c); loopback(c); c.Listeners[0].Routes[0].SendProxy = version })
		for _, head := range [][]byte{told.AppendV1(nil), told.AppendV2(nil, "some.example")} {
			if back := exchangeAll(t, r.connect(), string(head)+"hello"); back != want {
				t.Errorf("version %d: the server got %q, want %q", version, back, want)
			}
		}
		if got := p.asks[0].Client; got != told.Source.Addr() {
			t.Errorf("asked for client %v, want %v", got, told.Source.Addr())
		}
		wantRefusal(t, r, "hello, I bring no header at all")
	}
	p := newFakePicker()
	p.pick = among(tcpServer(t, "s1", echoTCP))
	r := run(t, p, func(c *Config) { asTCP(c); c.Listeners[0].Routes[0].SendProxy = 1 })
	conn := r.connect()
	want := preface.Proxy{Source: addrPort(conn.LocalAddr()), Destination: addrPort(conn.RemoteAddr())}
	if back := exchangeAll(t, conn, ""); back != string(want.AppendV1(nil)) {
		t.Errorf("the server was told %q, want %v", back, want)
	}
}

// wantRefusal says something and wants the connection to be reset.
func wantRefusal(t *testing.T, r *running, text string) {
	t.Helper()
	conn, err := net.Dial("tcp", r.address)
	if errors.Is(err, syscall.ECONNRESET) {
		return // that was quick
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if text != "" { // even to write nothing would take the reset off the connection
		if _, err := io.WriteString(conn, text); errors.Is(err, syscall.ECONNRESET) {
			return
		}
	}
	wantReset(t, conn)
}

func TestProxyHeaderBeforeHTTP(t *testing.T) { eachPicker(t, testProxyHeaderBeforeHTTP) }

func testProxyHeaderBeforeHTTP(t *testing.T) {
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, r.Header.Get("X-Forwarded-For"))
	})))
	logged := new(logtest.Log)
	warned := new(logtest.Log)
	r := run(t, p, func(c *Config) {
		loopback(c)
		c.AccessLog, c.Log = slog.New(slog.NewTextHandler(logged, nil)), slog.New(slog.NewTextHandler(warned, nil))
	})
	const request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
	told := preface.Proxy{Source: netip.MustParseAddrPort("[2001:db8::7]:4711"), Destination: netip.MustParseAddrPort("[2001:db8::1]:80")}
	for _, c := range []struct{ head, client string }{
		{string(told.AppendV1(nil)), "2001:db8::7"}, {string(told.AppendV2(nil, "")), "2001:db8::7"}, {"PROXY UNKNOWN\r\n", "127.0.0.1"},
	} {
		if back := exchangeAll(t, r.connect(), c.head+request); !strings.HasSuffix(back, "\r\n\r\n"+c.client) {
			t.Errorf("%q: got %q, want the server to be told %s", c.head, back, c.client)
		}
	}
	if p.asks[0].Client != told.Source.Addr() || !strings.Contains(logged.String(), "client=2001:db8::7") {
		t.Errorf("asked for %v, logged %s", p.asks[0].Client, logged)
	}
	if strings.Contains(warned.String(), "PROXY header") {
		t.Errorf("warned before anything was wrong: %s", warned)
	}
	wantRefusal(t, r, request)
	eventually(t, "a warning that the header is missing", func() bool {
		return strings.Contains(warned.String(), "level=WARN msg=\"connection refused: the listener wants a PROXY header before all else\"")
	})
	wantRefusal(t, r, "PROXY TCP4 1.2.3.4 1.2.3.4 x y\r\n"+request)

	elsewhere := run(t, p, func(c *Config) { c.Listeners[0].ProxyTrusted = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} })
	wantRefusal(t, elsewhere, string(told.AppendV1(nil))+request)
	plain := run(t, p, nil)
	if back := plain.raw(string(told.AppendV1(nil)) + request); !strings.HasPrefix(back, "HTTP/1.1 400 ") {
		t.Errorf("a header that is not asked for got %q", back)
	}
}
