package edge

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/internal/fd"
	"github.com/evenkeel-lb/evenkeel/internal/race"
)

// A connection that its server has closed, or on which it has spoken unasked, is not used.
func TestStaleConnections(t *testing.T) { eachPicker(t, testStaleConnections) }

func testStaleConnections(t *testing.T) {
	for name, spoil := range map[string]func(*net.TCPConn){
		"closed":      func(conn *net.TCPConn) { _ = conn.Close() },
		"half closed": func(conn *net.TCPConn) { _ = conn.CloseWrite() },
		"reset":       func(conn *net.TCPConn) { _ = conn.SetLinger(0); _ = conn.Close() },
		"spoke": func(conn *net.TCPConn) {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
		},
		"spoke, ended": func(conn *net.TCPConn) { _, _ = io.WriteString(conn, "x"); _ = conn.Close() },
	} {
		now, spoilt := make(chan struct{}), make(chan struct{})
		var conns atomic.Int64
		p := to(scripted(t, func(conn *net.TCPConn, r *bufio.Reader) {
			again := conns.Add(1) > 1
			if _, err := http.ReadRequest(r); err != nil {
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
			if again {
				_, _ = io.Copy(io.Discard, r)
				return
			}
			<-now
			spoil(conn)
			close(spoilt)
			if _, err := r.ReadByte(); err == nil {
				t.Errorf("%s: a request came on the spoilt connection", name)
			}
		}))
		r := run(t, p, nil)
		client := r.dial()
		client.send(get).response("GET")
		close(now)
		<-spoilt
		// POST could not be sent again, had it been sent once.
		if res, body := client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx").response("POST"); res.StatusCode != 200 || body != "good" {
			t.Errorf("%s: got %d %q", name, res.StatusCode, body)
		}
		p.wantResults(t, balance.OK, balance.OK)
	}
}

// A server closes a kept connection when a request is on its way: what can be repeated
// is, at the same server and counts against no server.
func TestKeptConnectionClosesUnderARequest(t *testing.T) {
	eachServer(t, testKeptConnectionClosesUnderARequest)
}

func testKeptConnectionClosesUnderARequest(t *testing.T) {
	for _, c := range []struct {
		method string
		status int
		want   balance.Result
	}{{"GET", 200, balance.OK}, {"PUT", 200, balance.OK}, {"POST", 502, balance.Broken}} {
		var conns atomic.Int64
		p := to(scripted(t, func(conn *net.TCPConn, r *bufio.Reader) {
			again := conns.Add(1) > 1
			for answered := 0; ; answered++ {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, req.Body)
				if answered == 1 && !again {
					_ = conn.Close()
					return
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
			}
		}))
		client := run(t, p, nil).dial()
		client.send(get).response("GET")
		if res, body := client.send("%s / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", c.method).response(c.method); res.StatusCode != c.status {
			t.Errorf("%s: got %d %q, want %d", c.method, res.StatusCode, body, c.status)
		}
		p.wantResults(t, balance.OK, c.want)
	}
}

func TestSlowHeads(t *testing.T) {
	t.Parallel()
	eachPicker(t, testSlowHeads)
}

func testSlowHeads(t *testing.T) {
	p := newFakePicker()
	r := run(t, p, func(c *Config) { c.Listeners[0].HeaderTimeout = time.Second }) // a client that is served needs a part of it
	client := r.dial()
	dripping := make(chan struct{})
	go func() {
		defer close(dripping)
		for {
			if _, err := io.WriteString(client.TCPConn, "GET / HTTP/1.1\r\n"[:1]); err != nil {
				return
			}
		}
	}()
	answer, _ := io.ReadAll(client.Reader) // a reset after the answer is as good as an end
	_ = client.Close()
	<-dripping
	if !strings.HasPrefix(string(answer), "HTTP/1.1 501 ") && !strings.HasPrefix(string(answer), "HTTP/1.1 408 ") { // the method never ends
		t.Errorf("got %q", answer)
	}
	client = r.dial().send("GET / HTTP/1.1\r\nHost: a\r\nX: ")
	if res, body := client.response("GET"); res.StatusCode != 408 || !strings.Contains(body, exchange.ReasonHeadSlow) || !res.Close || !client.ended() {
		t.Errorf("got %d %s", res.StatusCode, body)
	}
}

