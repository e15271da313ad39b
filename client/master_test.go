package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeMaster speaks the protocol and remembers what it was told. By default it grants
// every ask, on server "s".
type fakeMaster struct {
	t         testing.TB
	listener  net.Listener
	onAsk     func(c *fakeConn, m *wire.Ask) // nil: grant
	onWelcome func(c *fakeConn)
	id        string // empty: "fake"
	elected   bool
	ends      bool                    // it tells agents of the ends of leases
	fail      *wire.Fail              // instead of the welcome
	epoch     uint64                  // zero: 1
	mute      bool                    // after the welcome, says nothing of its own accord: not even Pong
	atOnce    int                     // bytes that a read takes; zero: as many as have come
	wrap      func(net.Conn) net.Conn // of each connection; nil: as it is
	clientTLS *tls.Config             // of its clients; nil: it is spoken to plainly

	wg    sync.WaitGroup
	mu    sync.Mutex
	seen  *sync.Cond
	got   []any
	reads int
	conns []*fakeConn
	lease balance.LeaseID
}

type fakeConn struct {
	m *fakeMaster
	net.Conn
	out   []byte
	named string // the pool that the last ask or done named
	agent wire.Register
	forms map[uint32]wire.Form
}

// fill puts into reports what they leave out.
func (c *fakeConn) fill(reports []wire.PoolReport, pool string) {
	for i := range reports {
		r := &reports[i]
		r.Pool, r.Report.Server = cmp.Or(r.Pool, pool), cmp.Or(r.Report.Server, c.agent.Server.ID)
		if names := c.forms[r.Form].Names; r.Form != 0 && len(names) != len(r.Report.Metrics) {
			c.m.t.Errorf("form %d has %d names, the report %d values", r.Form, len(names), len(r.Report.Metrics))
			continue
		}
		for k, name := range c.forms[r.Form].Names {
			r.Report.Metrics[k].Name = name
		}
	}
}

// meant returns the pool that an ask or a done is for.
func (c *fakeConn) meant(pool string) string {
	if pool != "" {
		c.named = strings.Clone(pool)
	}
	return c.named
}

// startMaster listens on loopback until the test ends.
func startMaster(t testing.TB, m *fakeMaster) *fakeMaster {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.t, m.lease = t, 0x1000
	m.seen = sync.NewCond(&m.mu)
	m.listen(l)
	t.Cleanup(m.stop)
	return m
}

// startTLSMaster is startMaster with TLS, over what the wraps make of a connection.
func startTLSMaster(t testing.TB, m *fakeMaster, wraps ...func(net.Conn) net.Conn) *fakeMaster {
	t.Helper()
	m.clientTLS = &tls.Config{InsecureSkipVerify: true} // the certificate is another test's affair
	m.wrap = func(c net.Conn) net.Conn {
		for _, wrap := range wraps {
			c = wrap(c)
		}
		return tls.Server(c, serverTLS(t))
	}
	return startMaster(t, m)
}

func (m *fakeMaster) addr() string { return m.listener.Addr().String() }

func (m *fakeMaster) stop() {
	m.listener.Close()
	m.cut()
	m.wg.Wait()
}

// cut closes every connection.
func (m *fakeMaster) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.conns {
		c.Close()
	}
}

// listen serves l, in the place of a listener that is closed.
func (m *fakeMaster) listen(l net.Listener) {
	m.listener = l
	m.wg.Go(func() { m.accept(l) })
}

func (m *fakeMaster) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		if m.wrap != nil {
			conn = m.wrap(conn)
		}
		c := &fakeConn{m: m, Conn: conn}
		m.mu.Lock()
		m.conns = append(m.conns, c)
		m.mu.Unlock()
		m.wg.Go(c.serve)
	}
}

// note remembers what came in.
func (m *fakeMaster) note(v any) {
	m.mu.Lock()
	m.got = append(m.got, v)
	m.seen.Broadcast()
	m.mu.Unlock()
}

// await waits until n messages for which match holds have come in, and returns them.
func await[T any](m *fakeMaster, n int, match func(T) bool) []T {
	m.t.Helper()
	late := time.AfterFunc(2*time.Minute, func() { m.note(nil) })
	defer late.Stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		var found []T
		for _, v := range m.got {
			if t, ok := v.(T); ok && (match == nil || match(t)) {
				found = append(found, t)
			}
		}
		if len(found) >= n {
			return found
		}
		if len(m.got) > 0 && m.got[len(m.got)-1] == nil {
			m.t.Fatalf("%d of %d messages came in 2 minutes; all: %#v", len(found), n, m.got)
		}
		m.seen.Wait()
	}
}

