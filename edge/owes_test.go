package edge

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/exchange"
)

// The master hears, once a link has lasted, that its server owes nothing: the connection is upgraded, the
// client takes nothing more, or has not sent all. When the server owes something again it hears that. Of a server
// that keeps its answer back, or does not take what comes, it hears nothing.
func TestWhatAServerDoesNotOweIsTold(t *testing.T) {
	t.Parallel()
	origin := server(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ws":
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_, _ = io.Copy(io.Discard, conn)
			return
		case "/large":
			for piece := make([]byte, 1<<20); ; {
				if _, err := w.Write(piece); err != nil {
					return
				}
			}
		case "/upload":
			_, _ = io.Copy(io.Discard, r.Body)
		}
		<-r.Context().Done()
	})
	to := balance.Grant{Server: "s1", Address: origin.Listener.Addr().String()}
	const upgrade = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	swallow := func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) }
	for name, c := range map[string]struct {
		to    balance.Grant
		tune  func(*Config)
		first string // of the first connection; what the second says is the sign by which it is known that the first was looked at
		then  string // what it says once it was told that nothing is owed; with that something is
		owes  bool   // of the first nothing is told
	}{
		"an upgraded connection":         {to: to, first: upgrade},
		"a client that reads nothing":    {to: to, first: "GET /large HTTP/1.1\r\nHost: h\r\n\r\n"},
		"an upload":                      {to: to, first: "POST /upload HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", then: "0\r\n\r\n"},
		"a connection of TCP":            {to: tcpServer(t, "s1", swallow), tune: asTCP},
		"an answer that is late":         {to: to, first: "GET /late HTTP/1.1\r\nHost: h\r\n\r\n", owes: true},
		"the first answer on one of TCP": {to: tcpServer(t, "s1", swallow), tune: asTCP, first: "hello\n", owes: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newFakePicker()
			p.pick = among(c.to)
			r := run(t, p, func(cfg *Config) {
				if c.tune != nil {
					c.tune(cfg)
				}
			})
			say := func(conn net.Conn, what string) {
				if _, err := io.WriteString(conn, what); err != nil {
					t.Fatal(err)
				}
			}
			told := func(n int) owed { // the n-th
				for {
					p.mu.Lock()
					all, changed := p.owed, p.changed
					p.mu.Unlock()
					if len(all) >= n {
						return all[n-1]
					}
					<-changed
				}
			}
			first := r.connect()
			say(first, c.first)
			for granted := 0; granted == 0; {
				p.mu.Lock()
				changed := p.changed
				granted = len(p.granted)
				p.mu.Unlock()
				if granted == 0 {
					<-changed
				}
			}
			p.mu.Lock()
			lease := p.leases
			p.mu.Unlock()
			if c.owes {
				second := r.connect()
				if c.tune == nil {
					say(second, upgrade)
				}
				if got := told(1); got.owes || got.lease == lease {
					t.Errorf("%+v was told, where lease %v owes an answer", got, lease)
				}
				return
			}
			if got := told(1); got != (owed{lease, false}) {
				t.Fatalf("%+v was told first, want that nothing is owed on lease %v", got, lease)
			}
			if c.then != "" {
				say(first, c.then)
				if got := told(2); got != (owed{lease, true}) {
					t.Errorf("%+v was told then, want that something is owed", got)
				}
			}
		})
	}
}

// A byte that comes early on a link that then lasts is told, with its age.
func TestAnEarlyByteOfAQuietAnswerIsASignOfLife(t *testing.T) {
	t.Parallel()
	origin := server(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	p := newFakePicker()
	p.pick = among(balance.Grant{Server: "s1", Address: origin.Listener.Addr().String()})
	r := run(t, p, nil)
	conn := r.connect()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	for in := bufio.NewReader(conn); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(line, "first") {
			break
		}
	}
	for {
		p.mu.Lock()
		told, changed := p.reports, p.changed
		p.mu.Unlock()
		if len(told) > 0 {
			if told[0].Server != "s1" || told[0].Age < exchange.QuietAfter || len(told[0].Metrics) > 0 {
				t.Errorf("report %+v, want s1's, without figures, and how old the byte is", told[0])
			}
			return
		}
		<-changed
	}
}
