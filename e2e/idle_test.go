package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// A client that does nothing takes no server out: not by a WebSocket on which nothing is said, an answer that it
// does not read, an upload that it does not go on with, or a redirect that it follows or not. A server that keeps
// one answer back is tried by another request every few seconds, which it answers, and is never called silent.
func TestIdleClientsTakeNoServerOut(t *testing.T) {
	t.Parallel()
	const ways = 5
	var mu sync.Mutex
	occupied := make(map[string]string) // the server of each way
	quick := make(map[string]int)       // requests answered at once, by server
	var list []string
	for i := range ways + 1 {
		id := fmt.Sprintf("s%d", i+1)
		origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			if way, is := strings.CutPrefix(r.URL.Path, "/idle/"); is {
				occupied[way] = id
			} else {
				quick[id]++
			}
			mu.Unlock()
			switch r.URL.Path {
			case "/idle/websocket":
				conn, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					return
				}
				defer conn.Close()
				_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
				_, _ = io.Copy(io.Discard, conn)
			case "/idle/reader":
				for piece := make([]byte, 1<<20); ; {
					if _, err := w.Write(piece); err != nil {
						return
					}
				}
			case "/idle/upload":
				_, _ = io.Copy(io.Discard, r.Body)
			case "/idle/poll":
				<-r.Context().Done()
			default:
				_, _ = io.WriteString(w, id)
			}
		}))
		t.Cleanup(origin.CloseClientConnections)
		root, err := url.Parse(origin.URL)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprintf("{id: %s, address: %q}", id, root.Host))
	}
	m := startFixedMaster(t, "pools: {web: {servers: ["+strings.Join(list, ", ")+"]}}")
	e := edgeAt(t, m, "e1", "web")
	redirecting := start(t, append([]string{"edge", "--id", "e2", "--master", m.wire, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--pool", "web", "--link", "redirect"}, m.proofs(t, "e2")...)...)
	for range 40 {
		_ = get(t, "http://"+e.Addr("listen")+"/")
	}
	for _, first := range []string{
		"GET /idle/websocket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"GET /idle/reader HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /idle/upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"GET /idle/poll HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		conn, err := net.Dial("tcp", e.Addr("listen"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := io.WriteString(conn, first); err != nil {
			t.Fatal(err)
		}
		way, _, _ := strings.Cut(first[strings.Index(first, "/idle/")+len("/idle/"):], " ")
		eventually(t, func() (bool, string) {
			mu.Lock()
			defer mu.Unlock()
			return occupied[way] != "", way + " has no server"
		})
	}
	_ = get(t, "http://"+redirecting.Addr("listen")+"/") // is not followed
	polled := func() int {
		mu.Lock()
		defer mu.Unlock()
		return quick[occupied["poll"]]
	}
	before := polled()
	for last := time.Now(); polled() < before+3; { // tried three times, so at least ten seconds have gone by
		if reply := get(t, "http://"+e.Addr("listen")+"/"); reply.StatusCode != http.StatusOK {
			t.Fatalf("a quick request is answered %d", reply.StatusCode)
		}
		for id, out := range outages(t, m) {
			if out.Reason == "silent" {
				mu.Lock()
				t.Errorf("%s is %+v, of %v", id, out, occupied)
				mu.Unlock()
				return
			}
		}
		if time.Since(last) > 3*time.Minute {
			t.Fatalf("the server that keeps an answer back got %d requests in three minutes, of %v", polled()-before, quick)
		}
		<-time.After(50 * time.Millisecond) // so many requests a second
	}
}