func (c *fakeConn) serve() {
	defer c.Close()
	buf, have, greeted := make([]byte, 1<<21), 0, false
	for {
		n, err := c.Read(buf[have:min(len(buf), have+cmp.Or(c.m.atOnce, len(buf)))])
		if err != nil {
			return
		}
		c.m.mu.Lock()
		c.m.reads++
		c.m.mu.Unlock()
		have += n
		used := 0
		for {
			if !greeted {
				var hello wire.Hello
				version, size, fail := wire.Greet(buf[used:have], &hello)
				if fail == nil && size > 0 && c.m.fail != nil {
					fail = c.m.fail
				}
				if fail != nil {
					c.Write(fail.Append(nil))
					return
				}
				if size == 0 {
					break
				}
				hello.ID, hello.Software = strings.Clone(hello.ID), strings.Clone(hello.Software)
				c.m.note(hello)
				c.Write((&wire.Welcome{Version: version, Master: cmp.Or(c.m.id, "fake"), Epoch: max(1, c.m.epoch), Elected: c.m.elected, Ends: c.m.ends}).Append(nil))
				if c.m.onWelcome != nil {
					c.m.onWelcome(c)
				}
				greeted, used = true, used+size
				continue
			}
			t, payload, size, err := wire.Next(buf[used:have])
			if err != nil {
				c.m.t.Errorf("the client sent: %v", err)
				return
			}
			if size == 0 {
				break
			}
			c.frame(t, slices.Clone(payload))
			used += size
		}
		have = copy(buf, buf[used:have])
		if len(c.out) > 0 {
			c.Write(c.out)
			c.out = c.out[:0]
		}
	}
}

func (c *fakeConn) frame(t wire.Type, payload []byte) {
	check := func(err error) {
		if err != nil {
			c.m.t.Errorf("the client sent: %v", err)
		}
	}
	switch t {
	case wire.TAsk:
		m := new(wire.Ask)
		check(m.Decode(payload, 1))
		m.Pool = c.meant(m.Pool)
		c.fill(m.Reports, m.Pool)
		c.m.note(*m)
		if c.m.onAsk != nil {
			c.m.onAsk(c, m)
			return
		}
		c.grant(m)
	case wire.TDone:
		var m wire.Done
		check(m.Decode(payload))
		m.Pool = c.meant(m.Pool)
		c.m.note(m)
	case wire.TCancel:
		var m wire.Cancel
		check(m.Decode(payload))
		c.m.note(m)
	case wire.THold:
		var m wire.Hold
		check(m.Decode(payload))
		c.m.note(m)
	case wire.TWatch:
		var m wire.Watch
		check(m.Decode(payload))
		c.m.note(m)
	case wire.TReports:
		var m wire.Reports
		check(m.Decode(payload))
		c.fill(m.Reports, c.agent.Pool)
		c.m.note(m)
	case wire.TRegister:
		var m wire.Register
		check(m.Decode(payload))
		c.agent = m
		c.m.note(m)
	case wire.TForm:
		var m wire.Form
		check(m.Decode(slices.Clone(payload)))
		if c.forms == nil {
			c.forms = make(map[uint32]wire.Form)
		}
		c.forms[m.Number] = m
	case wire.TChosen:
		var m wire.Chosen
		check(m.Decode(payload))
		m.Pool = c.meant(m.Pool)
		c.m.note(m)
	case wire.TFence:
		var m wire.Fence
		check(m.Decode(payload))
		c.m.note(m)
	case wire.TWorking:
		var m wire.Working
		check(m.Decode(payload))
		c.m.note(m)
	case wire.TVerdict:
		var m wire.Verdict
		check(m.Decode(payload))
		c.m.note(m)
	case wire.TFail:
		var m wire.Fail
		check(m.Decode(payload))
		c.m.note(m)
	case wire.TGoodbye:
		c.m.note(wire.Goodbye{})
		c.Close()
	case wire.TPing:
		var m wire.Ping
		check(m.Decode(payload))
		if !c.m.mute {
			c.out = (&wire.Pong{Seq: m.Seq}).Append(c.out)
		}
	default:
		c.m.t.Errorf("the client sent a %v", t)
	}
}

func (c *fakeConn) grant(m *wire.Ask) {
	c.m.mu.Lock()
	c.m.lease++
	lease := c.m.lease
	c.m.mu.Unlock()
	c.out = (&wire.Granted{Seq: m.Seq, Grant: balance.Grant{Lease: lease, Server: "s", Address: "127.0.0.1:80"}}).Append(c.out, 1)
}

// start runs a Client until the test ends and waits until it is connected.
func start(t testing.TB, cfg Config, m *fakeMaster) *Client {
	t.Helper()
	if cfg.ID == "" {
		cfg.ID = "edge-a"
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, c.Run)
	waitFor(t, "a connection", c.Connected)
	return c
}

// run runs it until the test ends, or until the returned stop.
func run(t testing.TB, it func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- it(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// waitFor polls a condition that nothing announces.
func waitFor(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for late := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("no %s within 2 minutes", what)
		}
	}
}
