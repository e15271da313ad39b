// Package storetest has what the tests of all election stores do alike.
package storetest

import (
	"context"
	"testing"

	"github.com/evenkeel-lb/evenkeel/elect"
)

// Renew has a Store say that its master is there, and returns the pools that it has lost.
func Renew(t *testing.T, s elect.Store) (lost []string) {
	t.Helper()
	lost, err := s.Renew(context.Background(), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return lost
}

// Take has a Store take a pool, and returns the fence; zero: another leads it.
func Take(t *testing.T, s elect.Store, pool string) uint64 {
	t.Helper()
	fence, err := s.Take(context.Background(), pool)
	if err != nil {
		t.Fatal(err)
	}
	return fence
}

// Look returns what a Store shows.
func Look(t *testing.T, s elect.Store) elect.View {
	t.Helper()
	v, err := s.Look(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Generation holds that a generation never falls, and raises the fences that are given later. a and b are two
// masters' Stores of one election, in which nothing leads the pool.
func Generation(t *testing.T, a, b elect.Store, pool string) {
	t.Helper()
	Renew(t, a)
	Renew(t, b)
	first := Take(t, a, pool)
	for _, g := range []struct{ raise, want uint64 }{{3, 3}, {2, 3}, {3, 3}, {4, 4}} {
		if err := b.Raise(context.Background(), g.raise); err != nil {
			t.Fatal(err)
		}
		if v := Look(t, a); v.Generation != g.want {
			t.Errorf("raised to %d, the generation is %d, want %d", g.raise, v.Generation, g.want)
		}
	}
	if v := Look(t, a); v.Leads[pool].Fence != first || len(v.Leads) != 1 {
		t.Errorf("the leads are %+v, want one with fence %d, which goes on", v.Leads, first)
	}
	if err := a.Leave(context.Background(), pool); err != nil {
		t.Fatal(err)
	}
	Look(t, b)
	second := Take(t, b, pool)
	if elect.Generation(second) != 4 || second <= first {
		t.Errorf("fence %d, of generation %d, follows %d, want generation 4", second, elect.Generation(second), first)
	}
	if v := Look(t, a); v.Leads[pool].Fence != second {
		t.Errorf("a sees fence %d, b was given %d", v.Leads[pool].Fence, second)
	}
}
