package edge

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/proxy"
)

// Clients beyond the limit wait until another has gone, and are then served; their connections
// cost no descriptor meanwhile. Those who are there are served all the while.
func TestClientsBeyondTheLimitWait(t *testing.T) {
	for _, secure := range []bool{false, true} {
		p := newFakePicker()
		p.pick = among(granted("s1", server(t, echo)))
		change := func(c *Config) { c.Loops, c.Connections = 2, 3 }
		r := (*running)(nil)
		if secure {
			r = runSecure(t, p, change)
		} else {
			r = run(t, p, change)
		}
		dial := func() net.Conn {
			if secure {
				return r.dialSecure(nil)
			}
			conn, err := net.Dial("tcp", r.address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			return conn
		}
		ask := func(conn net.Conn) {
			t.Helper()
			_, _ = io.WriteString(conn, "GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || res.StatusCode != 200 {
				t.Fatalf("TLS %v: got %v, %v", secure, res, err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
		}
		var there []net.Conn
		for range 3 {
			there = append(there, dial())
			ask(there[len(there)-1])
		}
		if n := r.Edge.cfg.Places.Taken(); n != 3 {
			t.Errorf("TLS %v: %d places are taken, want 3", secure, n)
		}
		late, err := net.Dial("tcp", r.address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = late.Close() }()
		_, _ = io.WriteString(late, "GET /late HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") // of TLS it is told that this is none
		for _, conn := range there {
			ask(conn)
		}
		_ = late.SetReadDeadline(time.Now().Add(3 * proxy.AcceptPause))
		if n, err := late.Read(make([]byte, 1)); err == nil {
			t.Errorf("TLS %v: a client beyond the limit got %d bytes", secure, n)
		}
		_ = there[0].Close()
		_ = late.SetReadDeadline(time.Now().Add(time.Minute))
		if answer, err := io.ReadAll(late); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 ") {
			t.Errorf("TLS %v: once there was a place: got %q, %v", secure, answer, err)
		}
		for _, conn := range there[1:] {
			_ = conn.Close()
		}
		eventually(t, fmt.Sprintf("with TLS %v no place is taken any more", secure), func() bool { return r.Edge.cfg.Places.Taken() == 0 })
	}
}
