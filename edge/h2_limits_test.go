package edge

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
)

// fronts are the two ways by which clients speak HTTP/2.
var fronts = map[string]func(*testing.T, *fakePicker, func(*Config)) *running{"h2": runHTTP2, "h2c": runH2C}

// runHTTP2 runs an edge whose client speaks HTTP/2 by TLS.
func runHTTP2(t *testing.T, p *fakePicker, change func(*Config)) *running {
	t.Helper()
	r := runSecure(t, p, change)
	transport := r.client.Transport.(*http.Transport)
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP2(true)
	return r
}

// runH2C runs an edge whose client speaks HTTP/2 without.
func runH2C(t *testing.T, p *fakePicker, change func(*Config)) *running {
	t.Helper()
	r := run(t, p, func(c *Config) {
		c.Listeners[0].H2C = true
		if change != nil {
			change(c)
		}
	})
	transport := r.client.Transport.(*http.Transport)
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetUnencryptedHTTP2(true)
	return r
}

// two makes a request of HTTP/2, with whatever scheme the client speaks.
func (r *running) two(method, path string, body io.Reader) *http.Request {
	r.t.Helper()
	scheme := "http"
	if r.listeners[0].TLS != nil {
		scheme = "https"
	}
	req, err := http.NewRequest(method, scheme+"://"+r.address+path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	return req
}

// http2Server is a server that speaks HTTP/2 without TLS.
func http2Server(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func speaksHTTP2(c *Config) { c.Listeners[0].Routes[0].ServerProtocol = routing.HTTP2 }

func TestHTTP2Requests(t *testing.T) { eachServer(t, testHTTP2Requests) }

func testHTTP2Requests(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 1<<16)
	for name, front := range fronts {
		for _, protocol := range []routing.Protocol{routing.HTTP1, routing.HTTP2} {
			start, want := server, "1.1"
			if protocol == routing.HTTP2 {
				start, want = http2Server, "2"
			}
			s := start(t, func(w http.ResponseWriter, r *http.Request) {
				if int(protocol)+1 != r.ProtoMajor || r.Header.Get("Via") != "2 evenkeel" || r.Header.Get("Evenkeel-Forged") != "" || r.Header.Get("Evenkeel-Pool") != "web" || r.Header.Get("X-Forwarded-For") != "127.0.0.1" {
					t.Errorf("%s: the server got %s %v", name, r.Proto, r.Header)
				}
				w.Header().Set("Endpoint-Load-Metrics", "TEXT cpu_utilization=0.5")
				echo(w, r)
			})
			p := to(granted("a", s))
			r := front(t, p, func(c *Config) { c.Listeners[0].Routes[0].ServerProtocol = protocol })
			for _, c := range []struct{ method, body string }{{"GET", ""}, {"POST", "small"}, {"PUT", "small"}, {"POST", large}, {"HEAD", ""}} {
				req := r.two(c.method, "/p%20?q=%3f", strings.NewReader(c.body))
				req.Header.Set("Evenkeel-Forged", "x")
				res, body := r.do(req)
				want := fmt.Sprintf("%s /p%%20?q=%%3f %s", c.method, c.body)
				if c.method == "HEAD" {
					want = ""
				}
				if res.ProtoMajor != 2 || res.StatusCode != 200 || body != want {
					t.Errorf("%s to %v: %s: got %s %d and %.60q", name, protocol, c.method, res.Proto, res.StatusCode, body)
				}
				if res.Header.Get("Endpoint-Load-Metrics") != "" {
					t.Error("the client got the load report")
				}
			}
			if res, _ := r.do(r.two("GET", "/", nil)); res.Header.Get("Via") != want+" evenkeel" || res.Header.Get("X-Request-Id") == "" {
				t.Errorf("%s to %v: got Via %q, want %s evenkeel", name, protocol, res.Header.Get("Via"), want)
			}
			p.results(t)
			if len(p.reports) != 6 {
				t.Errorf("%s to %v: %d reports, want 6", name, protocol, len(p.reports))
			}
		}
	}
}

// Both sides speak at once, in small pieces, and end with trailers.
func TestHTTP2Conversation(t *testing.T) { eachPicker(t, testHTTP2Conversation) }

func testHTTP2Conversation(t *testing.T) {
	for name, front := range fronts {
		s := http2Server(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "Grpc-Status")
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			for in := bufio.NewScanner(r.Body); in.Scan(); {
				_, _ = fmt.Fprintf(w, "you said %s\n", in.Text())
				w.(http.Flusher).Flush()
			}
			w.Header().Set("Grpc-Status", "0")
			w.Header().Set(http.TrailerPrefix+"Endpoint-Load-Metrics-Bin", "CQAAAAAAAOA/")
			w.Header().Set(http.TrailerPrefix+"Evenkeel-Lease", "forged")
		})
		p := to(granted("a", s))
		r := front(t, p, speaksHTTP2)
		in, out := io.Pipe()
		res, err := r.client.Do(r.two("POST", "/", in))
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(res.Body)
		for i := range 10 {
			_, _ = fmt.Fprintf(out, "word %d\n", i)
			if want := fmt.Sprintf("you said word %d", i); !lines.Scan() || lines.Text() != want {
				t.Fatalf("%s: got %q, %v; want %q", name, lines.Text(), lines.Err(), want)
			}
		}
		_ = out.Close()
		if lines.Scan() {
			t.Errorf("%s: got %q at the end", name, lines.Text())
		}
		_ = res.Body.Close()
		if res.Trailer.Get("Grpc-Status") != "0" || len(res.Trailer) != 1 {
			t.Errorf("%s: got trailers %v", name, res.Trailer)
		}
		p.wantResults(t, balance.OK)
		if len(p.reports) != 1 {
			t.Errorf("%s: %d reports, want that of the trailers", name, len(p.reports))
		}
	}
}

