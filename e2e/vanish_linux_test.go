package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/evenkeel-lb/evenkeel/internal/freeport"
	"github.com/evenkeel-lb/evenkeel/internal/selfsigned"
)

// room is a network namespace beside ours, joined with it by a cable.
type room struct {
	name, cable string
	here, there string // the addresses of the two ends of the cable
}

var rooms atomic.Int32 // made so far

// newRoom makes one for the length of a test, or skips it.
func newRoom(t testing.TB) room {
	t.Helper()
	peer(t, "ip")
	peer(t, "nft")
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: network namespaces need root")
	}
	own := (os.Getpid() + int(rooms.Add(1))) % 100000 // so that remains of a killed test do not collide
	net := fmt.Sprintf("10.214.%d.", own%250)
	r := room{fmt.Sprintf("ekv%d", own), fmt.Sprintf("ekv%d", own), net + "1", net + "2"}
	if out, err := exec.Command("ip", "netns", "add", r.name).CombinedOutput(); err != nil {
		if os.Getenv("EVENKEEL_PEERS") != "required" {
			t.Skipf("SKIPPED: no network namespaces here: %v\n%s", err, out)
		}
		t.Fatalf("ip netns add: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "delete", r.name).Run() }) // the cable goes with it
	sh(t, fmt.Sprintf("ip link add %s type veth peer name eth0 netns %s", r.cable, r.name))
	sh(t, fmt.Sprintf("ip addr add %s/30 dev %s && ip link set %s up", r.here, r.cable, r.cable))
	sh(t, fmt.Sprintf("ip netns exec %s sh -c 'ip addr add %s/30 dev eth0 && ip link set eth0 up && ip link set lo up'", r.name, r.there))
	return r
}

// unplug has nothing that is sent from inside the room arrive any more, not even an end, nor
// anything that is sent there. The link itself stays up, as it does when the trouble is far away.
func (r room) unplug(t testing.TB) {
	sh(t, "ip netns exec "+r.name+` nft -f - <<'END'
table inet cut {
  chain in { type filter hook input priority 0; policy drop; }
  chain out { type filter hook output priority 0; policy drop; }
}
END`)
}

// inside does something with the room's network. Sockets that it opens stay there.
func (r room) inside(t testing.TB, do func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this goroutine
		ns, err := os.Open("/run/netns/" + r.name)
		if err == nil {
			defer ns.Close()
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			err = do()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// dial connects from inside the room.
func (r room) dial(t testing.TB, port string) (conn net.Conn) {
	t.Helper()
	r.inside(t, func() (err error) {
		conn, err = net.Dial("tcp", net.JoinHostPort(r.here, port))
		return err
	})
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// begin sends a request and reads until a line comes that has the words.
func begin(t testing.TB, conn net.Conn, request, words string) {
	t.Helper()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(2 * time.Minute))
	for r := bufio.NewReader(conn); ; {
		line, err := r.ReadString('\n')
		if strings.Contains(line, words) {
			return
		}
		if err != nil {
			t.Fatalf("%q: %v before %q had come", request, err, words)
		}
	}
}

// endless serves what does not end by itself: /ws a WebSocket that is silent, /events a
// line every 50 ms, /silent an answer that does not come.
func endless(w http.ResponseWriter, r *http.Request) {
	switch strings.TrimPrefix(r.URL.Path, "/tls") {
	case "/ws":
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(io.Discard, conn)
	case "/events":
		for {
			if _, err := io.WriteString(w, "data: tick\n\n"); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	default:
		<-r.Context().Done()
	}
}

// A client or a server whose link goes down says no word more, and its leases end all the
// same: those of WebSockets and of connections carried as they are, on which nothing is on its way, and
// those of streams that are being sent; by TLS too.
func TestLeasesOfVanishedPeersEnd(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	near := &http.Server{Handler: http.HandlerFunc(endless)}
	nearBy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = near.Serve(nearBy) }()
	t.Cleanup(func() { _ = near.Close() })
	far := &http.Server{Handler: http.HandlerFunc(endless)}
	var farAway, farByTLS net.Listener
	r.inside(t, func() (err error) {
		if farAway, err = net.Listen("tcp", net.JoinHostPort(r.there, "0")); err == nil {
			farByTLS, err = net.Listen("tcp", net.JoinHostPort(r.there, "0"))
		}
		return err
	})
	cert, key, err := selfsigned.Files(t.TempDir(), "a.example")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = far.Serve(farAway) }()
	go func() { _ = far.ServeTLS(farByTLS, cert, key) }()
	t.Cleanup(func() { _ = far.Close() })
	ports := freePorts(t, r.here, 3)
	p := start(t, "run", "--admin", "127.0.0.1:0", "--config", file(t, fmt.Sprintf(`
pools:
  near: { servers: [{ id: near, address: "%s" }] }
  far: { servers: [{ id: far, address: "%s" }] }
  tls: { servers: [{ id: tls, address: "https://%[9]s" }] }
edge:
  tcp: { keepalive_idle: 1s, keepalive_interval: 1s, keepalive_count: 1, user_timeout: 2s }
  listeners:
  - { listen: "%[3]s:%[6]s", routes: [{ pool: near }, { path: /far, pool: far }, { path: /tls, pool: tls, server_tls: { ca: %[4]s, server_name: a.example } }] }
  - { listen: "%[3]s:%[7]s", tls: { certificates: [{ cert: %[4]s, key: %[5]s }] }, routes: [{ pool: near }] }
  - { listen: "%[3]s:%[8]s", mode: tcp, routes: [{ pool: near }] }
`, nearBy.Addr(), farAway.Addr(), r.here, cert, key, ports[0], ports[1], ports[2], farByTLS.Addr())))
	const upgrade = "GET /ws HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	const events = "GET /events HTTP/1.1\r\nHost: a.example\r\n\r\n"
	begin(t, r.dial(t, ports[0]), upgrade, " 101 ")
	begin(t, r.dial(t, ports[0]), events, "tick")
	begin(t, overTLS(r.dial(t, ports[1])), upgrade, " 101 ")
	begin(t, overTLS(r.dial(t, ports[1])), events, "tick")
	begin(t, r.dial(t, ports[2]), upgrade, " 101 ")
	for _, path := range []string{"/far/silent", "/tls/silent", "/tls/ws"} {
		own, err := net.Dial("tcp", net.JoinHostPort(r.here, ports[0]))
		if err != nil {
			t.Fatal(err)
		}
		defer own.Close()
		if path == "/tls/ws" {
			begin(t, own, strings.Replace(upgrade, "/ws", path, 1), " 101 ")
		} else if _, err := io.WriteString(own, "GET "+path+" HTTP/1.1\r\nHost: a.example\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	open := map[string]int{"near": 5, "far": 1, "tls": 2}
	for pool, n := range open {
		awaitOpen(t, master{Process: p}, pool, n)
	}
	r.unplug(t)
	for pool := range open {
		awaitOpen(t, master{Process: p}, pool, 0)
	}
}

// overTLS starts TLS on a connection, without verifying the peer.
func overTLS(conn net.Conn) net.Conn { return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) }

// freePorts returns ports of an address on which nothing listens.
func freePorts(t testing.TB, host string, n int) (ports []string) {
	t.Helper()
	for range n {
		port, err := freeport.Take(host)
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, port)
	}
	return ports
}
