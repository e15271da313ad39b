package master

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/internal/resolve"
	"github.com/evenkeel-lb/evenkeel/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = time.Minute

// rig is a master that runs and listens on loopback until its test ends.
type rig struct {
	*Master
	t    testing.TB
	addr string
}

// byGoroutines has the tests' masters serve all connections by goroutines.
var byGoroutines bool

// Where loops serve plaintext connections, the other way is held to the same tests.
func TestByGoroutines(t *testing.T) {
	byGoroutines = true
	defer func() { byGoroutines = false }()
	for name, test := range map[string]func(*testing.T){
		"agents are lost": TestAgentLostKeepsServerAndPlaceIsFree, "agents are silent": TestSilentAgentLosesItsPlace, "agents speak": TestAgentBringsItsServer,
		"asks": TestBatchIsAnsweredInOrder, "bad input": TestBadInput, "cancels": TestCancelAfterTheGrant, "changes": TestChangesArePushed, "clients": TestClientAndAgent,
		"clients wait": TestClientWaitsInTheQueue, "dispatches": TestServerAcceptsBeforeTheEdgeIsAnswered, "edges are lost": TestEdgeLostWhileAServerIsTold,
		"edges return": TestHoldConfirmsALeaseAfterAReconnection, "frames in pieces": TestFramesInPieces, "goodbyes": TestGoodbyeEndsLeasesAtOnce, "graces": TestLostEdgeKeepsItsLeasesForTheGrace,
		"long sends": TestALongSendArrives, "many wait": TestManyWaitAndNoneIsLost, "quiet peers": TestQuietPeerIsPingedAndDropped, "slow and willing": TestSlowPeerLosesNothing, "slow readers": TestSlowReader,
		"slow watchers": TestSlowWatcher, "stops": TestGoingAway,
	} {
		t.Run(name, test)
	}
}

func start(t testing.TB, cfg Config, tweaks ...func(*Master)) *rig {
	t.Helper()
	m := newMaster(t, cfg)
	m.loops.disabled = byGoroutines
	for _, tweak := range tweaks {
		tweak(m)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, run := range []func() error{func() error { return m.Run(ctx) }, func() error { return m.Serve(ctx, ln) }} {
		all.Go(func() {
			if err := run(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		all.Wait()
		for _, p := range m.pools.Load().list {
			p.mu.Lock()
			if err := p.core.Check(); err != nil {
				t.Error(err)
			}
			p.mu.Unlock()
		}
	})
	return &rig{m, t, ln.Addr().String()}
}

func newMaster(t testing.TB, cfg Config) *Master {
	t.Helper()
	cfg.Seed = cmp.Or(cfg.Seed, 1)
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Resolvers == nil { // names are not looked up, and lead to one address
		led := resolve.Answer{V4: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}
		var known resolve.Name
		known.Take(1, led)
		m.names.lookUp = func(resolve.Query) resolve.Name { return known }
		m.names.By(func(context.Context, resolve.Query) resolve.Answer { return led })
	}
	return m
}

// web is a config of one pool with servers of those ids.
func web(ids ...balance.ServerID) Config {
	pool := PoolConfig{Name: "web", Addresses: []string{"*.test"}}
	for _, id := range ids {
		pool.Servers = append(pool.Servers, spec(id))
	}
	return Config{ID: "m1", Pools: []PoolConfig{pool}}
}

func spec(id balance.ServerID) balance.ServerSpec {
	return balance.ServerSpec{ID: id, Address: string(id) + ".test:80"}
}

// nearbySpec is a server that its agent may speak for without a word in the file: the agent connects by loopback.
func nearbySpec(id balance.ServerID) balance.ServerSpec {
	return balance.ServerSpec{ID: id, Address: "127.0.0.1:80"}
}

// open returns the number of open leases of pool web.
func (r *rig) open() int {
	p := r.poolNamed("web")
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.core.Open()
}

// view returns what pool web knows of a server; nil: it is not there.
func (r *rig) view(id balance.ServerID) *balance.View {
	p := r.poolNamed("web")
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, v := range p.core.Views(clock.Now()) {
		if v.Spec.ID == id {
			return &v
		}
	}
	return nil
}

// eventually waits until is holds.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	limit := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-limit:
			t.Fatalf("%s: not within %v", what, patience)
		case <-tick.C:
		}
	}
}

// remotePeer is an edge or an agent that the test plays frame by frame.
type remotePeer struct {
	net.Conn
	t       testing.TB
	buf     []byte
	numbers map[uint32]balance.Grant // servers, by what grants call them

	hearsEnds bool // next returns ends of leases, too
}

func (r *rig) connect() *remotePeer {
	r.t.Helper()
	nc, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = nc.Close() })
	return &remotePeer{Conn: nc, t: r.t, numbers: make(map[uint32]balance.Grant)}
}

// dial connects and says hello.
func (r *rig) dial(role wire.Role, id string) *remotePeer {
	r.t.Helper()
	p := r.connect()
	p.send(&wire.Hello{Min: wire.MinVersion, Max: wire.MaxVersion, Role: role, ID: id, Software: "test"})
	var w wire.Welcome
	p.want(wire.TWelcome, &w)
	if w.Master != "m1" || w.Version != wire.MaxVersion || w.Epoch == 0 {
		r.t.Fatalf("welcome %+v, want master m1, version %d and an epoch", w, wire.MaxVersion)
	}
	return p
}

