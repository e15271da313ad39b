package edge

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
)

// tlsTestConn is a connection of a server that speaks TLS, with what is below it.
type tlsTestConn struct {
	*tls.Conn
	below *pieces
	r     *bufio.Reader // of what comes by TLS
}

// tcp is the connection without TLS.
func (c *tlsTestConn) tcp() *net.TCPConn { return c.below.Conn.(*net.TCPConn) }

// request reads one, with its body; nil: none comes.
func (c *tlsTestConn) request() (*http.Request, string) {
	req, err := http.ReadRequest(c.r)
	if err != nil {
		return nil, ""
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, ""
	}
	return req, string(body)
}

// packed returns text as it goes over the wire, in one record.
func (c *tlsTestConn) packed(text string) []byte {
	c.below.gathering, c.below.gathered = true, nil
	_, _ = io.WriteString(c.Conn, text) // into memory
	c.below.gathering = false
	return c.below.gathered
}

// tlsServer is a server that does with each connection what the test says, once TLS has begun on it.
func tlsServer(t *testing.T, cfg *tls.Config, serve func(c *tlsTestConn)) balance.Grant {
	t.Helper()
	g := scripted(t, func(conn *net.TCPConn, _ *bufio.Reader) {
		below := &pieces{Conn: conn}
		secure := tls.Server(below, cfg)
		if secure.Handshake() == nil {
			serve(&tlsTestConn{secure, below, bufio.NewReader(secure)})
		}
	})
	g.Address = "https://" + g.Address
	return g
}

// believes has requests go to servers of a certificate that comes from itself.
func believes(t *testing.T) (tls.Certificate, func(*Config)) {
	t.Helper()
	cert, believed := identity(t, "127.0.0.1")
	return cert, func(c *Config) { c.Listeners[0].Routes[0].ServerTLS = &tls.Config{RootCAs: believed} }
}

// oneLoopTo runs an edge with one loop and a server that speaks TLS, beside a plain one by which it can be seen what the
// edge has dealt with.
func oneLoopTo(t *testing.T, g balance.Grant, change func(*Config)) *running {
	t.Helper()
	plain := granted("plain", server(t, reflect))
	p := newFakePicker()
	p.pick = func(_ context.Context, req *balance.Request) (balance.Grant, error) {
		if req.Path == "/seen" {
			return plain, nil
		}
		return g, nil
	}
	return oneLoop(t, p, func(c *Config) {
		change(c)
		c.Listeners[0].Routes = append(c.Listeners[0].Routes, routing.Route{Path: "/seen", Pool: "web"})
	})
}

func eachTLSVersion(t *testing.T, test func(t *testing.T, version uint16)) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) { test(t, version) })
	}
}

// A response is passed on whole wherever it is cut, into two records or into two packets.
func TestResponsesOfTLSServersCutAnywhere(t *testing.T) {
	eachPicker(t, func(t *testing.T) { eachTLSVersion(t, testTLSResponsesCutAnywhere) })
}

func testTLSResponsesCutAnywhere(t *testing.T, version uint16) {
	const answer = "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: mine\r\n\r\n"
	type cut struct {
		records bool // packets if not
		at      int
	}
	cuts, halfway, goOn := make(chan cut, 1), make(chan int), make(chan struct{})
	cert, trusting := believes(t)
	g := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: version, MaxVersion: version}, func(c *tlsTestConn) {
		for {
			if req, _ := c.request(); req == nil {
				return
			}
			at := <-cuts
			if at.records {
				_, _ = io.WriteString(c, answer[:at.at])
				halfway <- len(answer)
				<-goOn
				_, _ = io.WriteString(c, answer[at.at:])
				continue
			}
			packed := c.packed(answer)
			_, _ = c.tcp().Write(packed[:at.at])
			halfway <- len(packed)
			<-goOn
			_, _ = c.tcp().Write(packed[at.at:])
		}
	})
	r := oneLoopTo(t, g, trusting)
	client := r.dial()
	for _, records := range []bool{true, false} {
		for at, most := 0, 1; at < most; at++ {
			cuts <- cut{records, at}
			client.send(get)
			most = <-halfway
			r.seen()
			goOn <- struct{}{}
			if res, body := client.response("GET"); body != "hello" || res.Trailer.Get("X-Sum") != "mine" || res.Close {
				t.Fatalf("cut at %d of %d, into records: %v: got %q with trailers %v, closing: %v", at, most, records, body, res.Trailer, res.Close)
			}
		}
	}
}

