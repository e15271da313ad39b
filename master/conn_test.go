package master

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// edgeConn returns the connection of an edge.
func (r *rig) edgeConn(id balance.EdgeID) *conn {
	r.peers.mu.Lock()
	defer r.peers.mu.Unlock()
	return r.peers.edges[id].conn
}

// Frames may come a byte at a time, and larger than any buffer at first.
func TestFramesInPieces(t *testing.T) {
	r := start(t, web("a"))
	e := r.dialEdge("e1")
	var asks []byte
	for i := range 3 {
		asks = (&wire.Ask{Seq: uint64(i), Pool: "web"}).Append(asks, 0)
	}
	for _, b := range asks {
		e.write([]byte{b})
	}
	for i := range 3 {
		if g := e.granted(); g.Seq != uint64(i) {
			t.Fatalf("answered %d, want %d", g.Seq, i)
		}
	}
	var reports wire.Reports
	for i := range 1000 {
		metrics := []balance.Metric{{Name: balance.RPS, Value: float64(i)}}
		for j := range 3 {
			metrics = append(metrics, balance.Metric{Name: fmt.Sprintf("named_metrics.%d%s", j, strings.Repeat("x", 60)), Value: 1})
		}
		reports.Reports = append(reports.Reports, wire.PoolReport{Pool: "web", Report: balance.Report{Server: "a", Metrics: metrics}})
	}
	large := reports.Append(nil)
	if len(large) < 3*batchBytes {
		t.Fatalf("%d bytes are not large", len(large))
	}
	large = (&wire.Ping{Seq: 7}).Append(large)
	for _, piece := range [][]byte{large[:batchBytes/2+9], large[batchBytes/2+9 : len(large)-3], large[len(large)-3:]} {
		e.write(piece)
	}
	e.want(wire.TPong, new(wire.Pong))
	if v := r.view("a"); len(v.Metrics) != 4 || v.Metrics[0].Value != 999 {
		t.Fatalf("got %+v, want the last report", v.Metrics)
	}
	e.sync() // the buffers are as before
}

// Who reads slowly gets every answer, in order, and what others send as well.
func TestSlowPeerLosesNothing(t *testing.T) {
	r := start(t, web("a"))
	e := r.dialEdge("e1")
	e.sync()
	conn := r.edgeConn("e1")
	const late, fin = 1 << 40, 1 << 41
	var enough atomic.Bool
	go func() {
		batch := []byte(nil)
		for seq := uint64(0); ; batch = batch[:0] {
			for range 100 {
				seq++
				batch = (&wire.Ping{Seq: seq}).Append(batch)
			}
			last := enough.Load()
			if last {
				batch = (&wire.Ping{Seq: fin}).Append(batch)
			}
			if _, err := e.Write(batch); err != nil {
				t.Error(err)
			} else if !last {
				continue
			}
			return
		}
	}()
	looks, heard := 0, int64(0)
	eventually(t, "the master neither writes nor reads on", func() bool {
		conn.mu.Lock()
		defer conn.mu.Unlock()
		if before := heard; conn.written == len(conn.batch) || conn.lastReceived.Load() != before {
			looks, heard = 0, conn.lastReceived.Load()
		}
		looks++
		return looks > 5
	})
	conn.send((&wire.Pong{Seq: late}).Append(nil))
	enough.Store(true)
	last, lates, over := uint64(0), 0, false
	e.each(func(p wire.Pong) (more bool) {
		switch p.Seq {
		case late:
			lates++
		case fin:
			over = true
		case last + 1:
			last++
		default:
			t.Fatalf("answer %d after %d", p.Seq, last)
		}
		return !over || lates == 0
	})
	if e.sync(); lates != 1 {
		t.Errorf("what was sent late came %d times", lates)
	}
}

// More than any socket holds arrives, though its peer says nothing that would have it written.
func TestALongSendArrives(t *testing.T) {
	r := start(t, web("a"), func(m *Master) { m.limits.quiet = time.Hour }) // or a ping would have it written
	e := r.dialEdge("e1")
	e.sync()
	const many = 1_000_000
	var long []byte
	for seq := range uint64(many) {
		long = (&wire.Pong{Seq: seq}).Append(long)
	}
	r.edgeConn("e1").send(long)
	next := uint64(0)
	e.each(func(p wire.Pong) (more bool) {
		if p.Seq != next {
			t.Fatalf("got %d, want %d", p.Seq, next)
		}
		next++
		return next < many
	})
}

// each calls take for pong after pong until it has enough, and for no other frame.
func (p *remotePeer) each(take func(wire.Pong) (more bool)) {
	p.t.Helper()
	_ = p.SetReadDeadline(time.Now().Add(patience))
	in := append(make([]byte, 0, 1<<20), p.buf...)
	for used := 0; ; {
		kind, payload, size, err := wire.Next(in[used:])
		if err != nil {
			p.t.Fatal(err)
		}
		if used += size; size == 0 {
			in, used = append(in[:0], in[used:]...), 0
			n, err := p.Read(in[len(in):cap(in)])
			if in = in[:len(in)+n]; err != nil {
				p.t.Fatal(err)
			}
			continue
		}
		var pong wire.Pong
		if kind != wire.TPong {
			continue
		}
		if err := pong.Decode(payload); err != nil {
			p.t.Fatal(err)
		}
		if !take(pong) {
			p.buf = append([]byte(nil), in[used:]...)
			return
		}
	}
}
