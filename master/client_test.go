package master

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/client"
)

// The master with the peers that it is made for.
func TestClientAndAgent(t *testing.T) {
	r := start(t, dispatching(time.Minute))
	told := make(chan client.Dispatch, 10)
	agent := func(id balance.ServerID, verdict error) *client.Agent {
		a, err := client.NewAgent(client.AgentConfig{Masters: []string{r.addr}, Pool: "web", Server: spec(id),
			Dispatch: func(_ context.Context, d client.Dispatch) error { told <- d; return verdict }})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	edge, err := client.New(client.Config{Masters: []string{r.addr}, ID: "e1", Pools: []string{"web"}})
	if err != nil {
		t.Fatal(err)
	}
	willing := agent("willing", nil)
	stop := runAll(t, edge.Run, willing.Run, agent("unwilling", errors.New("full")).Run)
	eventually(t, "edge and agents are there", func() bool {
		s := edge.Snapshot("web")
		return edge.Connected() && s != nil && len(s.Servers) == 2
	})
	for range 5 {
		g, err := edge.Pick(context.Background(), "web", &balance.Request{Path: "/p", Exclude: []balance.ServerID{"z"}})
		if err != nil || g.Server != "willing" {
			t.Fatalf("got %+v, %v, want the willing one", g, err)
		}
		for d := range told { // by now, all that were told have been
			if d.Request.Path != "/p" || d.Edge != "e1" {
				t.Errorf("told %+v, want path /p and edge e1", d)
			}
			if d.Lease == g.Lease {
				break
			}
		}
		edge.Done("web", g.Lease, balance.Outcome{Duration: time.Millisecond})
	}
	willing.Report(balance.Report{Server: "willing", Metrics: []balance.Metric{{Name: balance.CPUUtilization, Value: .5}}})
	eventually(t, "the report is in and the leases are done", func() bool { return len(r.view("willing").Metrics) == 1 && r.open() == 0 })
	stop()
	eventually(t, "both agents have said goodbye", func() bool { return r.view("willing") == nil && r.view("unwilling") == nil })
}

// A new master learns the open leases from those who hold them.
func TestClientTellsANewMasterOfItsLeases(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	edge, err := client.New(client.Config{Masters: []string{address}, ID: "e1"})
	if err != nil {
		t.Fatal(err)
	}
	first := &rig{newMaster(t, web("a")), t, address}
	stopFirst := runAll(t, first.Run, func(ctx context.Context) error { return first.Serve(ctx, ln) })
	stopEdge := runAll(t, edge.Run)
	defer stopEdge()
	eventually(t, "connected", edge.Connected)
	g, err := edge.Pick(context.Background(), "web", &balance.Request{})
	if err != nil {
		t.Fatal(err)
	}
	stopFirst()

	ln, err = net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	m, err := New(web("a")) // with a seed of its own, and so other leases
	if err != nil {
		t.Fatal(err)
	}
	second := &rig{m, t, address}
	stopSecond := runAll(t, second.Run, func(ctx context.Context) error { return second.Serve(ctx, ln) })
	defer stopSecond()
	eventually(t, "the second master knows the lease", func() bool { return second.open() == 1 })
	edge.Done("web", g.Lease, balance.Outcome{})
	eventually(t, "the lease ends", func() bool { return second.open() == 0 })
}

// runAll runs them until stop is called, or else until the test ends.
func runAll(t testing.TB, runs ...func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, run := range slices.Backward(runs) {
		all.Go(func() {
			if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
	}
	stop = func() { cancel(); all.Wait() }
	t.Cleanup(stop)
	return stop
}

// One ask and its done over loopback, one in flight, through the client.
func BenchmarkClientPick(b *testing.B) {
	r := start(b, web("a", "b", "c", "d", "e", "f", "g", "h", "i", "j"))
	edge, err := client.New(client.Config{Masters: []string{r.addr}, ID: "e1"})
	if err != nil {
		b.Fatal(err)
	}
	stop := runAll(b, edge.Run)
	defer stop()
	eventually(b, "connected", edge.Connected)
	var req balance.Request
	for b.Loop() {
		g, err := edge.Pick(context.Background(), "web", &req)
		if err != nil {
			b.Fatal(err)
		}
		edge.Done("web", g.Lease, balance.Outcome{Duration: time.Millisecond})
	}
}

func TestClientWaitsInTheQueue(t *testing.T) {
	r := start(t, narrow(0))
	edge, err := client.New(client.Config{Masters: []string{r.addr}, ID: "e1"})
	if err != nil {
		t.Fatal(err)
	}
	stop := runAll(t, edge.Run)
	defer stop()
	eventually(t, "connected", edge.Connected)
	held, err := edge.Pick(context.Background(), "web", &balance.Request{})
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error)
	pick := func(ctx context.Context) {
		g, err := edge.Pick(ctx, "web", &balance.Request{})
		edge.Done("web", g.Lease, balance.Outcome{})
		answered <- err
	}
	go pick(context.Background())
	eventually(t, "one waits", func() bool { return r.waiting() == 1 })
	ctx, cancel := context.WithCancel(context.Background())
	go pick(ctx)
	eventually(t, "two wait", func() bool { return r.waiting() == 2 })
	cancel()
	if err := <-answered; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
	eventually(t, "one waits again", func() bool { return r.waiting() == 1 })
	edge.Done("web", held.Lease, balance.Outcome{})
	if err := <-answered; err != nil {
		t.Errorf("got %v, want a grant after a wait", err)
	}
	if n := edge.Queued(); n != 2 {
		t.Errorf("the edge was told %d times that it waits, want 2", n)
	}
	eventually(t, "all leases end", func() bool { return r.open() == 0 })
}
