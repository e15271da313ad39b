package edge

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// A request goes on to the pool that a refusal names, and back if that refuses; the lease ends in the pool that granted it, and the
// server is told that pool.
func TestARequestGoesOnToAnotherPool(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer map[string]string // by the pool, and whether the request may go on: which pool it is sent to, "refused" or, by default, served
		want   string            // pools that are asked, and in which the lease ends
		status int
	}{
		{"at once", nil, "web, done web", 200},
		{"to one pool", map[string]string{"web on": "cloud"}, "web, cloud, done cloud", 200},
		{"through two", map[string]string{"web on": "cloud", "cloud on": "far"}, "web, cloud, far, done far", 200},
		{"and back", map[string]string{"web on": "cloud", "cloud on": "refused"}, "web, cloud, web, done web", 200},
		{"and back from two", map[string]string{"web on": "cloud", "cloud on": "far", "far on": "refused"}, "web, cloud, far, web, done web", 200},
		{"and is refused", map[string]string{"web on": "cloud", "cloud on": "refused", "web": "refused"}, "web, cloud, web", 503},
		{"in a circle", map[string]string{"web on": "cloud", "cloud on": "web"}, "web, cloud, cloud, done cloud", 200},
		{"to itself", map[string]string{"web on": "web"}, "web, web, done web", 200},
		{"to a pool without a master, and back", map[string]string{"web on": "cloud", "cloud on": "no master"}, "web, cloud, web, done web", 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachPicker(t, func(t *testing.T) {
				told := make(chan string, 1)
				p := newFakePicker()
				p.pick = overflowing(p, c.answer, granted("a", server(t, func(_ http.ResponseWriter, r *http.Request) { told <- r.Header.Get("Evenkeel-Pool") })))
				r := run(t, p, nil)
				if res, body := r.do(r.request("GET", "/x", "")); res.StatusCode != c.status {
					t.Errorf("got %d %s, want %d", res.StatusCode, body, c.status)
				}
				p.results(t)
				p.mu.Lock()
				got := strings.Join(p.pools, ", ")
				p.mu.Unlock()
				if got != c.want {
					t.Errorf("the pools are %s, want %s", got, c.want)
				}
				if _, served, _ := strings.Cut(c.want, "done "); served != "" {
					if pool := <-told; pool != served {
						t.Errorf("the server was told pool %q, want %q", pool, served)
					}
				}
			})
		})
	}
}

// overflowing answers an ask by its pool and whether the request may go on.
func overflowing(p *fakePicker, answer map[string]string, g balance.Grant) func(context.Context, *balance.Request) (balance.Grant, error) {
	return func(_ context.Context, req *balance.Request) (balance.Grant, error) {
		p.mu.Lock()
		pool := p.pools[len(p.pools)-1]
		p.mu.Unlock()
		if req.MayOverflow {
			pool += " on"
		}
		switch to := answer[pool]; to {
		case "":
			return g, nil
		case "refused":
			return balance.Grant{}, &balance.Refusal{Reason: balance.Saturated}
		case "no master":
			return balance.Grant{}, context.DeadlineExceeded
		default:
			return balance.Grant{}, &balance.Refusal{Reason: balance.Overflowed, Pool: to}
		}
	}
}

// A server of the other pool that cannot be reached is tried no more, and the request is retried in that pool.
func TestARetryStaysInTheOtherPool(t *testing.T) {
	eachPicker(t, func(t *testing.T) {
		p := newFakePicker()
		gone, good := dead(t, "gone"), granted("a", server(t, echo))
		p.pick = func(ctx context.Context, req *balance.Request) (balance.Grant, error) {
			g := gone
			if slices.Contains(req.Exclude, "gone") {
				g = good
			}
			return overflowing(p, map[string]string{"web on": "cloud"}, g)(ctx, req)
		}
		r := run(t, p, nil)
		if res, body := r.do(r.request("GET", "/x", "")); res.StatusCode != 200 {
			t.Errorf("got %d %s", res.StatusCode, body)
		}
		p.results(t)
		p.mu.Lock()
		defer p.mu.Unlock()
		if got, want := strings.Join(p.pools, ", "), "web, cloud, done cloud, cloud, done cloud"; got != want {
			t.Errorf("the pools are %s, want %s", got, want)
		}
	})
}

