package edge

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/proxy"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
)

// spoken is a server that says what it is told to each connection, behind the head of a
// request, and keeps the heads.
func spoken(t *testing.T, answer string) (address string, heads chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	heads = make(chan string, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				head, r := "", bufio.NewReader(conn)
				for !strings.HasSuffix(head, "\r\n\r\n") {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					head += line
				}
				heads <- head
				_, _ = io.WriteString(conn, answer)
				_, _ = io.Copy(io.Discard, r)
			}()
		}
	}()
	return l.Addr().String(), heads
}

const brief = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"

// A client that closes its side behind its last request is answered, however long that takes.
func TestHalfClosedClientIsAnswered(t *testing.T) {
	for _, c := range []struct {
		half     routing.HalfClosed
		last     string
		answered bool
	}{
		{routing.HalfClosedLast, "Connection: close\r\n", true},
		{routing.HalfClosedLast, "", false},
		{routing.HalfClosedAnswer, "", true},
		{routing.HalfClosedRefuse, "Connection: close\r\n", false},
	} {
		t.Run(fmt.Sprint(c.half, c.last != ""), func(t *testing.T) {
			seen, answer := make(chan struct{}), make(chan struct{})
			p := newFakePicker()
			p.pick = among(granted("s1", server(t, func(w http.ResponseWriter, r *http.Request) {
				close(seen)
				select {
				case <-answer:
				case <-r.Context().Done():
				}
			})))
			r := run(t, p, func(cfg *Config) { cfg.Listeners[0].HalfClosed = c.half })
			conn, err := net.Dial("tcp", r.address)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n"+c.last+"\r\n")
			<-seen
			_ = conn.(*net.TCPConn).CloseWrite()
			if !c.answered {
				p.wantResults(t, balance.Canceled)
				return
			}
			time.AfterFunc(8*proxy.LeaveAfter, func() { close(answer) }) // beyond the moment for which those that are refused are waited for
			if got, _ := io.ReadAll(conn); !strings.HasPrefix(string(got), "HTTP/1.1 200 ") {
				t.Errorf("got %q, want the answer", got)
			}
			p.wantResults(t, balance.OK)
		})
	}
}

func TestPaddedChunkSizesOfServersAreRead(t *testing.T) {
	address, _ := spoken(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2  \r\nok\r\n0 \t \r\n\r\n")
	p := newFakePicker()
	p.pick = among(balance.Grant{Server: "s1", Address: address})
	r := run(t, p, nil)
	answer := r.raw("GET / HTTP/1.0\r\nHost: a\r\n\r\n") // which is told no chunks
	if !strings.HasSuffix(answer, "\r\n\r\nok") {
		t.Errorf("got %q", answer)
	}
	p.wantResults(t, balance.OK)
	if answer := r.raw("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2 \r\nok\r\n0\r\n\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 400 ") {
		t.Errorf("a client's: got %q, want 400", answer)
	}
}

// What is wrong behind a good head breaks the answer off; the head is seen in any case.
func TestBadChunkBehindAGoodHeadIsAHeadAndAnAbort(t *testing.T) {
	address, _ := spoken(t, "HTTP/1.1 200 OK\r\nX-Own: here\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n")
	p := newFakePicker()
	p.pick = among(balance.Grant{Server: "s1", Address: address})
	r := run(t, p, func(c *Config) { c.Listeners[0].H2C = true })
	for _, version := range []string{"1.1", "1.0"} {
		answer := r.raw("GET / HTTP/" + version + "\r\nHost: a\r\n\r\n")
		if !strings.HasPrefix(answer, "HTTP/1.1 200 ") || !strings.Contains(answer, "X-Own: here\r\n") || strings.Contains(answer, "\r\n0\r\n") {
			t.Errorf("HTTP/%s: got %q, want a head that nothing ends", version, answer)
		}
	}
	res, err := priorKnowledge(t).Get("http://" + r.address)
	if err != nil || res.Header.Get("X-Own") != "here" {
		t.Fatalf("HTTP/2: got %v, %v", res, err)
	}
	if body, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("HTTP/2: got %q in good order, want a stream that is broken off", body)
	}
	_ = res.Body.Close()
}