// A request reaches its server whole wherever it is cut, whether its body is read before the server is asked for or not.
func TestRequestsToTLSServersCutAnywhere(t *testing.T) {
	eachPicker(t, func(t *testing.T) { eachTLSVersion(t, testTLSRequestsCutAnywhere) })
}

func testTLSRequestsCutAnywhere(t *testing.T, version uint16) {
	const request = "PUT /p HTTP/1.1\r\nHost: a\r\nTrailer: X-After\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nX-After: mine\r\n\r\n"
	cert, trusting := believes(t)
	g := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: version, MaxVersion: version}, func(c *tlsTestConn) {
		for {
			req, body := c.request()
			if req == nil {
				return
			}
			said := req.Method + " " + req.URL.Path + " " + body + " " + req.Trailer.Get("X-After")
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(said), said)
		}
	})
	for name, how := range map[string]func(*Config){"read before": trusting, "streamed": func(c *Config) { trusting(c); streamed(c) }} {
		r := oneLoopTo(t, g, how)
		client := r.dial()
		for at := range request {
			client.send("%s", request[:at])
			r.seen()
			client.send("%s", request[at:])
			if res, body := client.response("PUT"); res.StatusCode != 200 || body != "PUT /p hello world mine" || res.Close {
				t.Fatalf("%s, cut at %d: got %d %q, closing: %v", name, at, res.StatusCode, body, res.Close)
			}
		}
	}
}

// The end of a body is what TLS says it is, not what anybody on the way can do to the connection.
func TestEndsOfTLSServers(t *testing.T) { eachPicker(t, testEndsOfTLSServers) }

func testEndsOfTLSServers(t *testing.T) {
	closeNotify := func(c *tlsTestConn) { _ = c.CloseWrite() }
	end := func(c *tlsTestConn) { _ = c.tcp().CloseWrite() }
	reset := func(c *tlsTestConn) { _ = c.tcp().SetLinger(0); _ = c.tcp().Close() }
	const byClose, byLength, inChunks = "\r\nhalf", "Content-Length: 8\r\n\r\nhalf", "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
	for _, c := range []struct {
		name, answer string
		ends         func(c *tlsTestConn)
		whole        bool
	}{
		{"by close, close_notify", byClose, closeNotify, true},
		{"by close, close_notify and end", byClose, func(c *tlsTestConn) { _ = c.Close() }, true},
		{"by close, end without close_notify", byClose, end, false},
		{"by close, end in a record", byClose, func(c *tlsTestConn) { _, _ = c.tcp().Write(c.packed("more")[:9]); end(c) }, false},
		{"by close, a bad record", byClose, func(c *tlsTestConn) { p := c.packed("more"); p[len(p)-1]++; _, _ = c.tcp().Write(p) }, false},
		{"by close, reset", byClose, reset, false},
		{"by length, close_notify", byLength, closeNotify, false},
		{"by length, end without close_notify", byLength, end, false},
		{"in chunks, close_notify", inChunks, closeNotify, false},
		{"in chunks, end without close_notify", inChunks, end, false},
		{"in chunks, reset", inChunks, reset, false},
	} {
		for minor := range 2 {
			t.Run(fmt.Sprintf("%s, HTTP/1.%d", c.name, minor), func(t *testing.T) {
				part := make(chan struct{})
				cert, trusting := believes(t)
				p := to(tlsServer(t, &tls.Config{Certificates: []tls.Certificate{cert}}, func(s *tlsTestConn) {
					if req, _ := s.request(); req == nil {
						return
					}
					_, _ = io.WriteString(s, "HTTP/1.1 200 OK\r\n"+c.answer)
					<-part
					c.ends(s)
					_, _ = s.tcp().Read(make([]byte, 1)) // until the edge has closed the connection
				}))
				client := run(t, p, trusting).dial().send("GET / HTTP/1.%d\r\nHost: a\r\n\r\n", minor)
				res, err := http.ReadResponse(client.Reader, nil)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(res.Body, make([]byte, 4)); err != nil {
					t.Fatal(err)
				}
				close(part)
				rest, err := io.ReadAll(res.Body)
				if len(rest) != 0 || c.whole != (err == nil) {
					t.Errorf("behind the half: got %q, %v; want the response whole: %v", rest, err, c.whole)
				}
				if c.whole {
					p.wantResults(t, balance.OK)
				} else {
					p.wantResults(t, balance.Broken)
				}
			})
		}
	}
}

