package master

import (
	"encoding/binary"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// Whatever one peer does, it gets a clear answer, and an edge that asks all the
// while notices nothing.
func TestBadInput(t *testing.T) {
	r := start(t, web("a"), func(m *Master) { m.limits.handshake = time.Second }) // in which the good ones must have come
	good := r.dialEdge("good")
	oversized := binary.LittleEndian.AppendUint32(nil, wire.MaxFrame+1)
	for _, c := range []struct {
		name string
		do   func(p *remotePeer)
		code wire.Code
		tell string // in the detail
	}{
		{"garbage at once", func(p *remotePeer) { p.write([]byte("\xde\xad\xbe\xef\xfe\xed\x00\x01")) }, wire.BadFrame, "length"},
		{"no hello first", func(p *remotePeer) { p.send(&wire.Goodbye{}) }, wire.BadFrame, "hello"},
		{"says nothing", func(*remotePeer) {}, wire.BadFrame, "no hello within"},
		{"half a hello", func(p *remotePeer) { p.write([]byte{9, 0}) }, wire.BadFrame, "no hello within"},
		{"old version", func(p *remotePeer) { p.send(&wire.Hello{Min: 0, Max: 0, Role: wire.RoleEdge, ID: "x"}) }, wire.BadVersion, "upgrade"},
		{"version to come", func(p *remotePeer) { p.send(&wire.Hello{Min: 99, Max: 100, Role: wire.RoleEdge, ID: "x"}) }, wire.BadVersion, "99"},
		{"no role", func(p *remotePeer) { p.send(&wire.Hello{Min: wire.MinVersion, Max: wire.MaxVersion, Role: 9, ID: "x"}) }, wire.BadRole, "role"},
		{"no id", func(p *remotePeer) {
			p.send(&wire.Hello{Min: wire.MinVersion, Max: wire.MaxVersion, Role: wire.RoleEdge})
		}, wire.BadFrame, "id"},
		{"edge as agent", func(p *remotePeer) { p.hello(wire.RoleEdge); p.send(&wire.Register{Pool: "web", Server: spec("x")}) }, wire.BadRole, "register"},
		{"agent as edge", func(p *remotePeer) { p.hello(wire.RoleAgent); p.ask(wire.Ask{Seq: 1, Pool: "web"}) }, wire.BadRole, "ask"},
		{"edge as master", func(p *remotePeer) { p.hello(wire.RoleEdge); p.send(&wire.Change{}) }, wire.BadRole, "change"},
		{"unknown frame", func(p *remotePeer) { p.hello(wire.RoleEdge); p.write([]byte{1, 0, 0, 0, 250}) }, wire.BadFrame, "250"},
		{"oversized frame", func(p *remotePeer) { p.hello(wire.RoleEdge); p.write(oversized); p.write(make([]byte, 200<<10)) }, wire.BadFrame, "at most"},
		{"garbage within a frame", func(p *remotePeer) {
			p.hello(wire.RoleEdge)
			p.write([]byte{4, 0, 0, 0, byte(wire.TAsk), 0xff, 0xff, 0xff})
		}, wire.BadFrame, "ask"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := r.connect()
			p.t = t
			c.do(p)
			if f := p.failed(c.code); !strings.Contains(f.Detail, c.tell) {
				t.Errorf("detail %q does not tell %q", f.Detail, c.tell)
			}
			good.ask(wire.Ask{Seq: 5, Pool: "web"})
			good.send(&wire.Done{Pool: "web", Lease: good.granted().Grant.Lease})
		})
	}
}

func (p *remotePeer) hello(role wire.Role) {
	p.t.Helper()
	p.send(&wire.Hello{Min: wire.MinVersion, Max: wire.MaxVersion, Role: role, ID: "x"})
	p.want(wire.TWelcome, new(wire.Welcome))
}

