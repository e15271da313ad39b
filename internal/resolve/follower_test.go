package resolve

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// fake answers look-ups as a test says, and counts them.
type fake struct {
	mu    sync.Mutex
	a     Answer
	takes time.Duration
	asked int
}

func (f *fake) set(a Answer) {
	f.mu.Lock()
	f.a = a
	f.mu.Unlock()
}

func (f *fake) lookup(ctx context.Context, _ Query) Answer {
	f.mu.Lock()
	f.asked++
	a, takes := f.a, f.takes
	f.mu.Unlock()
	time.Sleep(takes)
	return a
}

// following runs a Follower in a bubble, as the body says.
func following(t *testing.T, f *fake, body func(*testing.T, *Follower)) {
	synctest.Test(t, func(t *testing.T) {
		l := newFollower(f)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { l.Run(ctx, nil) })
		body(t, l)
		cancel()
		running.Wait()
	})
}

// newFollower returns one that looks up by f, on a bubble's clock.
func newFollower(f *fake) *Follower {
	l, began := NewFollower(), time.Now()
	l.lookup = f.lookup
	l.now = func() balance.Instant { return second + balance.Instant(time.Since(began)) }
	return l
}

var app = Query{Name: "app.test"}

func TestANameThatMovesIsFollowed(t *testing.T) {
	f := &fake{a: Answer{V4: addrs("10.0.0.1"), TTL: time.Hour}}
	following(t, f, func(t *testing.T, l *Follower) {
		l.Keep(map[Query]bool{app: true})
		synctest.Wait()
		name := l.Get(app)
		if one(&name) != "10.0.0.1:80" {
			t.Errorf("at first: %s", one(&name))
		}
		f.set(Answer{V4: addrs("10.0.0.2"), TTL: time.Hour})
		time.Sleep(5*time.Second + time.Millisecond)
		synctest.Wait()
		name = l.Get(app)
		if one(&name) != "10.0.0.2:80" {
			t.Errorf("5 s after it has moved: %s", one(&name))
		}
		f.set(Answer{Err: errors.New("no answer")})
		time.Sleep(6 * time.Second)
		name = l.Get(app)
		if why, _ := name.Problem(); why != "no answer" || one(&name) != "10.0.0.2:80" || l.Failing() != 1 {
			t.Errorf("it cannot be looked up: %q, %s, %d failing", why, one(&name), l.Failing())
		}
		if good, failed := l.Counts(); good != 2 || failed == 0 {
			t.Errorf("counted %d good and %d failed", good, failed)
		}
		l.Keep(nil)
		asked := f.asked
		time.Sleep(time.Minute)
		if name = l.Get(app); name.Asked() || f.asked > asked {
			t.Error("a name that is not asked for is followed")
		}
	})
}

// Those who come while the first look-up is under way wait for it, and no longer than they want.
func TestAwait(t *testing.T) {
	f := &fake{a: Answer{V4: addrs("10.0.0.1"), TTL: time.Second}, takes: 300 * time.Millisecond}
	following(t, f, func(t *testing.T, l *Follower) {
		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := l.Await(short, app, "app.test:80"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		name, err := l.Await(t.Context(), app, "app.test:80")
		if err != nil || one(&name) != "10.0.0.1:80" || f.asked != 1 {
			t.Errorf("got %s, %v, after %d look-ups", one(&name), err, f.asked)
		}
		if at := l.At(Query{}, "app.test:80"); at != "10.0.0.1:80" {
			t.Errorf("At: %q", at)
		}
		f.set(Answer{V4: addrs("10.0.0.2"), V6: addrs("fd00::2"), TTL: time.Second})
		time.Sleep(2 * time.Second)
		if at := l.At(Query{}, "app.test:80"); at != "[fd00::2]:80,10.0.0.2:80" {
			t.Errorf("At, after it has moved: %q", at)
		}
		if at := l.At(Query{}, "app.test:81"); at != "" {
			t.Errorf("At, with another port: %q", at)
		}
	})
}

func TestNamesThatNobodyNeedsAreForgotten(t *testing.T) {
	f := &fake{a: Answer{V4: addrs("10.0.0.1"), TTL: time.Hour}}
	synctest.Test(t, func(t *testing.T) {
		l := newFollower(f)
		l.Forget(10 * time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { l.Run(ctx, nil) })
		if _, err := l.Await(ctx, app, "app.test:80"); err != nil {
			t.Error(err)
		}
		for range 30 { // used each minute
			time.Sleep(time.Minute)
			if l.At(Query{}, "app.test:80") == "" {
				t.Fatal("a name in use is forgotten")
			}
		}
		time.Sleep(11 * time.Minute)
		if l.At(Query{}, "app.test:80") != "" {
			t.Error("a name that was not used for 11 minutes is followed")
		}
		cancel()
		running.Wait()
	})
}

func TestNamesThatFailAreLoggedOnce(t *testing.T) {
	f := &fake{a: Answer{Err: errors.New("app.test: no such host")}}
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := newFollower(f)
		l.Log(slog.New(slog.NewTextHandler(&out, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { l.Run(ctx, nil) })
		l.Keep(map[Query]bool{app: true})
		time.Sleep(20 * time.Second)
		f.set(Answer{V4: addrs("10.0.0.1")})
		time.Sleep(20 * time.Second)
		cancel()
		running.Wait()
		if got := out.String(); strings.Count(got, "cannot be looked up") != 1 || strings.Count(got, "can be looked up again") != 1 {
			t.Errorf("logged:\n%s", got)
		}
	})
}

// To know where a name leads must cost a request next to nothing.
func TestAtAllocatesNothing(t *testing.T) {
	f := &fake{a: Answer{V4: addrs("10.0.0.1"), TTL: time.Hour}}
	following(t, f, func(t *testing.T, l *Follower) {
		if _, err := l.Await(t.Context(), app, "app.test:80"); err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(100, func() { l.At(Query{}, "app.test:80") }); n > 0 {
			t.Errorf("%v allocations", n)
		}
	})
}