// A kept connection on which anything has come, even a part of a record, or the end, is not used.
func TestSpoiltTLSConnectionsAreNotUsed(t *testing.T) { eachPicker(t, testSpoiltTLSConnections) }

func testSpoiltTLSConnections(t *testing.T) {
	const evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
	for name, spoil := range map[string]func(c *tlsTestConn){
		"close_notify":             func(c *tlsTestConn) { _ = c.CloseWrite() },
		"close_notify and end":     func(c *tlsTestConn) { _ = c.Close() },
		"end without close_notify": func(c *tlsTestConn) { _ = c.tcp().CloseWrite() },
		"reset":                    func(c *tlsTestConn) { _ = c.tcp().SetLinger(0); _ = c.tcp().Close() },
		"spoke":                    func(c *tlsTestConn) { _, _ = io.WriteString(c, evil) },
		"spoke a part of a record": func(c *tlsTestConn) { _, _ = c.tcp().Write(c.packed(evil)[:20]) },
		"spoke no TLS":             func(c *tlsTestConn) { _, _ = io.WriteString(c.tcp(), evil) },
	} {
		for _, method := range []string{"GET", "POST"} {
			var conns atomic.Int64
			now, spoilt := make(chan struct{}), make(chan struct{})
			cert, trusting := believes(t)
			g := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{cert}}, func(c *tlsTestConn) {
				first := conns.Add(1) == 1
				for req, _ := c.request(); req != nil; req, _ = c.request() {
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
					if first {
						<-now
						spoil(c)
						close(spoilt)
						if req, _ := c.request(); req != nil {
							t.Errorf("%s: a %s came on the spoilt connection", name, req.Method)
						}
						return
					}
				}
			})
			r := oneLoopTo(t, g, trusting)
			client := r.dial()
			client.send(get).response("GET")
			close(now)
			<-spoilt
			r.seen()
			if res, body := client.send("%s / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", method).response(method); res.StatusCode != 200 || body != "good" {
				t.Errorf("%s, %s: got %d %q", name, method, res.StatusCode, body)
			}
			if n := conns.Load(); n != 2 {
				t.Errorf("%s, %s: %d connections, want 2", name, method, n)
			}
		}
	}
}

// Session tickets, which servers of TLS 1.3 send behind the handshake, spoil no connection.
func TestTicketsDoNotSpoilKeptConnections(t *testing.T) {
	eachPicker(t, func(t *testing.T) { eachTLSVersion(t, testTicketsDoNotSpoil) })
}

func testTicketsDoNotSpoil(t *testing.T, version uint16) {
	var conns atomic.Int64
	cert, trusting := believes(t)
	g := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: version, MaxVersion: version}, func(c *tlsTestConn) {
		conns.Add(1)
		for req, _ := c.request(); req != nil; req, _ = c.request() {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
		}
	})
	r := oneLoopTo(t, g, trusting)
	client := r.dial()
	for range 5 {
		if res, body := client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").response("POST"); res.StatusCode != 200 || body != "good" {
			t.Fatalf("got %d %q", res.StatusCode, body)
		}
		r.seen()
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections for 5 requests, one after another, want 1", n)
	}
}

// Each server's sessions are resumed, also where all prove to be of one name.
func TestSessionsWithServersAreResumed(t *testing.T) { eachPicker(t, testSessionsWithServers) }

func testSessionsWithServers(t *testing.T) {
	cert, believed := identity(t, "servers.example")
	resumed := make(chan bool, 1)
	var servers []balance.Grant
	for i := range 3 {
		g := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{cert}}, func(c *tlsTestConn) {
			if req, _ := c.request(); req != nil {
				resumed <- c.ConnectionState().DidResume
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
			}
		})
		g.Server = balance.ServerID(fmt.Sprint("s", i))
		servers = append(servers, g)
	}
	next := 0
	p := newFakePicker()
	p.pick = func(context.Context, *balance.Request) (balance.Grant, error) {
		next++
		return servers[(next-1)%len(servers)], nil
	}
	r := run(t, p, func(c *Config) {
		c.Listeners[0].Routes[0].ServerTLS = &tls.Config{RootCAs: believed, ServerName: "servers.example"}
	})
	client := r.dial()
	for i := range 3 * len(servers) {
		if res, _ := client.send(get).response("GET"); res.StatusCode != 200 {
			t.Fatalf("got %d", res.StatusCode)
		}
		if got, want := <-resumed, i >= len(servers); got != want {
			t.Errorf("connection %d: the session was resumed: %v, want %v", i, got, want)
		}
	}
}

