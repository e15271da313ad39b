package edge

import (
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
)

// behindRelays is in the name of tests whose servers speak TLS: before each server of the test stands a relay that speaks TLS with
// the edge, in records and packets of any size.
const behindRelays = "to-tls"

// eachServer is eachPicker for tests whose servers speak HTTP/1.1: it runs them with servers that speak TLS, too.
func eachServer(t *testing.T, test func(t *testing.T)) {
	eachPicker(t, test)
	t.Run(behindRelays, test)
}

// toTLS reports whether the test runs with servers that speak TLS.
func toTLS(t *testing.T) bool { return strings.Contains(t.Name(), "/"+behindRelays) }

// behindTLS puts the relays before the servers that the picker grants, unless one is of HTTP/2.
func behindTLS(t *testing.T, cfg *Config, p *fakePicker) {
	t.Helper()
	for _, l := range cfg.Listeners {
		for _, r := range l.Routes {
			if r.ServerProtocol == routing.HTTP2 {
				return // by which relays do not speak
			}
		}
	}
	cert, believed := identity(t, "127.0.0.1")
	for i := range cfg.Listeners {
		for j := range cfg.Listeners[i].Routes {
			cfg.Listeners[i].Routes[j].ServerTLS = &tls.Config{RootCAs: believed}
		}
	}
	all := &tlsRelays{t: t, cfg: &tls.Config{Certificates: []tls.Certificate{cert}}, to: make(map[string]string), open: make(map[io.Closer]struct{})}
	t.Cleanup(all.close)
	p.relayed = func(g balance.Grant) balance.Grant {
		g.Address = "https://" + all.before(g.Address)
		return g
	}
}

// tlsRelays are the relays of one edge.
type tlsRelays struct {
	t       *testing.T
	cfg     *tls.Config
	serving sync.WaitGroup
	up      sync.WaitGroup // what still brings servers something

	mu    sync.Mutex
	to    map[string]string // addresses of the relays, by the servers'
	open  map[io.Closer]struct{}
	conns uint64
	over  bool
}

// before returns the address of the relay before a server.
func (all *tlsRelays) before(server string) string {
	all.mu.Lock()
	defer all.mu.Unlock()
	if at, known := all.to[server]; known {
		return at
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		all.t.Error(err)
		return server
	}
	all.open[l] = struct{}{}
	all.to[server] = l.Addr().String()
	all.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.serving.Go(func() { all.serve(conn.(*net.TCPConn), server) })
		}
	})
	return l.Addr().String()
}

// keep has a connection closed in the end, and returns its number; false: that is now. Until up.Done is called something
// is brought to the server.
func (all *tlsRelays) keep(edge io.Closer) (number uint64, ok bool) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.over {
		return 0, false
	}
	all.open[edge] = struct{}{}
	all.conns++
	all.up.Add(1)
	return all.conns, true
}

// close ends them when all that the edge, which has stopped, has sent is with the servers, or these take no more.
func (all *tlsRelays) close() {
	all.mu.Lock()
	all.over = true
	all.mu.Unlock()
	brought := make(chan struct{})
	go func() { all.up.Wait(); close(brought) }()
	select {
	case <-brought:
	case <-time.After(5 * time.Second):
	}
	all.mu.Lock()
	for c := range all.open {
		_ = c.Close()
	}
	all.mu.Unlock()
	all.serving.Wait()
	<-brought
}

// serve joins the edge with a server. What either does to its connection is done to the other's.
func (all *tlsRelays) serve(edge *net.TCPConn, address string) {
	defer func() { _ = edge.Close() }()
	near, err := net.Dial("tcp", address)
	if err != nil {
		_ = edge.SetLinger(0) // no peer is there
		return
	}
	server := near.(*net.TCPConn)
	defer func() { _ = server.Close() }()
	number, ok := all.keep(closers{edge, server})
	if !ok {
		return
	}
	random := rand.New(rand.NewPCG(1, number))
	secure := tls.Server(&cutting{edge, random}, all.cfg)
	if secure.Handshake() != nil {
		all.up.Done()
		return
	}
	up := make(chan struct{})
	go func() {
		defer close(up)
		defer all.up.Done()
		if _, err := io.Copy(server, secure); err != nil {
			_ = server.SetLinger(0)
			_ = edge.SetLinger(0)
			_ = server.Close()
			_ = edge.Close()
			return
		}
		_ = server.CloseWrite()
	}()
	if err := inRecords(secure, server, random); err != nil {
		_ = edge.SetLinger(0)
		_ = server.SetLinger(0)
		_ = edge.Close()
		_ = server.Close()
	} else {
		_ = secure.CloseWrite()
		if number%2 == 0 {
			_ = edge.CloseWrite()
		}
	}
	<-up
}

// closers are the two ends of a relay.
type closers [2]io.Closer

func (c closers) Close() error { return errors.Join(c[0].Close(), c[1].Close()) }

// inRecords copies what comes into records of any size.
func inRecords(to io.Writer, from io.Reader, random *rand.Rand) error {
	for buf := make([]byte, 32<<10); ; {
		n, err := from.Read(buf)
		for p := buf[:n]; len(p) > 0; {
			size := len(p)
			if random.IntN(4) == 0 {
				size = 1 + random.IntN(len(p))
			}
			if _, err := to.Write(p[:size]); err != nil {
				return err
			}
			p = p[size:]
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// cutting is a connection that sends some of what it is told in two packets. One goroutine writes.
type cutting struct {
	net.Conn
	random *rand.Rand
}

func (c *cutting) Write(p []byte) (n int, err error) {
	if len(p) > 1 && c.random.IntN(4) == 0 {
		if n, err = c.Conn.Write(p[:1+c.random.IntN(len(p)-1)]); err != nil {
			return n, err
		}
	}
	m, err := c.Conn.Write(p[n:])
	return n + m, err
}
