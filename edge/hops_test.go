package edge

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/edge/exchange"
)

func TestRequestsThatGoInCirclesEnd(t *testing.T) {
	eachPicker(t, func(t *testing.T) {
		p := newFakePicker()
		r := run(t, p, func(c *Config) { c.Via = "edges" })
		p.pick = among(granted("itself", &httptest.Server{Listener: address(r.address)}))
		res, body := r.do(r.request("GET", "/", ""))
		wantStatus(t, res, body, http.StatusLoopDetected, exchange.ReasonLoop)
		if got := len(p.results(t)); got != defaultMaxHops+1 {
			t.Errorf("%d leases were granted, want %d", got, defaultMaxHops+1)
		}
		if got := strings.Join(res.Header.Values("Via"), ", "); strings.Count(got, "1.1 edges") != defaultMaxHops+1 {
			t.Errorf("Via of the answer: %q", got)
		}
	})
}

func TestHopsOfOthersDoNotCount(t *testing.T) {
	p := newFakePicker()
	p.pick = among(granted("s1", server(t, func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, r.Header.Values("Via")) })))
	r := run(t, p, func(c *Config) { c.MaxHops = 1 })
	for told, want := range map[string]string{
		"1.1 a, 1.1 b, 2 c (evenkeel)": "200", "1.1 evenkeel": "200", "HTTP/1.1 evenkeel (x), 1.0 evenkeel": "508", "1.1 evenkeel2, 1.1 Evenkeel:80, 1.1 evenkeel": "200",
	} {
		res, body := r.do(r.request("GET", "/", "", "Via", told))
		if got := fmt.Sprint(res.StatusCode); got != want || got == "200" && body != "["+told+", 1.1 evenkeel]" {
			t.Errorf("Via: %s: got %s %s, want %s", told, got, body, want)
		}
	}
}

// A server that does not look for a body where few have one takes the body for another request. Its
// answer must reach no other client.
func TestBodiesThatNobodyLooksForReachNoOtherClient(t *testing.T) {
	eachServer(t, func(t *testing.T) {
		for _, method := range []string{"GET", "HEAD", "DELETE", "OPTIONS", "TRACE"} {
			var connections []string // by which requests came; one comes after the other
			p := newFakePicker()
			p.pick = among(granted("s1", server(t, func(w http.ResponseWriter, r *http.Request) {
				connections = append(connections, r.RemoteAddr)
				_, _ = io.Copy(io.Discard, r.Body)
			})))
			r := run(t, p, func(c *Config) { c.Loops = 1 }) // each keeps connections of its own
			for _, request := range []string{method + " / HTTP/1.1\r\n", "GET / HTTP/1.1\r\n", method + " / HTTP/1.1\r\nContent-Length: 3\r\n", "GET / HTTP/1.1\r\n", method + " / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", "GET / HTTP/1.1\r\n", "PUT / HTTP/1.1\r\nContent-Length: 3\r\n", "GET / HTTP/1.1\r\n"} {
				body := ""
				switch {
				case strings.Contains(request, "Length"):
					body = "abc"
				case strings.Contains(request, "chunked"):
					body = "3\r\nabc\r\n0\r\n\r\n"
				}
				if answer := r.raw(request + "Host: a\r\nConnection: close\r\n\r\n" + body); !strings.HasPrefix(answer, "HTTP/1.1 200 ") {
					t.Fatalf("%q: got %q", request, answer)
				}
			}
			if len(connections) != 8 {
				t.Fatalf("%d requests came, want 8", len(connections))
			}
			for i, same := range []bool{true, true, false, true, false, true, true} {
				if got := connections[i] == connections[i+1]; got != same {
					t.Errorf("%s: requests %d and %d came by one connection: %v, want %v", method, i, i+1, got, same)
				}
			}
		}
	})
}

// address is a listener's, and nothing else of it.
type address string

func (a address) Accept() (net.Conn, error) { return nil, net.ErrClosed }
func (a address) Close() error              { return nil }
func (a address) Addr() net.Addr            { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(string(a))) }