func TestIdleClientsAreClosed(t *testing.T) {
	t.Parallel()
	eachPicker(t, testIdleClientsAreClosed)
}

func testIdleClientsAreClosed(t *testing.T) {
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, echo)))
	r := run(t, p, func(c *Config) { c.Listeners[0].IdleTimeout = time.Second })
	if !r.dial().ended() {
		t.Errorf("one that said nothing got an answer")
	}
	client := r.dial()
	client.send(get).response("GET")
	if !client.ended() {
		t.Errorf("one that said no more got another answer")
	}
}

// A client that has sent something before the edge stops is answered, wherever that has got to.
func TestDrainAnswersWhatHasCome(t *testing.T) {
	t.Parallel()
	eachServer(t, testDrainAnswersWhatHasCome)
}

// Where another edge goes on in its place, a request that may not be repeated is not lost
// on a connection that was idle at that moment, as a connection is not closed under it.
func TestAnEdgeThatLingersAnswersOneMore(t *testing.T) {
	t.Parallel()
	eachServer(t, testAnEdgeThatLingersAnswersOneMore)
}

func testAnEdgeThatLingersAnswersOneMore(t *testing.T) {
	ok := func(*http.Request, string) string { return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" }
	r, hasty := run(t, to(scripted(t, answering(ok))), nil), run(t, to(scripted(t, answering(ok))), nil)
	served, fresh, silent := r.dial(), r.dial(), hasty.dial()
	served.send(get).response("GET")
	r.Linger()
	r.stop()
	hasty.stop()
	if !silent.ended() { // by then there was time enough to close the others in a hurry
		t.Error("a connection that says nothing got an answer")
	}
	for name, client := range map[string]*rawClient{"served": served, "fresh": fresh} {
		client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
		if res, body := client.response("POST"); res.StatusCode != 200 || body != "ok" || !res.Close || !client.ended() {
			t.Errorf("%s: got %d %q (closing: %v), want 200 and the end", name, res.StatusCode, body, res.Close)
		}
	}
}

func testDrainAnswersWhatHasCome(t *testing.T) {
	for range 20 {
		p := to(scripted(t, answering(func(*http.Request, string) string { return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" })))
		r := run(t, p, nil)
		used, fresh, half, idle := r.dial(), r.dial(), r.dial(), r.dial()
		used.send(get).response("GET")
		idle.send(get).response("GET")
		used.send("%s", get+get) // while it waits for another
		fresh.send(get)          // perhaps before it is accepted
		half.send("%s", get[:20])
		r.stop()
		half.send("%s", get[20:])
		for name, client := range map[string]*rawClient{"used": used, "fresh": fresh, "half": half} {
			if name == "used" {
				client.response("GET")
			}
			if res, body := client.response("GET"); res.StatusCode != 200 || body != "ok" || !client.ended() {
				t.Fatalf("%s: got %d %q", name, res.StatusCode, body)
			}
		}
		if !idle.ended() {
			t.Errorf("the idle one got an answer")
		}
		for err := range r.stopped {
			if err != nil {
				t.Error(err)
			}
		}
		if r.Open() != 0 {
			t.Errorf("%d requests are open", r.Open())
		}
	}
}

// still is a picker that costs nothing.
type still struct{ grant balance.Grant }

func (s *still) Pick(context.Context, string, *balance.Request) (balance.Grant, error) {
	return s.grant, nil
}

func (s *still) Prompt(string, *balance.Request) (balance.Grant, func(context.Context) (balance.Grant, error), error) {
	return s.grant, nil, nil
}

func (s *still) Done(string, balance.LeaseID, balance.Outcome) {}

func (s *still) Report(string, balance.Report) {}

func TestRequestsAllocateNothing(t *testing.T) { eachPicker(t, testRequestsAllocateNothing) }

func testRequestsAllocateNothing(t *testing.T) {
	request := []byte("GET /path?q=1 HTTP/1.1\r\nHost: a\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n")
	allocateNothing(t, false, routing.HTTP1, func(conn net.Conn) func() {
		answer := make([]byte, 4096)
		return func() {
			_, _ = conn.Write(request)
			if n, err := conn.Read(answer); err != nil || !bytes.HasSuffix(answer[:n], []byte("hello")) {
				t.Fatalf("got %q, %v", answer[:n], err)
			}
		}
	})
}

// allocateNothing makes requests, each to be answered by hello, one after another.
func allocateNothing(t *testing.T, h2c bool, to routing.Protocol, client func(net.Conn) (once func())) {
	if race.Enabled {
		t.Skip("under the race detector a sync.Pool drops items at random")
	}
	if fd.ReadsAhead {
		t.Skip("package net and timers allocate")
	}
	response := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello")
	g := scripted(t, func(conn *net.TCPConn, _ *bufio.Reader) {
		if to == routing.HTTP2 {
			helloByHTTP2(conn)
			return
		}
		buf := make([]byte, 4096)
		for {
			if n, err := conn.Read(buf); n == 0 || err != nil {
				return
			}
			_, _ = conn.Write(response)
		}
	})
	g.Lease = 7
	e, err := New(Config{ID: "e1", Listeners: []routing.Listener{{Listen: "127.0.0.1:0", H2C: h2c, Routes: []routing.Route{{Host: "a", Pool: "web", ServerProtocol: to}}}}}, &still{g})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- e.Run(ctx, l) }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	once := client(conn)
	for range 100 {
		once()
	}
	if n := testing.AllocsPerRun(2000, once); n > 0 {
		t.Errorf("%v allocations a request, want none", n)
	}
	_ = conn.Close()
	stop()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// A client that keeps sending a little is held to the same time as one that sends nothing.
func TestDrippingHeadIsCutOff(t *testing.T) {
	t.Parallel()
	eachPicker(t, testDrippingHeadIsCutOff)
}

func testDrippingHeadIsCutOff(t *testing.T) {
	p := newFakePicker()
	r := run(t, p, func(c *Config) { c.Listeners[0].HeaderTimeout = time.Second })
	client := r.dial().send("GET / HTTP/1.1\r\nHost: a\r\nX: ")
	stop := make(chan struct{})
	var dripping sync.WaitGroup
	dripping.Go(func() {
		ticker := time.NewTicker(time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				_, _ = io.WriteString(client.TCPConn, "a") // the edge breaks off some time
			}
		}
	})
	res, body := client.response("GET")
	close(stop)
	dripping.Wait()
	if res.StatusCode != 408 || !strings.Contains(body, exchange.ReasonHeadSlow) || !res.Close {
		t.Errorf("got %d %s, want 408 and the end", res.StatusCode, body)
	}
	if len(p.asks) != 0 {
		t.Errorf("half a request was asked for")
	}
}

// Who connects and says nothing is gone once a head's time is over; who has been served may stay.
func TestSilentConnectionsEnd(t *testing.T) {
	t.Parallel()
	eachPicker(t, testSilentConnections)
}

func testSilentConnections(t *testing.T) {
	short := func(c *Config) {
		c.Listeners[0].HeaderTimeout, c.Listeners[0].IdleTimeout = time.Second, time.Hour
	}
	ends := func(name string, silent net.Conn) {
		t.Helper()
		_ = silent.SetReadDeadline(time.Now().Add(time.Minute))
		if n, err := silent.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: read %d bytes, %v, want the end", name, n, err)
		}
	}
	for name, h2c := range map[string]bool{"plain": false, "h2c": true} {
		r := run(t, to(granted("a", server(t, echo))), func(c *Config) { short(c); c.Listeners[0].H2C = h2c })
		kept := r.dial()
		for range 2 {
			if res, _ := kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").response("GET"); res.StatusCode != 200 {
				t.Errorf("%s: got %d on a connection that was kept", name, res.StatusCode)
			}
			ends(name, r.dial().TCPConn)
		}
		if res, _ := kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").response("GET"); res.StatusCode != 200 {
			t.Errorf("%s: got %d on a connection that was kept", name, res.StatusCode)
		}
	}
	ends("TLS", runSecure(t, to(granted("a", server(t, echo))), short).dialSecure(nil))
}
