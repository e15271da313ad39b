package master

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// An elected master grants only while it leads and its time is not over, by the fence of
// its lead; what it had granted is forgotten when another leads.
func TestAnElectedMaster(t *testing.T) {
	cfg := web("a")
	cfg.Elected = true
	r := start(t, cfg)
	e := r.Edge("in")
	pick := func() (balance.Grant, *balance.Refusal) {
		g, err := e.Pick(context.Background(), "web", &balance.Request{})
		var refusal *balance.Refusal
		errors.As(err, &refusal)
		return g, refusal
	}
	refused := func(when, leader string) {
		t.Helper()
		if g, refusal := pick(); refusal == nil || refusal.Reason != balance.NotLeader || refusal.Leader != leader || refusal.LeaderID != strings.TrimSuffix(leader, ":7400") {
			t.Errorf("%s: got %+v, %v; want not-leader, with the leader at %q", when, g, refusal, leader)
		}
	}
	refused("before it leads", "")
	r.Extend(time.Now().Add(time.Hour))
	r.Follow("web", "m2", "m2:7400")
	refused("while another leads", "m2:7400")
	r.Lead("web", 7)
	if g, refusal := pick(); refusal != nil || g.Fence != 7 {
		t.Errorf("while it leads: got fence %d, %v; want 7", g.Fence, refusal)
	}
	r.Extend(time.Now().Add(-time.Millisecond))
	refused("after its time", "")
	r.Extend(time.Now().Add(time.Hour))
	if n := r.open(); n != 1 {
		t.Errorf("%d leases are open, want 1", n)
	}
	r.Follow("web", "m3", "m3:7400")
	if n := r.open(); n != 0 {
		t.Errorf("%d leases are open where another leads, want 0", n)
	}
	r.Lead("nowhere", 1) // is no trouble
}

// Those who wait in the queue of a master that leads no more are sent to the one that does.
func TestAQueueEndsWithTheLead(t *testing.T) {
	cfg := web("a")
	cfg.Elected = true
	cfg.Pools[0].Servers[0].Slots = 1
	r := start(t, cfg)
	r.Extend(time.Now().Add(time.Hour))
	r.Lead("web", 1)
	answers := make(chan error, 64)
	e := r.Edge("in")
	for range cap(answers) {
		go func() {
			_, err := e.Pick(context.Background(), "web", &balance.Request{})
			answers <- err
		}()
	}
	p := r.poolNamed("web")
	eventually(t, "some wait", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.core.Open()+len(p.waits) == cap(answers) && len(p.waits) > 0
	})
	r.Follow("web", "m2", "m2:7400")
	moved := 0
	for range cap(answers) {
		var refusal *balance.Refusal
		if err := <-answers; errors.As(err, &refusal) {
			if moved++; refusal.Reason != balance.NotLeader || refusal.Leader != "m2:7400" {
				t.Errorf("an ask that waited is answered %v, want not-leader and where to", err)
			}
		}
	}
	if moved == 0 {
		t.Error("no request that waited was sent away")
	}
}