// priorKnowledge is a client that begins with HTTP/2.
func priorKnowledge(t *testing.T) *http.Client {
	transport := &http.Transport{Protocols: new(http.Protocols), MaxResponseHeaderBytes: 4 << 20}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// A trusted proxy may tell by Forwarded alone whom it speaks for.
func TestForwardedOfATrustedProxyCounts(t *testing.T) {
	var told http.Header
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, func(_ http.ResponseWriter, r *http.Request) { told = r.Header.Clone() })))
	r := run(t, p, func(c *Config) {
		c.Listeners[0].TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		c.Listeners[0].Routes[0].Key = "client"
	})
	r.raw("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nForwarded: for=198.51.100.9;proto=https;host=www.example\r\n\r\n")
	if ask := p.asks[0]; ask.Client.String() != "198.51.100.9" || ask.Key != "198.51.100.9" {
		t.Errorf("asked for client %v with key %q", ask.Client, ask.Key)
	}
	for name, want := range map[string]string{"X-Forwarded-For": "198.51.100.9, 127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "www.example",
		"Forwarded": "for=198.51.100.9;proto=https;host=www.example, for=127.0.0.1;host=a;proto=http"} {
		if got := told.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// A request for another protocol may have a body, as Docker's exec has; only names that
// the route allows are asked for.
func TestUpgradeWithABody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	got := make(chan string, 1)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r := bufio.NewReader(conn)
			req, err := http.ReadRequest(r)
			if err != nil {
				_ = conn.Close()
				continue
			}
			body, _ := io.ReadAll(req.Body)
			got <- req.Header.Get("Upgrade") + " " + string(body)
			if req.Header.Get("Upgrade") == "" {
				_, _ = io.WriteString(conn, brief)
			} else {
				_, _ = io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: "+req.Header.Get("Upgrade")+"\r\n\r\n")
				_, _ = io.Copy(conn, r)
			}
			_ = conn.Close()
		}
	}()
	p := newFakePicker()
	p.pick = among(balance.Grant{Server: "s1", Address: l.Addr().String()})
	r := run(t, p, nil)
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	_, _ = io.WriteString(conn, "POST /exec HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 10\r\n\r\n01234")
	_, _ = io.WriteString(conn, "56789")
	if told := <-got; told != "tcp 0123456789" {
		t.Errorf("the server got %q", told)
	}
	in := bufio.NewReader(conn)
	if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != 101 {
		t.Fatalf("got %v, %v", res, err)
	}
	_, _ = io.WriteString(conn, "uname\n")
	if line, err := in.ReadString('\n'); line != "uname\n" {
		t.Errorf("got %q, %v", line, err)
	}
	_ = conn.Close()
	answer := r.raw("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: imap\r\n\r\n")
	if told := <-got; told != " " || !strings.HasPrefix(answer, "HTTP/1.1 200 ") {
		t.Errorf("a protocol that the route does not allow: the server got %q, the client %q", told, answer)
	}
}

func TestProbesOfTheWay(t *testing.T) {
	address, heads := spoken(t, brief)
	p := newFakePicker()
	p.pick = among(balance.Grant{Server: "s1", Address: address})
	r := run(t, p, nil)
	for request, want := range map[string]string{
		"OPTIONS * HTTP/1.1\r\n":                     "204",
		"OPTIONS /a HTTP/1.1\r\nMax-Forwards: 0\r\n": "204",
		"TRACE /a HTTP/1.1\r\nMax-Forwards: 00\r\n":  "405",
	} {
		answer := r.raw(request + "Host: a\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(answer, "HTTP/1.1 "+want+" ") || want == "204" && !strings.HasSuffix(answer, "\r\n\r\n") {
			t.Errorf("%q: got %q, want %s", request, answer, want)
		}
	}
	if len(p.asks) != 0 {
		t.Errorf("the master was asked %d times", len(p.asks))
	}
	for request, want := range map[string]string{
		"OPTIONS /a HTTP/1.1\r\nMax-Forwards: 10\r\n": "Max-Forwards: 9\r\n",
		"GET /a HTTP/1.1\r\nMax-Forwards: 0\r\n":      "Max-Forwards: 0\r\n",
	} {
		r.raw(request + "Host: a\r\nConnection: close\r\n\r\n")
		if head := <-heads; !strings.Contains(head, "\r\n"+want) || strings.Count(head, "Max-Forwards") != 1 {
			t.Errorf("%q: the server got %q, want %q", request, head, want)
		}
	}
}

func TestBodilessPostOfHTTP2SaysItsLength(t *testing.T) {
	address, heads := spoken(t, brief)
	p := newFakePicker()
	p.pick = among(balance.Grant{Server: "s1", Address: address})
	r := run(t, p, func(c *Config) { c.Listeners[0].H2C = true })
	for method, want := range map[string]int{"POST": 1, "GET": 0} {
		client := &http.Transport{Protocols: new(http.Protocols)}
		client.Protocols.SetUnencryptedHTTP2(true)
		req, _ := http.NewRequest(method, "http://"+r.address+"/", nil)
		res, err := client.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if head := <-heads; strings.Count(strings.ToLower(head), "content-length: 0\r\n") != want {
			t.Errorf("%s: the server got %q, want %d times Content-Length: 0", method, head, want)
		}
		client.CloseIdleConnections()
	}
}

// A server may answer before it has read the request. The client reads that answer, however
// much it still sends.
func TestEarlyAnswerToALongUploadIsRead(t *testing.T) {
	address, _ := spoken(t, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
	p := newFakePicker()
	p.pick = among(balance.Grant{Server: "s1", Address: address})
	r := run(t, p, nil)
	const much = 30 << 20
	for range 10 {
		conn, err := net.Dial("tcp", r.address)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", much)
		piece := make([]byte, 1<<20)
		for sent := 0; sent < much; sent += len(piece) { // a client that reads when it has sent all
			if _, err := conn.Write(piece); err != nil {
				t.Fatalf("after %d MiB: %v", sent>>20, err)
			}
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != 403 {
			t.Fatalf("got %v, %v", res, err)
		}
		_ = conn.Close()
	}
}

func TestLargeHeadsReachClientsOfHTTP2(t *testing.T) {
	var answer strings.Builder
	answer.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n")
	for i := range 990 {
		fmt.Fprintf(&answer, "X-Field-%03d: %s\r\n", i, strings.Repeat("v", 240))
	}
	answer.WriteString("\r\nok")
	address, _ := spoken(t, answer.String())
	p := newFakePicker()
	p.pick = among(balance.Grant{Server: "s1", Address: address})
	r := run(t, p, func(c *Config) { c.Listeners[0].H2C = true })
	res, err := priorKnowledge(t).Get("http://" + r.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil || string(body) != "ok" || len(res.Header) < 990 || len(res.Header.Get("X-Field-989")) != 240 {
		t.Errorf("got %d fields and %q, %v", len(res.Header), body, err)
	}
}
