package exchange

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// What is counted of requests, and of several loops together.
func TestRequestsAreCounted(t *testing.T) {
	var a, b, sum PoolStats
	a.addInFlight(3)
	a.countAnswer(200, time.Millisecond, 500*time.Microsecond)
	a.countAnswer(200, time.Millisecond, 0)
	a.countGRPC(grpcUnauthenticated)
	a.countGRPC(99)
	a.countPick(time.Millisecond, true)
	a.countPick(time.Millisecond, false)
	b.addInFlight(1)
	b.countAnswer(503, time.Second, 0)
	b.countGRPC(grpcUnauthenticated)
	b.countPick(time.Millisecond, true)
	sum.merge(&a)
	sum.merge(&b)
	if sum.inFlight != 1 || sum.granted != 2 || !slices.Equal(sum.codes, []codeCount{{200, 2}, {503, 1}}) || !slices.Equal(sum.grpc, []codeCount{{grpcUnauthenticated, 2}, {grpcUnknown, 1}}) {
		t.Errorf("%d in flight, %d granted, by status %v and gRPC's %v", sum.inFlight, sum.granted, sum.codes, sum.grpc)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(one{histogramMetric(prometheus.NewDesc("d", "", byPool, nil), &sum.duration, durationScale, "web")})
	all, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	h := all[0].Metric[0].Histogram
	if h.GetSampleCount() != 3 || h.GetSampleSum() != 1.002 || h.Bucket[0].GetCumulativeCount() != 2 || h.Bucket[len(h.Bucket)-1].GetCumulativeCount() != 3 {
		t.Errorf("durations of two milliseconds and a second are told as %v", h)
	}
	if sum.pickTime.Sum() != 3*time.Millisecond || sum.firstByte.Sum() != 500*time.Microsecond {
		t.Errorf("three asks took %v in all, the first byte %v", sum.pickTime.Sum(), sum.firstByte.Sum())
	}
}

// one is a collector of one metric.
type one struct{ prometheus.Metric }

func (o one) Describe(out chan<- *prometheus.Desc) { out <- o.Desc() }
func (o one) Collect(out chan<- prometheus.Metric) { out <- o.Metric }

// A pool may have stats of its own, which several goroutines count in.
func TestStatsThatAreShared(t *testing.T) {
	p := newPool("web", 0, &Settings{ID: "e1", Log: slog.New(slog.DiscardHandler)}, newMetrics())
	done := make(chan struct{})
	for range 4 {
		go func() {
			for range 100 {
				p.stats.addInFlight(1)
				p.stats.countPick(0, true)
				p.stats.countAnswer(200, 0, 0)
				p.stats.countGRPC(0)
			}
			done <- struct{}{}
		}()
	}
	for range 4 {
		<-done
	}
	if p.stats.inFlight != 0 || p.stats.granted != 400 || p.stats.codes[0].count != 400 || p.stats.grpc[0].count != 400 {
		t.Errorf("of 400 requests %+v are counted", p.stats.codes)
	}
}

// Links are counted by server, and those of which there are none are no links.
func TestLinksAreCounted(t *testing.T) {
	p := newPool("web", 0, &Settings{ID: "e1", Log: slog.New(slog.DiscardHandler)}, newMetrics())
	a, again, b := p.countLink("a"), p.countLink("a"), p.countLink("b")
	if a != again || p.linksLocked("a") != 2 || p.linksLocked("b") != 1 || p.linksLocked("c") != 0 || p.OpenLinks() != 3 {
		t.Errorf("%d, %d and %d links, %d in all; want 2, 1, none, 3", p.linksLocked("a"), p.linksLocked("b"), p.linksLocked("c"), p.OpenLinks())
	}
	p.releaseLink(b)
	if p.idleServers != 1 {
		t.Errorf("%d servers without a link, want 1", p.idleServers)
	}
	if p.countLink("b"); p.idleServers != 0 {
		t.Errorf("%d servers without a link when it has one again, want none", p.idleServers)
	}
}

// While nothing is retried the budget is not counted; once something is, it is until it is full again.
func TestTheBudgetOfRetries(t *testing.T) {
	p := newPool("web", 0, &Settings{ID: "e1", Log: slog.New(slog.DiscardHandler)}, newMetrics())
	now := balance.Instant(time.Hour)
	n := 0
	for ; n < 1000 && p.mayRetry(now); n++ {
	}
	if n == 0 || n == 1000 {
		t.Fatalf("%d retries without a request, want some", n)
	}
	requests := 0
	for ; p.retried.Load() && requests < 100_000; requests++ {
		p.countRequest()
	}
	if requests <= n || requests == 100_000 {
		t.Errorf("after %d retries the budget is full again after %d requests, want more", n, requests)
	}
	if !p.mayRetry(now) {
		t.Error("no retry of a full budget")
	}
}

// Servers with a cap are left out where the edge does not learn when a request ends.
func TestServersWithACapAreLeftOut(t *testing.T) {
	snap := &balance.Snapshot{Servers: []balance.SnapshotServer{{ID: "a"}, {ID: "b", Cap: 1}, {ID: "c", Cap: 5}}}
	before := []balance.ServerID{"x"}
	if got := withoutCapped(snap, before); !slices.Equal(got, []balance.ServerID{"x", "b", "c"}) {
		t.Errorf("%v", got)
	}
	if got := withoutCapped(nil, before); !slices.Equal(got, before) {
		t.Errorf("without a snapshot %v", got)
	}
}

// Servers that could not be reached are avoided for a while, and then forgotten.
func TestWhatCouldNotBeReachedIsForgotten(t *testing.T) {
	p := newPool("web", 0, &Settings{ID: "e1", Log: slog.New(slog.DiscardHandler)}, newMetrics())
	now := balance.Instant(time.Hour)
	p.noteUnreachable(now, "a")
	p.noteUnreachable(now+1, "b")
	if got := p.avoidLocked(now+1, []balance.ServerID{"x"}); len(got) != 3 || got[0] != "x" {
		t.Errorf("avoided are %v, want x, a and b", got)
	}
	if got := p.avoidLocked(now.Add(avoidFor), nil); !slices.Equal(got, []balance.ServerID{"b"}) {
		t.Errorf("when the first's time is over %v are avoided, want b", got)
	}
	if p.noteUnreachable(now.Add(avoidFor), "c"); len(p.unreachable) != 2 {
		t.Errorf("%d servers are remembered, want 2", len(p.unreachable))
	}
}
