package kubernetes

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/elect/storetest"
	"github.com/evenkeel-lb/evenkeel/internal/enrol"
)

func TestLeasesKeepValues(t *testing.T) {
	s := newAPIServer(t)
	a, b, ctx := newStore(t, s, "m1~1"), newStore(t, s, "m2~1"), context.Background()
	storetest.Renew(t, a)
	now, secret := time.Now(), enrol.NewSecret()
	books := []*enrol.Book{enrol.NewBook(a.Values()), enrol.NewBook(b.Values())}
	const uses = 3
	if err := books[0].Add(ctx, enrol.Hash(secret), enrol.Record{Pool: "web", Ends: now.Add(time.Hour), Uses: uses}); err != nil {
		t.Fatal(err)
	}
	if err := books[1].Add(ctx, enrol.Hash(secret), enrol.Record{Pool: "web", Ends: now.Add(time.Hour), Uses: uses}); err == nil {
		t.Error("one name was added twice")
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	good := 0
	for i := range 12 {
		all.Go(func() {
			if err := books[i%2].Use(ctx, secret, fmt.Sprint(i), now, func(*enrol.Record) error { return nil }); err == nil {
				mu.Lock()
				good++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if good != uses {
		t.Errorf("%d agents used a token for %d", good, uses)
	}
	if v := storetest.Look(t, b); len(v.Masters) != 1 || len(v.Leads) != 0 {
		t.Errorf("electors see values: %+v", v)
	}
	if _, done, err := books[1].Revoke(ctx, enrol.ID(enrol.Hash(secret)), now); !done || err != nil {
		t.Errorf("revoke: got %v, %v", done, err)
	}
	if err := books[0].Use(ctx, secret, "0", now, func(*enrol.Record) error { return nil }); err == nil {
		t.Error("a token that was revoked is good")
	}
	// A Lease whose time is over is used again, so their number does not grow.
	before := len(s.leases)
	for range 5 {
		if err := books[0].Add(ctx, enrol.Hash(enrol.NewSecret()), enrol.Record{Pool: "web", Ends: now.Add(-time.Hour), Uses: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(s.leases); got != before+1 {
		t.Errorf("there are %d Leases for 6 values of which 5 are over, want %d", got, before+1)
	}
}
