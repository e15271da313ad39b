package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

func TestALossIsNoticedWhileNobodyAsks(t *testing.T) {
	m := startMaster(t, &fakeMaster{})
	c := start(t, Config{Masters: []string{m.addr()}}, m)
	if _, err := c.Pick(context.Background(), "p", &balance.Request{}); err != nil {
		t.Fatal(err)
	}
	m.listener.Close()
	m.cut()
	waitFor(t, "loss", func() bool { return !c.Connected() })
}

func TestALonePickerThatReadsCanBeCanceled(t *testing.T) {
	m := startMaster(t, &fakeMaster{onAsk: func(c *fakeConn, m *wire.Ask) {
		if m.Request.Key != "never" {
			c.grant(m)
		}
	}})
	c := start(t, Config{Masters: []string{m.addr()}}, m)
	pick := func(ctx context.Context, key string) error {
		_, err := c.Pick(ctx, "p", &balance.Request{Key: key})
		return err
	}
	for range 3 {
		for range 20 { // so that the line's goroutine has retired
			if err := pick(context.Background(), ""); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		if err := pick(ctx, "never"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Pick = %v, want the context's", err)
		}
		cancel()
	}
	if !c.Connected() {
		t.Error("the cancellation cost the connection")
	}
}

// Picks, cancellations and losses all at once: every pick ends, and with one of the
// answers it may have.
func TestEveryPickEndsWhateverHappens(t *testing.T) {
	m := startMaster(t, &fakeMaster{onAsk: func(c *fakeConn, m *wire.Ask) {
		if m.Request.Key != "never" {
			c.grant(m)
		}
	}})
	c := start(t, Config{Masters: []string{m.addr()}}, m)
	var (
		wg      sync.WaitGroup
		granted atomic.Int32
	)
	for range 16 {
		wg.Go(func() {
			for i := range 150 {
				ctx, cancel := context.WithCancel(context.Background())
				req := &balance.Request{}
				if i%50 == 7 {
					req.Key = "never"
					time.AfterFunc(rand.N(time.Millisecond), cancel)
				}
				g, err := c.Pick(ctx, "p", req)
				switch {
				case err == nil:
					granted.Add(1)
					c.Done("p", g.Lease, balance.Outcome{})
				case !errors.Is(err, ErrNoMaster) && err != context.Canceled:
					t.Errorf("Pick = %v", err)
				}
				cancel()
				if err != nil && errors.Is(err, ErrNoMaster) {
					waitFor(t, "connection", c.Connected)
				}
			}
		})
	}
	for range 5 {
		before := granted.Load()
		waitFor(t, "progress", func() bool { return granted.Load() > before+50 || granted.Load() > 1500 })
		m.cut()
	}
	wg.Wait()
	waitFor(t, "connection", c.Connected)
	c.loop.mu.Lock()
	defer c.loop.mu.Unlock()
	if c.proto.waiting != 0 || c.proto.leases.n != 0 {
		t.Errorf("%d asks wait and %d leases are open, want none", c.proto.waiting, c.proto.leases.n)
	}
}
