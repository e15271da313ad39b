package edge

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
)

// Connections go where the grant says, and by TLS the server has to be the one that its address names. When the grant
// says another place, connections that are kept are used no more.
func TestConnectionsGoWhereAGrantSays(t *testing.T) { eachPicker(t, testConnectionsGoWhereAGrantSays) }

func testConnectionsGoWhereAGrantSays(t *testing.T) {
	pair, believers := identity(t, "app.test")
	dir, err := os.MkdirTemp("", "ek") // a path of a test is too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, c := range []struct {
		what     string
		protocol routing.Protocol
		secure   bool
		unix     bool
	}{{"plain", routing.HTTP1, false, false}, {"TLS", routing.HTTP1, true, false}, {"HTTP/2", routing.HTTP2, false, false}, {"HTTP/2 by TLS", routing.HTTP2, true, false}, {"unix", routing.HTTP1, false, true}, {"HTTP/2 by unix", routing.HTTP2, false, true}} {
		t.Run(c.what, func(t *testing.T) {
			var at atomic.Pointer[string]
			serve := func(word string) string {
				s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, word) }))
				s.Config.Protocols = new(http.Protocols)
				s.Config.Protocols.SetHTTP1(c.protocol == routing.HTTP1)
				s.Config.Protocols.SetUnencryptedHTTP2(c.protocol == routing.HTTP2)
				if c.unix {
					l, err := net.Listen("unix", filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "")[len("TestConnectionsGo"):]+word))
					if err != nil {
						t.Fatal(err)
					}
					s.Listener = l
				}
				if c.secure {
					s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
					s.EnableHTTP2 = c.protocol == routing.HTTP2
					s.StartTLS()
				} else {
					s.Start()
				}
				t.Cleanup(s.Close)
				if c.unix {
					return "unix:" + s.Listener.Addr().String()
				}
				return s.Listener.Addr().String()
			}
			p := newFakePicker()
			p.pick = func(context.Context, *balance.Request) (balance.Grant, error) {
				g := balance.Grant{Server: "a", Address: "app.test:80", At: *at.Load()}
				if c.unix {
					g = balance.Grant{Server: "a", Address: *at.Load()}
				}
				return g, nil
			}
			r := runSecure(t, p, func(cfg *Config) {
				cfg.Listeners[0].Routes[0].ServerProtocol = c.protocol
				if c.secure {
					cfg.Listeners[0].Routes[0].ServerTLS = &tls.Config{RootCAs: believers, MinVersion: tls.VersionTLS12}
				}
			})
			if c.protocol == routing.HTTP2 {
				r.client.Transport.(*http.Transport).ForceAttemptHTTP2 = true
			}
			for _, word := range []string{"old", "new"} {
				where := serve(word)
				at.Store(&where)
				for i := range 3 {
					res, body := r.do(secureRequest(r, "GET", "/", ""))
					if res.StatusCode != 200 || body != word {
						t.Errorf("request %d to the %s place: got %d %q", i, word, res.StatusCode, body)
					}
				}
			}
			nowhere := balance.NowhereFor("app.test: no such host")
			if at.Store(&nowhere); !c.unix {
				if res, body := r.do(secureRequest(r, "GET", "/", "")); res.StatusCode != 502 || !strings.Contains(body, `"reason":"unresolved"`) {
					t.Errorf("nowhere: got %d %q", res.StatusCode, body)
				}
			}
		})
	}
}

// A server with addresses of both families is reached by either.
func TestTunnelsGoWhereAGrantSays(t *testing.T) { eachPicker(t, testTunnelsGoWhereAGrantSays) }

func testTunnelsGoWhereAGrantSays(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello")
			_ = c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	r := run(t, to(balance.Grant{Server: "a", Address: "app.test:80", At: "[::1]:" + port + ",127.0.0.1:" + port}), func(c *Config) { c.Listeners[0].Mode = routing.ModeTCP })
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got, err := io.ReadAll(conn); string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
}

// A tunnel's request goes on to another server when none of one's addresses is reached.
func TestTunnelsWhoseServerIsNowhere(t *testing.T) { eachPicker(t, testTunnelsWhoseServerIsNowhere) }

func testTunnelsWhoseServerIsNowhere(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(gone.Addr().String())
	_ = gone.Close() // nothing listens there
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello")
			_ = c.Close()
		}
	}()
	p := newFakePicker()
	p.pick = func(_ context.Context, req *balance.Request) (balance.Grant, error) {
		if len(req.Exclude) == 0 {
			return balance.Grant{Lease: 1, Server: "gone", Address: "app.test:80", At: "[::1]:" + port + ",127.0.0.1:" + port}, nil
		}
		return balance.Grant{Lease: 2, Server: "here", Address: l.Addr().String()}, nil
	}
	r := run(t, p, asTCP)
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if got, err := io.ReadAll(conn); string(got) != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
}
