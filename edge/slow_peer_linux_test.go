//go:build !evenkeel_portable

package edge

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"golang.org/x/sys/unix"
)

// narrow has connections take little at once, as those over a network do.
func narrow(_, _ string, c syscall.RawConn) (err error) {
	bad := c.Control(func(lent uintptr) {
		if err = unix.SetsockoptInt(int(lent), unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<10); err == nil {
			err = unix.SetsockoptInt(int(lent), unix.IPPROTO_TCP, unix.TCP_MAXSEG, 1460)
		}
	})
	if bad != nil {
		return bad
	}
	return err
}

func listenNarrow(t *testing.T) net.Listener {
	t.Helper()
	cfg := net.ListenConfig{Control: narrow}
	l, err := cfg.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A request that has come whole may be more than the server's socket takes at once.
func TestSlowServer(t *testing.T) { eachServer(t, testSlowServer) }

func testSlowServer(t *testing.T) {
	read := make(chan struct{})
	p := to(scriptedAt(t, listenNarrow(t), func(conn *net.TCPConn, r *bufio.Reader) {
		<-read
		answering(func(_ *http.Request, body string) string {
			return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		})(conn, r)
	}))
	r := run(t, p, func(c *Config) { c.Loops = 1 })
	body := string(noise(exchange.MaxReplay))
	request := fmt.Sprintf("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	client := r.dial().send("%s", request)
	p.untilGranted()
	close(read)
	for range 2 {
		if res, got := client.response("PUT"); res.StatusCode != 200 || got != body {
			t.Fatalf("got %d and %d bytes, want what was sent", res.StatusCode, len(got))
		}
		client.send("%s", request)
	}
	client.response("PUT")
	p.wantResults(t, balance.OK, balance.OK, balance.OK)
}

// A client may ask much before it reads an answer; none is lost then, and none overtakes another.
func TestClientReadsLate(t *testing.T) { eachServer(t, testClientReadsLate) }

func testClientReadsLate(t *testing.T) {
	const asks = 1000
	p := to(scripted(t, answering(func(r *http.Request, _ string) string {
		body := strings.Repeat(r.URL.Path+" ", 1500/len(r.URL.Path))
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	})))
	r := run(t, p, func(c *Config) { c.Loops = 1 })
	dialer := net.Dialer{Control: narrow}
	conn, err := dialer.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	client := &rawClient{conn.(*net.TCPConn), bufio.NewReader(conn), t}
	var all bytes.Buffer
	for i := range asks {
		fmt.Fprintf(&all, "GET /%d HTTP/1.1\r\nHost: a\r\n\r\n", i)
	}
	client.send("%s", all.String())
	for i := range asks {
		res, got := client.response("GET")
		path := fmt.Sprintf("/%d", i)
		if want := strings.Repeat(path+" ", 1500/len(path)); res.StatusCode != 200 || got != want {
			t.Fatalf("answer %d: %d %.20q… of %d bytes", i, res.StatusCode, got, len(got))
		}
	}
}
