package ui_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/admin"
	"github.com/evenkeel-lb/evenkeel/master"
	"github.com/evenkeel-lb/evenkeel/ui"
)

var serve = flag.Duration("serve", 0, "serve the page with simulated servers for so long, for looking at it")

// system is a master in this process with servers that exist only in its books, and requests to them.
type system struct {
	*master.Master
	server *httptest.Server
}

// startSystem starts a master with n servers in pool render and serves its admin address.
func startSystem(t *testing.T, n int, cfg admin.Config) *system {
	t.Helper()
	pool := master.PoolConfig{Name: "render", MaxInFlight: 0}
	for i := range n {
		s := balance.ServerSpec{ID: balance.ServerID(fmt.Sprintf("r%d", i+1)), Address: fmt.Sprintf("10.0.%d.%d:8000", i/250, i%250+1), Slots: float64([...]int{4, 8, 2}[i%3]),
			Labels: []balance.Label{{Key: "gpu", Value: [...]string{"a10", "h100", "l4"}[i%3]}, {Key: "zone", Value: [...]string{"a", "b", "c", "d"}[i*7%4]}}}
		if i%5 == 4 {
			s.MaxInFlight = 6
		}
		pool.Servers = append(pool.Servers, s)
	}
	m, err := master.New(master.Config{ID: "m1", Version: "v1.0.0", Seed: 1, Pools: []master.PoolConfig{pool}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { _ = m.Run(ctx) })
	server := httptest.NewServer(admin.New(cfg, append(m.Endpoints(), ui.Endpoints()...)))
	t.Cleanup(func() {
		cancel()
		all.Wait()
		server.CloseClientConnections()
		server.Close()
	})
	return &system{m, server}
}

// trouble is what befalls servers of a simulated pool, by id.
type trouble map[balance.ServerID]balance.Outcome

// send has requests come at a rate until ctx ends; each takes its server's time. Servers in trouble fail.
func (s *system) send(ctx context.Context, perSecond float64, broken trouble) {
	edge := s.Edge("e1")
	rng := rand.New(rand.NewPCG(1, 2))
	var mu sync.Mutex
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	owed, last := 0., time.Now()
	var all sync.WaitGroup
	defer all.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			owed += now.Sub(last).Seconds() * perSecond
			last = now
		}
		for ; owed >= 1; owed-- {
			mu.Lock()
			class, size := [...]string{"image", "image", "text", "video"}[rng.IntN(4)], rng.ExpFloat64()
			mu.Unlock()
			all.Go(func() {
				g, err := edge.Pick(ctx, "render", &balance.Request{Class: class, Tenant: "acme", Key: fmt.Sprint("user-", int(size*100))})
				if err != nil {
					return
				}
				if o, is := broken[g.Server]; is {
					edge.Done("render", g.Lease, o)
					return
				}
				var number int
				_, _ = fmt.Sscanf(string(g.Server), "r%d", &number)
				took := time.Duration((0.1 + 0.4*size) * float64(time.Second) * map[string]float64{"image": 1, "text": .3, "video": 2}[class] * [...]float64{1, .6, 2}[(number-1)%3])
				select {
				case <-ctx.Done():
				case <-time.After(took):
				}
				edge.Done("render", g.Lease, balance.Outcome{Duration: took})
			})
		}
	}
}

// For looking: go test ./ui -run TestServe -serve 10m -v.
func TestServe(t *testing.T) {
	if *serve == 0 {
		t.Skip("for looking only: -serve 10m")
	}
	ctx, cancel := context.WithTimeout(context.Background(), *serve)
	defer cancel()
	var all sync.WaitGroup
	for _, n := range []int{0, 3, 20, 500, 10000} {
		s := startSystem(t, n, admin.Config{})
		t.Log(n, s.server.URL)
		fmt.Println("SERVE", n, s.server.URL)
		broken := trouble{}
		if n >= 20 {
			broken = trouble{"r4": {Result: balance.Unreachable, Error: "dial tcp 10.0.0.4:8000: connect: connection refused"}, "r11": {Result: balance.Full, RetryAfter: time.Minute}}
		}
		if n >= 500 {
			for i := range n / 100 {
				broken[balance.ServerID(fmt.Sprint("r", i*97+50))] = balance.Outcome{Result: balance.Unreachable, Error: "i/o timeout"}
			}
		}
		all.Go(func() { s.send(ctx, min(float64(n)*3.5, 4000), broken) })
	}
	all.Wait()
}