func (r *rig) dialEdge(id string) *remotePeer { r.t.Helper(); return r.dial(wire.RoleEdge, id) }

// dialAgent connects an agent and registers its server in pool web.
func (r *rig) dialAgent(id balance.ServerID) *remotePeer {
	r.t.Helper()
	p := r.dial(wire.RoleAgent, string(id))
	p.send(&wire.Register{Pool: "web", Server: spec(id)})
	p.sync()
	return p
}

type message interface{ Append([]byte) []byte }

func (p *remotePeer) send(messages ...message) {
	p.t.Helper()
	var out []byte
	for _, m := range messages {
		out = m.Append(out)
	}
	p.write(out)
}

func (p *remotePeer) write(b []byte) {
	p.t.Helper()
	if _, err := p.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

func (p *remotePeer) ask(asks ...wire.Ask) {
	p.t.Helper()
	var out []byte
	for i := range asks {
		out = asks[i].Append(out, clock.Now())
	}
	p.write(out)
}

// next returns the next frame but pings and, unless the peer hears them, ends of leases; or an error when the master closes.
func (p *remotePeer) next() (wire.Type, []byte, error) {
	_ = p.SetReadDeadline(time.Now().Add(patience))
	for {
		t, payload, size, err := wire.Next(p.buf)
		if err != nil {
			return 0, nil, err
		}
		if size > 0 {
			p.buf = p.buf[size:]
			if t == wire.TPing || t == wire.TEnded && !p.hearsEnds {
				continue
			}
			return t, payload, nil
		}
		more := make([]byte, 64<<10)
		n, err := p.Read(more)
		if err != nil {
			return 0, nil, err
		}
		p.buf = append(append([]byte(nil), p.buf...), more[:n]...)
	}
}

// want reads frames up to one of type t, which must come before any other but
// snapshots, their changes and overrides, and decodes it.
func (p *remotePeer) want(t wire.Type, into interface{ Decode([]byte) error }) {
	p.t.Helper()
	for {
		got, payload, err := p.next()
		if err != nil {
			p.t.Fatalf("waiting for a %s: %v", t, err)
		}
		if got != t && (got == wire.TSnapshot || got == wire.TChange || got == wire.TDrain || got == wire.TOverride) {
			continue
		}
		if got != t {
			var fail wire.Fail
			if got == wire.TFail {
				_ = fail.Decode(payload)
			}
			p.t.Fatalf("got a %s %v, want a %s", got, fail.Detail, t)
		}
		if err := into.Decode(payload); err != nil {
			p.t.Fatal(err)
		}
		return
	}
}

// sync waits until the master has handled all that was sent.
func (p *remotePeer) sync() {
	p.t.Helper()
	p.send(&wire.Ping{Seq: 7})
	p.want(wire.TPong, new(wire.Pong))
}

func (p *remotePeer) granted() wire.Granted {
	p.t.Helper()
	g := grantedNow{}
	p.want(wire.TGranted, &g)
	switch n := g.Number; {
	case g.Grant.Server == "" && p.numbers[n].Server == "":
		p.t.Fatalf("granted server number %d, which has not been named", n)
	case g.Grant.Server == "":
		g.Grant.Server, g.Grant.Address, g.Grant.Public = p.numbers[n].Server, p.numbers[n].Address, p.numbers[n].Public
	case n != 0:
		p.numbers[n] = g.Grant
	}
	return g.Granted
}

type grantedNow struct{ wire.Granted }

func (g *grantedNow) Decode(payload []byte) error { return g.Granted.Decode(payload, clock.Now()) }

func (p *remotePeer) refused() wire.Refused {
	p.t.Helper()
	var r wire.Refused
	p.want(wire.TRefused, &r)
	return r
}

// failed reads the Fail, and that the master closes behind it.
func (p *remotePeer) failed(code wire.Code) wire.Fail {
	p.t.Helper()
	var f wire.Fail
	p.want(wire.TFail, &f)
	if f.Code != code || f.Detail == "" {
		p.t.Fatalf("fail %v %q, want %v and a detail", f.Code, f.Detail, code)
	}
	p.closed()
	return f
}

func (p *remotePeer) closed() {
	p.t.Helper()
	if t, _, err := p.next(); err == nil {
		p.t.Fatalf("got a %s, want the end", t)
	} else if isTimeout(err) {
		p.t.Fatalf("not closed: %v", err)
	} else if !errors.Is(err, io.EOF) {
		p.t.Logf("closed by %v", err)
	}
}

func TestGoingAway(t *testing.T) {
	m := newMaster(t, web("a"))
	m.loops.disabled = byGoroutines
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- m.Serve(ctx, ln) }()
	r := &rig{m, t, ln.Addr().String()}
	e := r.dialEdge("e1")
	cancel()
	e.failed(wire.GoingAway)
	_ = e.Close()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
}

func TestQuietPeerIsPingedAndDropped(t *testing.T) {
	r := start(t, web("a"), func(m *Master) { m.limits.quiet = 20 * time.Millisecond })
	e := r.dialEdge("e1")
	_ = e.SetReadDeadline(time.Now().Add(patience))
	rest, err := io.ReadAll(e)
	if err != nil && isTimeout(err) {
		t.Fatal("a peer that answers no ping is still connected")
	}
	if kind, _, _, _ := wire.Next(append(e.buf, rest...)); kind != wire.TPing {
		t.Fatalf("got a %s, want a ping", kind)
	}
}

func logTo(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }
