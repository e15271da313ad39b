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

	"golang.org/x/sys/unix"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
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
	body := string(noise(maxReplay))
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

// sayer is a conn of a pair of sockets in a batching loop that the test runs, and its owner.
type sayer struct {
	conn
	t     *testing.T
	peer  *fd.FD
	woken int
}

func (s *sayer) onReady() { s.woken++ }

func newSayer(t *testing.T) *sayer {
	t.Helper()
	l, err := newLoop(&loopEngine{edge: &Edge{cfg: Config{alwaysBatch: true}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.shutdown)
	s, _ := pairIn(t, l)
	s.turn()
	return s
}

// turn is one iteration of the loop.
func (s *sayer) turn() {
	events := make([]fd.Event, 8)
	l := s.loop
	l.handleEvents(events[:l.pollEvents(events)])
	l.runDeferred()
	l.flushWrites()
	l.batching = true // for what the test writes next
}

func (s *sayer) says(p string) {
	s.t.Helper()
	if n, err := s.write([]byte(p)); n != len(p) || err != nil {
		s.t.Fatalf("%.20q: %d bytes, %v", p, n, err)
	}
}

// heard returns what has come to the peer; ended: nothing more will.
func (s *sayer) heard() (all string, ended bool) {
	for p := make([]byte, 64<<10); ; {
		n, err := s.peer.Read(p)
		if n <= 0 {
			return all, n == 0 && err == nil
		}
		all += string(p[:n])
	}
}

func (s *sayer) wantHeard(want string, end bool) {
	s.t.Helper()
	if got, ended := s.heard(); got != want || ended != end {
		s.t.Fatalf("heard %q, ended %v; want %q, %v", got, ended, want, end)
	}
}

// What is written in an iteration is sent at its end, in order.
func TestSaidAtTheEndOfTheTurn(t *testing.T) {
	s := newSayer(t)
	s.says("one ")
	s.wantHeard("", false)
	s.says("two ") // which the first may not wait behind
	s.wantHeard("one two ", false)
	s.says("three")
	s.loop.flushWrites()
	s.wantHeard("three", false)
	s.says("last")
	if err := s.closeWrite(); err != nil {
		t.Fatal(err)
	}
	s.wantHeard("last", true)
}

// At most maxPendingWrites writes are deferred.
func TestSayingsDoNotPileUp(t *testing.T) {
	first := newSayer(t)
	first.says("first")
	for range maxPendingWrites {
		own, peer, err := fd.Pair()
		if err != nil {
			t.Fatal(err)
		}
		e := &conn{owner: first}
		if err := first.loop.register(e, own, readiness); err != nil {
			t.Fatal(err)
		}
		e.writable = true
		if _, err := e.write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			e.close()
			peer.Close()
		})
	}
	first.wantHeard("first", false)
}

// What the socket does not take at the end of the iteration is sent later, and nothing before it.
func TestSaidToFullSocket(t *testing.T) {
	s := newSayer(t)
	filled := 0
	for room := make([]byte, 1<<10); ; {
		n, err := s.fd.Write(room)
		if err != nil {
			break
		}
		filled += n
	}
	s.says("one ") // as far as the conn knows, there is room
	s.loop.flushWrites()
	if s.writable || s.allSent() || s.unsentBytes() != 4 {
		t.Fatalf("writable %v, sent %v, %d bytes kept; want 4 kept", s.writable, s.allSent(), s.unsentBytes())
	}
	if n, err := s.write([]byte("two")); n != 0 || err != nil {
		t.Fatalf("%d bytes taken, %v; want none while something is kept", n, err)
	}
	if clear, err := new(sendBuffer).flush(&s.conn); clear || err != nil {
		t.Fatalf("clear %v, %v; want false", clear, err)
	}
	if err := s.closeWrite(); err != nil {
		t.Fatal(err)
	}
	if got, ended := s.heard(); len(got) != filled || ended {
		t.Fatalf("heard %d bytes, ended %v; want %d", len(got), ended, filled)
	}
	s.turn() // the socket takes more
	s.wantHeard("one ", true)
	if !s.allSent() || !s.writable || s.woken != 2 {
		t.Fatalf("sent %v, writable %v, woken %d times", s.allSent(), s.writable, s.woken)
	}
}

// An error at the end of the iteration is reported by the next read or write, and that nothing was sent.
func TestSaidToNobody(t *testing.T) {
	s := newSayer(t)
	s.says("one")
	if !s.mayHaveSent(0) {
		t.Fatal("what goes at the end of the turn is taken for what never goes")
	}
	s.peer.Close()
	s.loop.flushWrites()
	if s.mayHaveSent(0) || !s.allSent() {
		t.Fatalf("the peer may have it: %v, sent %v; want that nothing went, and nothing waits", s.mayHaveSent(0), s.allSent())
	}
	if _, err := s.write([]byte("two")); err != syscall.EPIPE {
		t.Fatalf("write: %v, want %v", err, syscall.EPIPE)
	}
	if _, err := new(sendBuffer).flush(&s.conn); err != syscall.EPIPE {
		t.Fatalf("flush: %v, want %v", err, syscall.EPIPE)
	}
	s.unsentTail, s.sentBytes = &unsentTail{bytes: []byte("of more")}, 3
	if s.retryUnsent(); s.unsentTail == nil || !s.mayHaveSent(0) {
		t.Fatalf("%+v kept, the peer may have it: %v; want an error, and that a part had gone before", s.unsentTail, s.mayHaveSent(0))
	}
	before := s.woken
	s.turn()
	if s.woken == before || !s.readable {
		t.Fatalf("woken %d times more, readable %v", s.woken-before, s.readable)
	}
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
