package edge

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/preface"
)

// TestClientsThatResetBeforeTheyAreServed holds that a client may reset its connection while it waits in the kernel's queue:
// what accept then returns has no peer any more. Clients that come behind it are served.
func TestClientsThatResetBeforeTheyAreServed(t *testing.T) {
	eachPicker(t, testClientsThatResetBeforeTheyAreServed)
}

func testClientsThatResetBeforeTheyAreServed(t *testing.T) {
	for name, listen := range map[string]func(*routing.Listener){
		"plain": func(*routing.Listener) {},
		"h2c":   func(l *routing.Listener) { l.H2C = true },
		"TLS":   nil,
		"PROXY": func(l *routing.Listener) { l.ProxyTrusted = loopbackPrefix },
		"TCP":   func(l *routing.Listener) { l.Mode = routing.ModeTCP },
		"TCP behind PROXY": func(l *routing.Listener) {
			l.Mode, l.ProxyTrusted = routing.ModeTCP, loopbackPrefix
		},
		"few connections a client": func(l *routing.Listener) { l.ClientLimits.Connections = 100 },
	} {
		t.Run(name, func(t *testing.T) {
			ours, _ := identity(t, "a.example")
			proxied := false
			r := runAfter(t, echoHead(t, "X"), func(l net.Listener) {
				for range 20 {
					conn, err := net.Dial("tcp", l.Addr().String())
					if err != nil {
						t.Fatal(err)
					}
					_ = conn.(*net.TCPConn).SetLinger(0)
					_ = conn.Close()
				}
			}, func(c *Config) {
				l := &c.Listeners[0]
				if listen == nil {
					l.Certificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &ours, nil }
					return
				}
				listen(l)
				proxied = len(l.ProxyTrusted) > 0
			})
			conn, err := net.Dial("tcp", r.address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(time.Minute))
			if proxied {
				head := preface.Proxy{Source: addrPort(conn.LocalAddr()), Destination: addrPort(conn.RemoteAddr())}
				_, _ = conn.Write(head.AppendV1(nil))
			}
			if listen == nil {
				conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
			}
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\nX: mine\r\n\r\n")
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, _ := io.ReadAll(res.Body); res.StatusCode != 200 || !strings.Contains(string(body), `"mine"`) {
				t.Errorf("got %d %q", res.StatusCode, body)
			}
		})
	}
}

// addrPort returns the address of a TCP connection's end.
func addrPort(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }
