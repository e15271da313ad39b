package edge

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/routing"
)

// A malformed head may be that of HEAD: it is answered with a body, since the connection ends. A good one's answer has none.
func TestHEADIsAnsweredByTheEdge(t *testing.T) { eachPicker(t, testHEADIsAnsweredByTheEdge) }

func testHEADIsAnsweredByTheEdge(t *testing.T) {
	r := run(t, newFakePicker(), func(c *Config) { c.Listeners[0].Routes = []routing.Route{{Host: "a.example", Pool: "p"}} })
	for _, c := range []struct {
		request string
		status  string
		body    bool
	}{
		{"HEAD / HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n", " 404 ", false},
		{"GET / HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n", " 404 ", true},
		{"HEAD / HTTP/1.1\r\nHost: other\r\nno field\r\n\r\n", " 400 ", true},
	} {
		head, body, whole := strings.Cut(r.raw(c.request), "\r\n\r\n")
		if !whole || !strings.Contains(head, c.status) || (body != "") != c.body {
			t.Errorf("%q: got %q and %q, want%sand a body %v", c.request, head, body, c.status, c.body)
		}
	}
}

// An idle TLS connection ends with close_notify, though it has had no request.
func TestIdleTLSEndsInOrder(t *testing.T) {
	r := runSecure(t, to(granted("a", server(t, echo))), func(c *Config) { c.Listeners[0].IdleTimeout = 50 * time.Millisecond })
	silent := r.dialSecure(func(c *tls.Config) { c.NextProtos = []string{routing.ALPNHTTP1} })
	if n, err := silent.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("it reads %d bytes, %v, want close_notify", n, err)
	}
}

// A client that says nothing is closed, without an answer, by the time that its head must have come.
func TestASilentClientIsClosed(t *testing.T) { eachPicker(t, testASilentClientIsClosed) }

func testASilentClientIsClosed(t *testing.T) {
	r := run(t, newFakePicker(), func(c *Config) { c.Listeners[0].HeaderTimeout = 20 * time.Millisecond })
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("it reads %d bytes, %v, want the end", n, err)
	}
}
