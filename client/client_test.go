package client

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

func TestPickAndDone(t *testing.T) {
	m := startMaster(t, &fakeMaster{})
	c := start(t, Config{Masters: []string{m.addr()}}, m)
	g, err := c.Pick(context.Background(), "p", &balance.Request{Key: "k"})
	if err != nil || g.Server != "s" || g.Address != "127.0.0.1:80" || g.Lease == 0 {
		t.Fatalf("Pick = %+v, %v", g, err)
	}
	c.Done("p", g.Lease, balance.Outcome{Result: balance.Fault})
	d := await[wire.Done](m, 1, nil)[0]
	if d.Pool != "p" || d.Lease != g.Lease || d.Outcome.Result != balance.Fault {
		t.Errorf("the master was told %+v", d)
	}
}

func TestManyPickTogether(t *testing.T) {
	m := startMaster(t, &fakeMaster{})
	c := start(t, Config{Masters: []string{m.addr()}}, m)
	const workers, each = 64, 100
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				g, err := c.Pick(context.Background(), "p", &balance.Request{})
				if err != nil {
					t.Error(err)
					return
				}
				c.Done("p", g.Lease, balance.Outcome{})
			}
		})
	}
	wg.Wait()
	await[wire.Done](m, workers*each, nil)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reads > workers*each/4 {
		t.Errorf("%d picks came in %d reads: they were not batched", workers*each, m.reads)
	}
}

// Where asks follow each other closely the timer for dones is set seldom; the last done
// arrives all the same.
func TestTheLastDoneArrivesAfterSteadyAsks(t *testing.T) {
	m := startMaster(t, &fakeMaster{})
	c := start(t, Config{Masters: []string{m.addr()}}, m)
	n := 0
	pick := func() bool {
		g, err := c.Pick(context.Background(), "p", &balance.Request{})
		if err != nil {
			t.Fatal(err)
		}
		c.Done("p", g.Lease, balance.Outcome{})
		n++
		c.loop.mu.Lock()
		defer c.loop.mu.Unlock()
		return c.loop.piggybacked > piggybackRuns
	}
	for late := time.Now().Add(2 * time.Minute); !pick() && time.Now().Before(late); {
	}
	await[wire.Done](m, n, nil)
}
