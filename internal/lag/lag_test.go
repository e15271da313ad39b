package lag

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
)

// repeater sends back what it gets.
func repeater(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

func through(t *testing.T, to string) (*Proxy, net.Conn) {
	t.Helper()
	p, err := Listen("127.0.0.1:0", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return p, c
}

func exchange(t *testing.T, c net.Conn, text string) {
	t.Helper()
	go func() { _, _ = io.WriteString(c, text) }()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("%d bytes came back, %v; want those that were sent", len(got), err)
	}
}

// All arrives, in order, and not before its time, each way.
func TestBytesComeLater(t *testing.T) {
	p, c := through(t, repeater(t))
	exchange(t, c, strings.Repeat("0123456789", 100_000))
	const delay = 20 * time.Millisecond
	p.Set(delay)
	sent := time.Now()
	exchange(t, c, "late")
	if took := time.Since(sent); took < 2*delay {
		t.Errorf("there and back took %v, want twice %v at least", took, delay)
	}
	p.Set(0)
	exchange(t, c, strings.Repeat("0123456789", 1000))
}

// Where the other end closes, or is not there, so does the proxy.
func TestEndsAreCarried(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, c := through(t, l.Addr().String())
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(far, "last words"); err != nil {
		t.Fatal(err)
	}
	_ = far.Close()
	if got, err := io.ReadAll(c); string(got) != "last words" || err != nil {
		t.Errorf("read %q, %v; want what was sent before the end", got, err)
	}
	port, err := freeport.Take("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	_, c = through(t, net.JoinHostPort("127.0.0.1", port))
	if got, err := io.ReadAll(c); len(got) > 0 || err != nil {
		t.Errorf("where none listens: read %q, %v; want the end", got, err)
	}
}
