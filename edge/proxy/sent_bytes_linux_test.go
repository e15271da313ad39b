//go:build !evenkeel_portable

package proxy

import (
	"io"
	"testing"

	"github.com/evenkeel-lb/evenkeel/edge/eventloop"
	"github.com/evenkeel-lb/evenkeel/edge/upstream"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// A request that had to wait for its server's socket, and went when that took more, has been
// sent: if the server dies then, a POST must not be repeated elsewhere.
func TestWhatGoesLaterHasBeenSent(t *testing.T) {
	near, far, err := fd.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	b := new(upstream.Conn)
	b.Conn.Loop, b.Conn.SentBytes = new(eventloop.Loop), 1000 // of the requests before
	b.Conn.FD = near.Move()
	defer b.Conn.FD.Close()
	f := &clientConn{linkedConn: linkedConn{server: b}, req: new(request)}
	b.SentBefore = b.SentBytes

	request := []byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
	if _, err := f.req.up.Write(&b.Conn, request); err != nil {
		t.Fatal(err)
	}
	if f.failure(io.EOF).Sent {
		t.Error("what waits for the socket counts as sent")
	}
	b.Writable = true
	if clear, err := f.req.up.Flush(&b.Conn); !clear || err != nil {
		t.Fatalf("flush: %v, %v", clear, err)
	}
	got := make([]byte, 100)
	if n, err := far.Read(got); err != nil || string(got[:n]) != string(request) {
		t.Fatalf("the server has %q, %v", got[:n], err)
	}
	if !f.failure(io.EOF).Sent {
		t.Error("the server has the whole request, which counts as not sent")
	}
}