func TestHTTPToTheWirePort(t *testing.T) {
	cfg := web("a")
	cfg.Admin = "127.0.0.1:7480"
	r := start(t, cfg)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Post("http://"+r.addr+"/v1/pools/web/pick", "application/json", strings.NewReader(strings.Repeat(" ", 100<<10)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "http://127.0.0.1:7480/") || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain") {
		t.Fatalf("got %s %q, want a 400 that tells the API's address", res.Status, body)
	}
}

func TestImpossibleReports(t *testing.T) {
	r := start(t, web("a"))
	e := r.dialEdge("e1")
	for i, bad := range []float64{math.NaN(), math.Inf(1), -1, 1e308} {
		e.send(&wire.Reports{Reports: []wire.PoolReport{
			{Pool: "web", Report: balance.Report{Server: "a", Metrics: []balance.Metric{{Name: balance.CPUUtilization, Value: bad}, {Name: balance.RPS, Value: float64(i + 1)}}}},
			{Pool: "web", Report: balance.Report{Server: "nobody"}},
			{Pool: "nowhere", Report: balance.Report{Server: "a"}},
		}})
		e.sync()
		v := r.view("a")
		if len(v.Metrics) != 1 || v.Metrics[0].Name != balance.RPS || v.Metrics[0].Value != float64(i+1) {
			t.Fatalf("after %v: got %+v, want only rps %d", bad, v.Metrics, i+1)
		}
	}
	p := r.poolNamed("web")
	p.mu.Lock()
	defer p.mu.Unlock()
	if got := p.stats.reports[fromEdge][reportFlawed]; got != 8 {
		t.Errorf("counted %d flawed, want 8", got)
	}
	if got := r.unknownPoolReports.Load(); got != 4 {
		t.Errorf("counted %d for unknown pools, want 4", got)
	}
}

// A peer that asks and does not read is dropped, and delays no other.
func TestSlowReader(t *testing.T) {
	r := start(t, web("a"), func(m *Master) { m.limits.write = 2 * time.Second })
	good, slow := r.dialEdge("good"), r.dialEdge("slow")
	var batch []byte
	for i := range 1000 {
		batch = (&wire.Ask{Seq: uint64(i), Pool: "web"}).Append(batch, 0)
	}
	for dropped := false; !dropped; {
		_ = slow.SetWriteDeadline(time.Now().Add(patience))
		_, err := slow.Write(batch)
		if dropped = err != nil; dropped && isTimeout(err) {
			t.Fatalf("the master neither reads nor drops a peer that does not read: %v", err)
		}
		good.ask(wire.Ask{Seq: 5, Pool: "web"})
		good.send(&wire.Done{Pool: "web", Lease: good.granted().Grant.Lease})
	}
}

// What others send to a peer that does not read is bounded.
func TestSlowWatcher(t *testing.T) {
	r := start(t, web("a"), func(m *Master) { m.limits.outBytes = 1 << 10 })
	e := r.dialEdge("e1")
	e.sync()
	conn := r.edgeConn("e1")
	conn.mu.Lock()
	conn.writing = true // as if a write had not been taken yet
	conn.mu.Unlock()
	for range 100 {
		conn.send(make([]byte, 100))
	}
	<-conn.ended
	if n := len(conn.out); n > 1<<10 {
		t.Fatalf("%d bytes wait, want at most 1024", n)
	}
}

func TestFaultsAreLoggedOnceASecond(t *testing.T) {
	lines := &strings.Builder{}
	log := logTo(lines)
	var f faults
	for i := range 2500 { // one a millisecond
		f.add(io.ErrUnexpectedEOF)
		f.logDue(log, balance.Instant(1+time.Duration(i)*time.Millisecond))
	}
	if n := strings.Count(lines.String(), "\n"); n != 3 || !strings.Contains(lines.String(), "faults=1000") {
		t.Fatalf("got %d lines, want 3, with the number of faults:\n%s", n, lines)
	}
}