func TestHTTP2ClientThatCancels(t *testing.T) { eachPicker(t, testHTTP2ClientThatCancels) }

func testHTTP2ClientThatCancels(t *testing.T) {
	for name, front := range fronts {
		arrived, left := make(chan struct{}), make(chan struct{})
		s := http2Server(t, func(_ http.ResponseWriter, r *http.Request) {
			close(arrived)
			<-r.Context().Done()
			close(left)
		})
		p := to(granted("a", s))
		r := front(t, p, speaksHTTP2)
		ctx, cancel := context.WithCancel(context.Background())
		go func() { <-arrived; cancel() }()
		if res, err := r.client.Do(r.two("GET", "/", nil).WithContext(ctx)); err == nil {
			_ = res.Body.Close()
			t.Errorf("%s: got %s", name, res.Status)
		}
		<-left
		p.wantResults(t, balance.Canceled)
	}
}

func TestHTTP2RetriesElsewhere(t *testing.T) { eachServer(t, testHTTP2RetriesElsewhere) }

func testHTTP2RetriesElsewhere(t *testing.T) {
	for name, front := range fronts {
		broken := scripted(t, func(conn *net.TCPConn, r *bufio.Reader) {
			if req, err := http.ReadRequest(r); err == nil {
				_, _ = io.Copy(io.Discard, req.Body)
			}
		})
		broken.Server = "broken"
		good := granted("good", server(t, echo))
		p := newFakePicker()
		p.pick = among(dead(t, "dead"), broken, good)
		r := front(t, p, nil)
		if res, body := r.do(r.two("PUT", "/", strings.NewReader("again"))); res.StatusCode != 200 || body != "PUT / again" {
			t.Errorf("%s: got %d %q", name, res.StatusCode, body)
		}
		// What is not idempotent is not sent twice.
		res, body := r.do(r.two("POST", "/", strings.NewReader("once")))
		wantStatus(t, res, body, 502, "broken")
		p.wantResults(t, balance.Unreachable, balance.Broken, balance.OK, balance.Unreachable, balance.Broken)
	}
}

func TestHTTP2Answers(t *testing.T) { eachPicker(t, testHTTP2Answers) }

func testHTTP2Answers(t *testing.T) {
	for _, front := range fronts {
		p := newFakePicker()
		p.pick = func(context.Context, *balance.Request) (balance.Grant, error) {
			return balance.Grant{}, &balance.Refusal{Reason: balance.Saturated, RetryAfter: time.Second}
		}
		r := front(t, p, func(c *Config) {
			c.Listeners[0].BodyLimit = 10
			c.Listeners[0].HeaderCount = 20
			c.Listeners[0].Routes = []routing.Route{{Path: "/web", Pool: "web"}}
		})
		res, body := r.do(r.two("GET", "/web", nil))
		wantStatus(t, res, body, 503, "saturated")
		if res.Header.Get("Retry-After") != "1" {
			t.Errorf("got Retry-After %q", res.Header.Get("Retry-After"))
		}
		res, body = r.do(r.two("GET", "/other", nil))
		wantStatus(t, res, body, 404, "no-route")
		res, body = r.do(r.two("POST", "/web", strings.NewReader("eleven bytes")))
		wantStatus(t, res, body, 413, "body-too-large")
		req := r.two("GET", "/web", nil)
		for i := range 21 {
			req.Header.Set(fmt.Sprintf("X-%d", i), "x")
		}
		res, body = r.do(req)
		wantStatus(t, res, body, 431, "head-too-large")
		req = r.two("GET", "/web", nil)
		req.URL.Opaque = "/web?a b HTTP/1.1"
		res, body = r.do(req)
		wantStatus(t, res, body, 400, "bad-request")
		req = r.two("GET", "/web", nil)
		req.Host = "a!b"
		res, body = r.do(req)
		wantStatus(t, res, body, 400, "bad-request")
	}
}

func TestHTTP2BodyLimitOfUnknownLength(t *testing.T) {
	eachPicker(t, testHTTP2BodyLimitOfUnknownLength)
}

func testHTTP2BodyLimitOfUnknownLength(t *testing.T) {
	for name, front := range fronts {
		s := server(t, echo)
		r := front(t, to(granted("a", s)), func(c *Config) { c.Listeners[0].BodyLimit = 10 })
		res, body := r.do(r.two("POST", "/", io.MultiReader(strings.NewReader("eleven "), strings.NewReader("bytes"))))
		if wantStatus(t, res, body, 413, "body-too-large"); t.Failed() {
			t.Fatal(name)
		}
	}
}

func TestHTTP2BrokenResponses(t *testing.T) { eachServer(t, testHTTP2BrokenResponses) }

func testHTTP2BrokenResponses(t *testing.T) {
	for name, front := range fronts {
		p := to(scripted(t, func(conn *net.TCPConn, r *bufio.Reader) {
			if _, err := http.ReadRequest(r); err == nil {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nhalf")
			}
		}))
		r := front(t, p, nil)
		res, err := r.client.Do(r.two("GET", "/", nil))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("%s: the response looked whole", name)
		}
		_ = res.Body.Close()
		p.wantResults(t, balance.Broken)
	}
}

// HTTP/1.1 is served where HTTP/2 may be spoken, and told so where it may not be.
func TestHTTP1BesideHTTP2(t *testing.T) { eachPicker(t, testHTTP1BesideHTTP2) }

func testHTTP1BesideHTTP2(t *testing.T) {
	s := server(t, echo)
	r := runH2C(t, to(granted("a", s)), nil)
	for _, first := range []string{"", "P", "PRI"} {
		conn := r.dial()
		_, _ = io.WriteString(conn.TCPConn, first)
		_, _ = io.WriteString(conn.TCPConn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"[len(first)*min(1, len(first)%3):])
		answer, _ := io.ReadAll(conn.Reader)
		if want := map[string]string{"": "HTTP/1.1 200 ", "P": "HTTP/1.1 200 ", "PRI": "HTTP/1.1 "}[first]; !strings.HasPrefix(string(answer), want) {
			t.Errorf("after %q: got %.60q, want %q", first, answer, want)
		}
	}
	r = run(t, newFakePicker(), speaksHTTP2)
	res, body := r.do(r.request("GET", "/", ""))
	wantStatus(t, res, body, 426, "http2-only")
	r = run(t, newFakePicker(), nil)
	if answer := r.raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 ") {
		t.Errorf("without h2c: got %q", answer)
	}
}