// noted is a connection that remembers what was read.
type noted struct {
	net.Conn
	read bytes.Buffer
}

func (c *noted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.read.Write(p[:n])
	return n, err
}

// lastRecord is the type of the last record of TLS that was read.
func (c *noted) lastRecord() (kind byte) {
	for p := c.read.Bytes(); len(p) >= 5; {
		kind = p[0]
		p = p[min(len(p), 5+int(p[3])<<8+int(p[4])):]
	}
	return kind
}

// A server whose connection is of no more use is told so by close_notify.
func TestServersAreToldByCloseNotify(t *testing.T) { eachPicker(t, testServersAreToldByCloseNotify) }

func testServersAreToldByCloseNotify(t *testing.T) {
	cert, trusting := believes(t)
	last := make(chan byte, 1)
	const alert = 21
	p := to(scripted(t, func(conn *net.TCPConn, _ *bufio.Reader) {
		below := &noted{Conn: conn}
		c := tls.Server(below, &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: tls.VersionTLS12}) // whose records are what they say
		r := bufio.NewReader(c)
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("the server read %v, want the end", err)
		}
		last <- below.lastRecord()
	}))
	pick := p.pick
	p.pick = func(ctx context.Context, req *balance.Request) (balance.Grant, error) {
		g, err := pick(ctx, req)
		g.Address = "https://" + g.Address
		return g, err
	}
	client := run(t, p, trusting).dial()
	if res, _ := client.send(get).response("GET"); res.StatusCode != 200 {
		t.Fatalf("got %d", res.StatusCode)
	}
	if got := <-last; got != alert {
		t.Errorf("the last record is of type %d, want %d", got, alert)
	}
}

// A client that leaves while TLS with its server is being begun holds nothing.
func TestClientLeavesDuringTheHandshake(t *testing.T) { eachPicker(t, testLeavesDuringTheHandshake) }

func testLeavesDuringTheHandshake(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan struct{})
	p := to(scripted(t, func(_ *net.TCPConn, r *bufio.Reader) {
		_, _ = r.ReadByte()
		close(begun)
		_, _ = io.Copy(io.Discard, r)
		close(ended)
	}))
	_, trusting := believes(t)
	r := run(t, p, func(c *Config) { trusting(c); c.ConnectTimeout = 10 * time.Second })
	client := r.dial().send(get)
	<-begun
	_ = client.SetLinger(0)
	_ = client.Close()
	<-ended
	p.wantResults(t, balance.Canceled)
}

// WebSocket and what is like it goes through to servers that speak TLS, from whichever side it ends, and how.
func TestTunnelsToTLSServers(t *testing.T) { eachPicker(t, testTunnelsToTLSServers) }

func testTunnelsToTLSServers(t *testing.T) {
	cert, trusting := believes(t)
	for _, c := range []struct {
		name string
		end  func(c *tlsTestConn)
		want balance.Result
	}{
		{"close_notify", func(c *tlsTestConn) { _ = c.Close() }, balance.OK},
		{"end without close_notify", func(c *tlsTestConn) { _ = c.tcp().CloseWrite() }, balance.Broken},
		{"reset", func(c *tlsTestConn) { _ = c.tcp().SetLinger(0); _ = c.tcp().Close() }, balance.Broken},
	} {
		p := to(tlsServer(t, &tls.Config{Certificates: []tls.Certificate{cert}}, func(s *tlsTestConn) {
			req, _ := s.request()
			if req == nil {
				return
			}
			_, _ = io.WriteString(s, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			for line, err := s.r.ReadString('\n'); err == nil; line, err = s.r.ReadString('\n') {
				if line == "end\n" {
					c.end(s)
					_, _ = s.tcp().Read(make([]byte, 1)) // until the edge has closed the connection
					return
				}
				_, _ = io.WriteString(s, strings.ToUpper(line))
			}
		}))
		r := run(t, p, trusting)
		client := r.dial().send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly\n")
		if res, err := http.ReadResponse(client.Reader, nil); err != nil || res.StatusCode != 101 {
			t.Fatalf("got %v, %v", res, err)
		}
		for _, word := range []string{"early", "and", "late"} {
			if word != "early" {
				client.send("%s\n", word)
			}
			if back, err := client.ReadString('\n'); back != strings.ToUpper(word)+"\n" {
				t.Fatalf("%s: got %q, %v", word, back, err)
			}
		}
		client.send("end\n")
		rest, err := io.ReadAll(client.Reader)
		if len(rest) != 0 || (err == nil) != (c.want == balance.OK) || err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: the client got %q, %v at the end", c.name, rest, err)
		}
		_ = client.Close()
		p.wantResults(t, c.want)
	}
}

