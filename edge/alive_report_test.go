package edge

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// The master hears now and then of a server whose answer takes long and whose bytes come:
// as a report without figures. Of one that says nothing it hears nothing.
func TestBytesOfALongAnswerAreASignOfLife(t *testing.T) {
	t.Parallel()
	lines := func(w io.Writer, gone <-chan struct{}, flush func()) {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-gone:
				return
			case <-tick.C:
				if _, err := fmt.Fprintf(w, "line %d\n", n); err != nil {
					return
				}
				flush()
			}
		}
	}
	origin := server(t, func(w http.ResponseWriter, r *http.Request) {
		lines(w, r.Context().Done(), func() { _ = http.NewResponseController(w).Flush() })
	})
	for name, c := range map[string]struct {
		to    balance.Grant
		tune  func(*Config)
		first string
	}{
		"a response": {balance.Grant{Server: "s1", Address: origin.Listener.Addr().String()}, func(*Config) {}, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"},
		"a tunnel": {tcpServer(t, "s1", func(c *net.TCPConn) {
			lines(c, nil, func() {})
		}), asTCP, "hello\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newFakePicker()
			p.pick = among(c.to)
			r := run(t, p, c.tune)
			conn := r.connect()
			if _, err := io.WriteString(conn, c.first); err != nil {
				t.Fatal(err)
			}
			signs := func() (n int) {
				p.mu.Lock()
				defer p.mu.Unlock()
				for _, report := range p.reports {
					if report.Server != "s1" || len(report.Metrics) > 0 {
						t.Errorf("report %+v, want no figures, and s1's", report)
					}
				}
				return len(p.reports)
			}
			for in := bufio.NewReader(conn); signs() < 2; {
				if _, err := in.ReadString('\n'); err != nil {
					t.Fatalf("after %d signs: %v", signs(), err)
				}
			}
		})
	}
}
