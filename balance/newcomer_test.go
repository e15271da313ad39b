package balance_test

import (
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/policy"
)

// A server that joins, and of which nothing is known, is held to what the others have: it does not take all that
// their limits hold back, nor lift these limits. Once its own answers tell, they count.
func TestANewcomerIsTakenToBeAsTheOthers(t *testing.T) {
	chosen, err := policy.New("")
	if err != nil {
		t.Fatal(err)
	}
	p := balance.New(balance.Config{Name: "p", QueueSize: 1000}, chosen, 1)
	put := func(now balance.Instant, id balance.ServerID, slots float64) {
		t.Helper()
		if err := p.Put(now, balance.ServerSpec{ID: id, Address: string(id) + ":1", Slots: slots}, true); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []balance.ServerID{"a", "b", "c"} {
		put(1, id, 2)
	}
	now := balance.Instant(time.Hour)
	pick := func() (balance.Grant, error) {
		now = now.Add(10 * time.Millisecond)
		return p.Pick(now, &balance.Request{})
	}
	serve := func(took time.Duration) {
		t.Helper()
		g, err := pick()
		if err != nil {
			t.Fatal(err)
		}
		p.Done(now.Add(took), g.Lease, balance.Outcome{Duration: took})
	}
	for range 100 {
		serve(100 * time.Millisecond)
	}
	put(now, "new", 0)
	now = now.Add(time.Minute) // it is warm
	for range 20 {
		serve(100 * time.Millisecond)
	}
	on := make(map[balance.ServerID]int)
	for range 100 {
		if g, err := pick(); err == nil {
			on[g.Server]++
		}
	}
	for id, n := range on {
		if n > 3 {
			t.Errorf("%s has %d requests, want 3 at most: %v", id, n, on)
		}
	}
	if on["new"] == 0 {
		t.Errorf("the server that joined has no request: %v", on)
	}
	if err := p.Check(); err != nil {
		t.Error(err)
	}
}
