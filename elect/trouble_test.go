package elect

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/logtest"
)

// alone is one master whose pools and log are at hand.
type alone struct {
	store *store
	host  *host
	pools atomic.Pointer[[]string]
	log   logtest.Log
	e     *Elector
	end   func()
}

func newAlone(t *testing.T, pools ...string) *alone {
	self := Candidate{ID: "m1" + LifeMark + "0", Address: "m1:1"}
	a := &alone{store: &store{registry: newRegistry(), self: self, had: make(map[string]bool)}, host: newHost()}
	a.pools.Store(&pools)
	a.e = New(Config{Self: self, TTL: ttl, Pools: func() []string { return *a.pools.Load() }, Log: slog.New(slog.NewTextHandler(&a.log, nil))}, a.store, a.host)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		if err := a.e.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	a.end = sync.OnceFunc(func() { cancel(); done.Wait() })
	return a
}

func TestAnElectionThatDoesNotWorkIsToldOnceAndItsEndToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAlone(t, "web")
		defer a.end()
		time.Sleep(5 * ttl)
		if broken, works := a.log.Count("the election does not work"), a.log.Count("the election works again"); broken != 0 || works != 0 {
			t.Errorf("nothing is wrong: told %d and %d times", broken, works)
		}
		for i := 1; i <= 2; i++ {
			a.store.set(true, false, 0)
			time.Sleep(5 * ttl)
			if got := a.log.Count("the election does not work"); got != i {
				t.Errorf("cut off: told %d times, want %d", got, i)
			}
			a.store.set(false, false, 0)
			time.Sleep(5 * ttl)
			if got := a.log.Count("the election works again"); got != i {
				t.Errorf("back: told %d times, want %d", got, i)
			}
		}
	})
}

func TestAPoolThatIsNamedNoMoreIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAlone(t, "web", "pay")
		defer a.end()
		time.Sleep(5 * ttl)
		if a.host.leads("web") == 0 || a.host.leads("pay") == 0 {
			t.Fatal("a master that is alone does not lead")
		}
		a.pools.Store(&[]string{"web"})
		time.Sleep(5 * ttl)
		if a.host.leads("web") == 0 || a.host.leads("pay") != 0 {
			t.Errorf("web is led by fence %d, pay by %d, want web alone", a.host.leads("web"), a.host.leads("pay"))
		}
		if view, err := a.store.Look(t.Context()); err != nil || len(view.Leads) != 1 {
			t.Errorf("got %v, %v, want one lead in the store", view.Leads, err)
		}
	})
}

func TestARaiseThatTheStoreRefusesIsToldToWhoAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAlone(t, "web")
		a.store.noRaise = true
		defer a.end()
		time.Sleep(ttl)
		if err := a.e.Raise(t.Context()); !errors.Is(err, errCut) {
			t.Errorf("got %v, want %v", err, errCut)
		}
		if a.log.Count("is raised") != 0 {
			t.Error("the log says that it was raised")
		}
	})
}

func TestALeaveThatDoesNotGetThroughIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, cut := range []bool{false, true} {
			a := newAlone(t, "web")
			time.Sleep(ttl)
			a.store.set(cut, false, 0)
			a.end()
			if got := a.log.Count("leaving the election"); (got == 1) != cut {
				t.Errorf("cut off %v: told %d times", cut, got)
			}
			if a.host.leads("web") != 0 {
				t.Errorf("cut off %v: the pool is led still", cut)
			}
		}
	})
}
