package edge

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/proxy"
)

const (
	lastOfHTTP10 = "GET /x HTTP/1.0\r\nHost: a\r\n\r\n"
	lastOfHTTP11 = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
)

// A client that closes its connection behind its last request gives its place in the queue back, and its server.
func TestClientsThatHaveClosedGiveTheirPlaceBack(t *testing.T) {
	eachPicker(t, testClientsThatHaveClosedGiveTheirPlaceBack)
}

func testClientsThatHaveClosedGiveTheirPlaceBack(t *testing.T) {
	for name, request := range map[string]string{"HTTP/1.0": lastOfHTTP10, "HTTP/1.1": lastOfHTTP11} {
		for _, atOnce := range []bool{true, false} { // the end comes with the request, or when that is being dealt with
			for _, queued := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/at-once-%v/queued-%v", strings.ReplaceAll(name, "/", ""), atOnce, queued), func(t *testing.T) {
					under, left := make(chan struct{}, 1), make(chan struct{}, 1)
					wait := func(ctx context.Context) {
						under <- struct{}{}
						<-ctx.Done()
						left <- struct{}{}
					}
					p := newFakePicker()
					own := server(t, func(_ http.ResponseWriter, r *http.Request) { wait(r.Context()) })
					p.pick = func(ctx context.Context, _ *balance.Request) (balance.Grant, error) {
						if queued {
							wait(ctx)
							return balance.Grant{}, ctx.Err()
						}
						return granted("s1", own), nil
					}
					r := run(t, p, nil)
					conn, err := net.Dial("tcp", r.address)
					if err != nil {
						t.Fatal(err)
					}
					_, _ = io.WriteString(conn, request)
					if !atOnce {
						<-under
					}
					_ = conn.Close()
					if queued && atOnce {
						<-under
					}
					if queued || !atOnce { // else the server may not have been asked any more
						select {
						case <-left:
						case <-time.After(time.Minute):
							t.Fatal("what its client has left behind goes on")
						}
					}
					if !queued {
						p.untilGranted()
						p.wantResults(t, balance.Canceled)
					}
				})
			}
		}
	}
}

// What a client gets that closes its sending side and waits is what it gets otherwise, byte for byte.
func TestHalfClosedClientsGetTheirAnswerWhole(t *testing.T) {
	eachPicker(t, testHalfClosedClientsGetTheirAnswerWhole)
}

func testHalfClosedClientsGetTheirAnswerWhole(t *testing.T) {
	for name, c := range map[string]struct {
		answer  string // of the server
		refusal *balance.Refusal
		link    balance.Link
	}{
		"with a length": {answer: brief},
		"in chunks":     {answer: "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"},
		"behind hints":  {answer: "HTTP/1.1 103 Early Hints\r\nLink: </s.css>\r\n\r\n" + brief},
		"refused":       {refusal: &balance.Refusal{Reason: balance.Saturated}},
		"redirected":    {answer: brief, link: balance.LinkRedirect},
	} {
		for _, secure := range []bool{false, true} {
			for _, request := range []string{lastOfHTTP10, lastOfHTTP11} {
				t.Run(fmt.Sprintf("%s/secure-%v/%s", strings.ReplaceAll(name, " ", "-"), secure, strings.ReplaceAll(request[7:15], "/", "")), func(t *testing.T) {
					address, _ := spoken(t, c.answer)
					waits, goes := make(chan struct{}), make(chan struct{})
					p := newFakePicker()
					p.pick = func(context.Context, *balance.Request) (balance.Grant, error) {
						waits <- struct{}{}
						<-goes
						if c.refusal != nil {
							return balance.Grant{}, c.refusal
						}
						return balance.Grant{Server: "s1", Address: address}, nil
					}
					start := run
					if secure {
						start = runSecure
					}
					r := start(t, p, func(cfg *Config) { cfg.Listeners[0].Routes[0].Link = c.link })
					ask := func(half bool) string {
						tcp, err := net.Dial("tcp", r.address)
						if err != nil {
							t.Fatal(err)
						}
						defer func() { _ = tcp.Close() }()
						conn := tcp
						if secure {
							conn = tls.Client(tcp, &tls.Config{InsecureSkipVerify: true})
						}
						_, _ = io.WriteString(conn, strings.Replace(request, "\r\n\r\n", "\r\nX-Request-Id: one\r\n\r\n", 1))
						<-waits
						if half {
							_ = tcp.(*net.TCPConn).CloseWrite()
							first := make([]byte, 1)
							if _, err := io.ReadFull(conn, first); err != nil || string(first) != proxy.FirstByte {
								t.Errorf("got %q, %v before the answer, want its first byte", first, err)
							}
						}
						goes <- struct{}{}
						_ = tcp.SetReadDeadline(time.Now().Add(time.Minute))
						rest, _ := io.ReadAll(conn)
						if half {
							rest = append([]byte(proxy.FirstByte), rest...)
						}
						return strings.ReplaceAll(string(rest), r.address, "EDGE")
					}
					again := func() { p.mu.Lock(); p.leases = 0; p.mu.Unlock() } // so that both have the same
					plain := ask(false)
					again()
					if half := ask(true); half != plain || !strings.HasPrefix(half, "HTTP/1.1 ") {
						t.Errorf("half-closed, the client got\n%q\nand otherwise\n%q", half, plain)
					}
				})
			}
		}
	}
}