// An end that is there when the loop reads what came before it is seen.
func TestEndOfATLSServerRightBehindItsAnswer(t *testing.T) {
	eachPicker(t, testEndOfATLSServerRightBehindItsAnswer)
}

func testEndOfATLSServerRightBehindItsAnswer(t *testing.T) {
	got, blocked, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	cert, trusting := believes(t)
	g := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{cert}}, func(c *tlsTestConn) {
		if req, _ := c.request(); req == nil {
			return
		}
		close(got)
		<-blocked
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nhalf")
		_ = c.tcp().CloseWrite()
		close(ended)
		_, _ = c.tcp().Read(make([]byte, 1)) // until the edge has closed the connection
	})
	plain := granted("plain", server(t, reflect))
	p := newFakePicker()
	p.atOnce = true // so that the loop itself waits for the answer
	p.pick = func(_ context.Context, req *balance.Request) (balance.Grant, error) {
		if req.Path != "/seen" {
			return g, nil
		}
		close(blocked)
		<-ended
		return plain, nil
	}
	r := oneLoop(t, p, func(c *Config) {
		trusting(c)
		c.Listeners[0].Routes = append(c.Listeners[0].Routes, routing.Route{Path: "/seen", Pool: "web"})
	})
	client := r.dial().send(get)
	<-got
	r.seen()
	res, err := http.ReadResponse(client.Reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(res.Body); string(body) != "half" || err == nil {
		t.Errorf("got %q, %v; want the half, broken off", body, err)
	}
	p.wantResults(t, balance.Broken, balance.OK)
}

// A server that does not agree on HTTP/2 by TLS is sent nothing.
func TestHTTP2IsAgreedOnByTLS(t *testing.T) { eachPicker(t, testHTTP2IsAgreedOnByTLS) }

func testHTTP2IsAgreedOnByTLS(t *testing.T) {
	cert, trusting := believes(t)
	read := make(chan int, 1)
	p := to(tlsServer(t, &tls.Config{Certificates: []tls.Certificate{cert}}, func(c *tlsTestConn) {
		n, _ := io.Copy(io.Discard, c.r)
		read <- int(n)
	}))
	r := runH2C(t, p, func(c *Config) { trusting(c); speaksHTTP2(c) })
	res, body := r.do(r.two("GET", "/", nil))
	wantStatus(t, res, body, 502, "unreachable")
	if n := <-read; n != 0 {
		t.Errorf("the server was sent %d bytes", n)
	}
}

// A connection whose server has proved one name serves no request for another, though both are at one address.
func TestKeptTLSConnectionsAreOfOneName(t *testing.T) {
	eachPicker(t, testKeptTLSConnectionsAreOfOneName)
}

func testKeptTLSConnectionsAreOfOneName(t *testing.T) {
	cert, believed := identity(t, "a.example")
	g := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{cert}}, func(c *tlsTestConn) {
		for req, _ := c.request(); req != nil; req, _ = c.request() {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	at := strings.TrimPrefix(g.Address, "https://")
	_, port, _ := net.SplitHostPort(at)
	p := newFakePicker()
	p.pick = func(_ context.Context, req *balance.Request) (balance.Grant, error) {
		name := strings.TrimPrefix(req.Path, "/")
		return balance.Grant{Server: balance.ServerID(name), Address: "https://" + name + ":" + port, At: at}, nil
	}
	r := run(t, p, func(c *Config) {
		c.Loops = 1
		c.Listeners[0].Routes[0].ServerTLS = &tls.Config{RootCAs: believed}
	})
	client := r.dial()
	for _, c := range []struct {
		path   string
		status int
	}{{"/a.example", 200}, {"/b.example", 502}, {"/a.example", 200}} {
		if res, body := client.send("GET %s HTTP/1.1\r\nHost: a\r\n\r\n", c.path).response("GET"); res.StatusCode != c.status {
			t.Errorf("%s: got %d %s, want %d", c.path, res.StatusCode, body, c.status)
		}
	}
}
