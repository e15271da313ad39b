package master

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/wire"
)

func bounded(b Bounds) Config {
	cfg := web("a")
	cfg.Bounds = b
	return cfg
}

// counted waits until /metrics says so.
func (r *rig) counted(metric string) {
	r.t.Helper()
	eventually(r.t, metric, func() bool {
		w := httptest.NewRecorder()
		r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		return strings.Contains(w.Body.String(), "\n"+metric+"\n")
	})
}

// busy reads the fail of a peer beyond a bound.
func (p *remotePeer) busy(tell string) {
	p.t.Helper()
	if f := p.failed(wire.Busy); !strings.Contains(f.Detail, tell) {
		p.t.Errorf("told %q, want %q in it", f.Detail, tell)
	}
}

func TestPeersBeyondTheirNumberAreRefused(t *testing.T) {
	r := start(t, bounded(Bounds{Edges: 2, Agents: 1}))
	hello := func(role wire.Role, id string) *remotePeer {
		p := r.connect()
		p.send(&wire.Hello{Min: wire.MinVersion, Max: wire.MaxVersion, Role: role, ID: id})
		return p
	}
	first := r.dialEdge("e1")
	second := r.dialEdge("e2")
	hello(wire.RoleEdge, "e3").busy("limits.edges")
	r.dialEdge("e2") // takes its own place
	second.failed(wire.Taken)
	r.dialAgent("a")
	hello(wire.RoleAgent, "b").busy("limits.agents")
	r.counted(`evenkeel_peers_over_limit_total{bound="number",role="edge"} 1`)
	r.counted(`evenkeel_peers_over_limit_total{bound="number",role="agent"} 1`)
	first.send(&wire.Goodbye{})
	first.closed()
	r.dialEdge("e3") // there is room again
}

func TestWatchesAreBounded(t *testing.T) {
	r := start(t, bounded(Bounds{Watches: 2}))
	e := r.dialEdge("e1")
	e.send(&wire.Watch{Pool: "web"}, &wire.Watch{Pool: "x"}, &wire.Watch{Pool: "web"}, &wire.Watch{Pool: "y"})
	if r := e.refused(); r.Seq != wire.WatchSeq || r.Refusal.Detail != `no pool "x" here; it has web` || r.Refusal.Pool != "x" {
		t.Errorf("the watch for a pool that there is not is answered %+v", r)
	}
	e.busy("limits.watches")
	r.counted(`evenkeel_peers_over_limit_total{bound="watches",role="edge"} 1`)
}

// What peers have begun to say and do not end is bounded over all of them.
func TestUnfinishedFramesAreBounded(t *testing.T) {
	r := start(t, bounded(Bounds{EdgeBytes: wire.MaxFrame}))
	part := make([]byte, 600<<10)
	copy(part, []byte{0xfc, 0xff, 0x0f, 0, byte(wire.TReports)})
	first := r.dialEdge("e1")
	first.write(part)
	eventually(t, "the frame is kept", func() bool { return r.peers.accounts[roleEdge].bytes.Load() == int64(len(part)) })
	second := r.dialEdge("e2")
	go func() { _, _ = second.Write(part) }() // the master may close meanwhile
	second.busy("limits.edge_bytes")
	eventually(t, "what was kept of it is given back", func() bool { return r.peers.accounts[roleEdge].bytes.Load() == int64(len(part)) })
	good := r.dialEdge("e3")
	good.ask(wire.Ask{Seq: 1, Pool: "web"})
	good.granted()
	_ = first.Close()
	eventually(t, "all is given back", func() bool { return r.peers.accounts[roleEdge].bytes.Load() == 0 })
	a := r.dialAgent("a")
	go func() { _, _ = a.Write(part) }()
	a.busy("an agent's")
	r.counted(`evenkeel_peers_over_limit_total{bound="bytes",role="agent"} 1`)
}

// Peers that connect and send nothing keep no other out: the oldest makes room.
func TestSilentNewcomersMakeRoom(t *testing.T) {
	r := start(t, bounded(Bounds{New: 2}), func(m *Master) { m.limits.handshake = time.Hour })
	for range 2 {
		r.connect()
	}
	eventually(t, "both are there", func() bool { return r.peers.counts[roleNew].Load() == 2 })
	r.connect().busy("limits.new") // none has been here for long
	r.peers.mu.Lock()
	for i := range r.peers.newcomers {
		r.peers.newcomers[i].at = clock.Now().Add(-minNewTime)
	}
	r.peers.mu.Unlock()
	e := r.dialEdge("e1")
	e.sync()
	r.counted(`evenkeel_peers_over_limit_total{bound="number",role="new"} 2`)
	eventually(t, "one has made room", func() bool { return r.peers.counts[roleNew].Load() <= 1 })
}

func TestBoundsAreJudged(t *testing.T) {
	for _, b := range []Bounds{{New: -1}, {Edges: 1 << 30}, {EdgeBytes: 1}, {AgentBytes: -5}} {
		if _, err := New(bounded(b)); err == nil || !strings.Contains(err.Error(), "limits.") {
			t.Errorf("%+v: %v", b, err)
		}
	}
}
