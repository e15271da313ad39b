package master

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/clock"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// unconnected is an edge without a connection: bytes in, bytes out, as its reader would do it.
func unconnected(t testing.TB, servers int) *edge {
	t.Helper()
	cfg := web()
	for i := range servers {
		cfg.Pools[0].Servers = append(cfg.Pools[0].Servers, spec(balance.ServerID(fmt.Sprintf("s%d", i))))
	}
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &edge{conn: &conn{limits: &m.limits, buffers: new(decodeBuffers)}, master: m, id: "e"}
}

// turn handles one batch as conn.read does.
func (e *edge) turn(t testing.TB, now balance.Instant, in []byte) []byte {
	if used, err := e.dispatchFrames(context.Background(), now, in, e); err != nil || used != len(in) {
		t.Fatalf("used %d of %d: %v", used, len(in), err)
	}
	return e.takeReplies(now)
}

// tenMetrics is what an agent usually reports.
func tenMetrics() []balance.Metric {
	m := []balance.Metric{{Name: balance.CPUUtilization, Value: .3}, {Name: balance.MemUtilization, Value: .4}, {Name: balance.RPS, Value: 90}}
	for i := range 7 {
		m = append(m, balance.Metric{Name: fmt.Sprintf("named_metrics.figure_%d", i), Value: float64(i)})
	}
	return m
}

// Asks, dones and reports of servers that are known cost no memory.
func TestABatchAllocatesNothing(t *testing.T) {
	e := unconnected(t, 50)
	var batch, out []byte
	var granted wire.Granted
	seq := uint64(0)
	metrics := tenMetrics()
	round := func() {
		now := clock.Now()
		for rest := out; len(rest) > 0; { // dones for what the last batch was granted
			_, payload, size, err := wire.Next(rest)
			if err != nil || granted.Decode(payload, now) != nil {
				t.Fatal("the answer makes no sense")
			}
			batch = (&wire.Done{Pool: "web", Lease: granted.Grant.Lease, Outcome: balance.Outcome{Duration: time.Millisecond}}).Append(batch)
			rest = rest[size:]
		}
		for range 20 {
			seq++
			batch = (&wire.Ask{Seq: seq, Pool: "web"}).Append(batch, now)
		}
		batch = (&wire.Reports{Reports: []wire.PoolReport{{Pool: "web", Report: balance.Report{Server: "s7", Metrics: metrics}}}}).Append(batch)
		out = e.turn(t, now, batch)
		batch = batch[:0]
	}
	for range 200 {
		round()
	}
	if n := testing.AllocsPerRun(500, round); n >= 1 {
		t.Errorf("%v allocations a batch of 20 asks, 20 dones and a report, want none", n)
	}
}

// BenchmarkReport is what a report of ten metrics costs beside its ask: reports come 16
// at a time from an edge that knows 1,000 servers.
func BenchmarkReport(b *testing.B) {
	e := unconnected(b, 1000)
	metrics := tenMetrics()
	var batches [][]byte
	for first := 0; first+16 <= 1000; first += 16 {
		var r wire.Reports
		for i := range 16 {
			r.Reports = append(r.Reports, wire.PoolReport{Pool: "web", Report: balance.Report{Server: balance.ServerID(fmt.Sprintf("s%d", first+i)), Metrics: metrics}})
		}
		batches = append(batches, r.Append(nil))
	}
	b.ReportAllocs()
	now, i := clock.Now(), 0
	for b.Loop() {
		now += 1000
		e.turn(b, now, batches[i])
		i = (i + 1) % len(batches)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/16, "ns/report")
}

// BenchmarkAsk is what an ask and its done cost without a socket, 64 at a time.
func BenchmarkAsk(b *testing.B) {
	e := unconnected(b, 1000)
	var batch, out []byte
	var granted wire.Granted
	seq := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		now := clock.Now()
		batch = batch[:0]
		for rest := out; len(rest) > 0; {
			_, payload, size, err := wire.Next(rest)
			if err != nil || granted.Decode(payload, now) != nil {
				b.Fatal("the answer makes no sense")
			}
			batch = (&wire.Done{Pool: "web", Lease: granted.Grant.Lease, Outcome: balance.Outcome{Duration: time.Millisecond}}).Append(batch)
			rest = rest[size:]
		}
		for range 64 {
			seq++
			batch = (&wire.Ask{Seq: seq, Pool: "web"}).Append(batch, now)
		}
		out = e.turn(b, now, batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/ask")
}