func TestHTTP2ServersByTLS(t *testing.T) { eachPicker(t, testHTTP2ServersByTLS) }

func testHTTP2ServersByTLS(t *testing.T) {
	theirs, believed := identity(t, "127.0.0.1")
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{theirs}}
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	for protocol, want := range map[routing.Protocol]string{routing.HTTP1: "HTTP/1.1", routing.HTTP2: "HTTP/2.0"} {
		r := runHTTP2(t, to(balance.Grant{Server: "a", Address: "https://" + s.Listener.Addr().String()}), func(c *Config) {
			c.Listeners[0].Routes[0].ServerProtocol = protocol
			c.Listeners[0].Routes[0].ServerTLS = &tls.Config{RootCAs: believed}
		})
		if res, body := r.do(r.two("GET", "/", nil)); res.StatusCode != 200 || body != want {
			t.Errorf("got %d %q, want %q", res.StatusCode, body, want)
		}
	}
}

// A stopping edge lets streams end, takes no more, and closes.
func TestHTTP2Drain(t *testing.T) {
	t.Parallel()
	eachServer(t, testHTTP2Drain)
}

func testHTTP2Drain(t *testing.T) {
	for name, front := range fronts {
		release := make(chan struct{})
		s := server(t, func(w http.ResponseWriter, r *http.Request) { <-release; echo(w, r) })
		p := to(granted("a", s))
		r := front(t, p, nil)
		var clients sync.WaitGroup
		for range 3 {
			clients.Go(func() {
				res, err := r.client.Do(r.two("GET", "/", nil))
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				body, err := io.ReadAll(res.Body)
				if _ = res.Body.Close(); err != nil || string(body) != "GET / " {
					t.Errorf("%s: got %q, %v", name, body, err)
				}
			})
		}
		r.asked(3)
		r.stop()
		close(release)
		clients.Wait()
		if err := <-r.stopped; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An edge that has waited for long enough cuts streams off.
func TestHTTP2DrainEnds(t *testing.T) { eachPicker(t, testHTTP2DrainEnds) }

func testHTTP2DrainEnds(t *testing.T) {
	for name, front := range fronts {
		release := make(chan struct{})
		s := server(t, func(http.ResponseWriter, *http.Request) { <-release })
		t.Cleanup(func() { close(release) })
		p := to(granted("a", s))
		r := front(t, p, func(c *Config) { c.DrainTime = 50 * time.Millisecond })
		failed := make(chan error, 1)
		go func() {
			res, err := r.client.Do(r.two("GET", "/", nil))
			if err == nil {
				_ = res.Body.Close()
				err = errors.New(res.Status)
			}
			failed <- err
		}()
		r.asked(1)
		r.stop()
		if err := <-r.stopped; err != nil {
			t.Errorf("%s: %v", name, err)
		}
		<-failed
		p.wantResults(t, balance.Canceled)
	}
}

// What is answered has its body whatever the response before it had.
func TestHTTP2AnswerBehindAnEmptyResponse(t *testing.T) {
	eachPicker(t, testHTTP2AnswerBehindAnEmptyResponse)
}

func testHTTP2AnswerBehindAnEmptyResponse(t *testing.T) {
	s := server(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	r := runH2C(t, to(granted("a", s)), func(c *Config) { c.Listeners[0].HeaderCount, c.Loops = 20, 1 })
	if res, _ := r.do(r.two("GET", "/", nil)); res.StatusCode != 204 {
		t.Errorf("got %s", res.Status)
	}
	req := r.two("GET", "/", nil)
	for i := range 21 {
		req.Header.Set(fmt.Sprintf("X-%d", i), "x")
	}
	res, body := r.do(req)
	wantStatus(t, res, body, 431, "head-too-large")
}