// A server's id is its own only within its pool: which servers have failed a request is no news to another pool, and is known again to the
// first one when the request comes back.
func TestServersOfAnotherPoolHaveNotFailed(t *testing.T) {
	eachPicker(t, func(t *testing.T) {
		p := newFakePicker()
		gone, good := dead(t, "a"), granted("a", server(t, echo))
		var told []string
		p.pick = func(_ context.Context, req *balance.Request) (balance.Grant, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			pool := p.pools[len(p.pools)-1]
			told = append(told, fmt.Sprint(pool, req.Exclude))
			switch {
			case pool == "web" && len(req.Exclude) == 0:
				return gone, nil
			case pool == "web" && req.MayOverflow:
				return balance.Grant{}, &balance.Refusal{Reason: balance.Overflowed, Pool: "cloud"}
			case pool == "cloud":
				return balance.Grant{}, &balance.Refusal{Reason: balance.Saturated}
			}
			return good, nil
		}
		r := run(t, p, nil)
		if res, body := r.do(r.request("GET", "/x", "")); res.StatusCode != 200 {
			t.Errorf("got %d %s", res.StatusCode, body)
		}
		p.results(t)
		if got, want := strings.Join(told, ", "), "web[], web[a], cloud[], web[a]"; got != want {
			t.Errorf("the pools and the excluded servers are %s, want %s", got, want)
		}
	})
}

// If no master answers for the other pool any more, after a server of it has failed the request, the route's pool is asked: what the edge
// knows by itself is that pool. Without a master there either, the edge chooses from that pool's snapshot, and the lease is that pool's.
func TestARetryWithoutAMasterOfTheOtherPoolComesBack(t *testing.T) {
	eachPicker(t, func(t *testing.T) {
		p := newFakePicker()
		gone, good := dead(t, "gone"), server(t, echo)
		p.snap = &balance.Snapshot{Pool: "web", Servers: []balance.SnapshotServer{{ID: "a", Address: good.Listener.Addr().String()}}}
		asks := 0
		p.pick = func(ctx context.Context, req *balance.Request) (balance.Grant, error) {
			if asks++; asks > 2 {
				return balance.Grant{}, context.DeadlineExceeded
			}
			return overflowing(p, map[string]string{"web on": "cloud"}, gone)(ctx, req)
		}
		pool := make(chan string, 1)
		good.Config.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { pool <- r.Header.Get("Evenkeel-Pool") })
		r := run(t, p, nil)
		if res, body := r.do(r.request("GET", "/x", "")); res.StatusCode != 200 {
			t.Errorf("got %d %s", res.StatusCode, body)
		}
		if got := <-pool; got != "web" {
			t.Errorf("the server was told pool %s, want web", got)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if got, want := strings.Join(p.pools, ", "), "web, cloud, done cloud, cloud, web"; got != want {
			t.Errorf("the pools are %s, want %s", got, want)
		}
	})
}

// A master that sends on what is to stay has refused it.
func TestAMasterThatSendsOnWhatStays(t *testing.T) {
	eachPicker(t, func(t *testing.T) {
		p := newFakePicker()
		p.pick = func(context.Context, *balance.Request) (balance.Grant, error) {
			return balance.Grant{}, &balance.Refusal{Reason: balance.Overflowed, Pool: "cloud"}
		}
		r := run(t, p, nil)
		if res, body := r.do(r.request("GET", "/x", "")); res.StatusCode != 503 {
			t.Errorf("got %d %s, want 503", res.StatusCode, body)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if got, want := strings.Join(p.pools, ", "), "web, cloud, cloud, web"; got != want {
			t.Errorf("the pools are %s, want %s", got, want)
		}
	})
}
