package master

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

const secretKey = "session=4711-secret"

// What the API says of a request has its key's hash, and nowhere the key.
func TestKeysAreShownAsHashes(t *testing.T) {
	r := start(t, web("a"))
	a := newAPI(t, r.Master)
	g, err := r.Edge("e1").Pick(context.Background(), "web", &balance.Request{ID: balance.HashID("r7"), Key: secretKey})
	if err != nil {
		t.Fatal(err)
	}
	for _, call := range [][3]string{
		{"GET", "/v1/leases/" + g.Lease.String()}, {"GET", "/v1/requests/r7"}, {"GET", "/v1/pools/web/decisions"},
		{"POST", "/v1/pools/web/explain", `{"key":"` + secretKey + `"}`},
	} {
		status, answer, _ := a.call(call[0], call[1], call[2])
		if text := fmt.Sprint(answer); status != 200 || strings.Contains(text, "secret") || !strings.Contains(text, hashOf(secretKey)) {
			t.Errorf("%s: got %d %s, want the hash %s and not the key", call[1], status, text, hashOf(secretKey))
		}
	}
	if hash := hashOf("abc"); hash != "sha256:ba7816bf8f01cfea" {
		t.Errorf("abc is hashed to %s, want what sha256sum begins with", hash)
	}
}

func TestKeysAreToldAsHashes(t *testing.T) {
	for _, facts := range [][]string{nil, {HookKey}} {
		cfg := dispatching(time.Minute)
		cfg.Pools[0].HookFacts = facts
		r := start(t, cfg)
		a, e := r.dialAgent("s1"), r.dialEdge("e1")
		e.ask(wire.Ask{Seq: 1, Pool: "web", Request: balance.Request{Key: secretKey}})
		want := hashOf(secretKey)
		if facts != nil {
			want = secretKey
		}
		d := a.dispatched()
		if d.Request.Key != want {
			t.Errorf("hook_facts %q: the agent is told %q, want %q", facts, d.Request.Key, want)
		}
		a.send(&wire.Verdict{Lease: d.Lease, Accepted: true})
		e.granted()
	}
	bad := ""
	(&PoolConfig{Name: "p", HookFacts: []string{"cookie"}}).Validate(func(field, problem string) { bad = field + ": " + problem })
	if !strings.Contains(bad, `hook_facts[0]: "cookie", want key`) {
		t.Errorf("got %q for a fact that is none", bad)
	}
}

// An application is told the tenants that are proven, or that anybody may tell, and none that had to be proven and was not.
func TestDisbelievedTenantsAreToldToNoHook(t *testing.T) {
	r := start(t, dispatching(time.Minute))
	a, e := r.dialAgent("s1"), r.dialEdge("e1")
	for i, c := range []struct {
		belief balance.Belief
		want   string
	}{{balance.Told, "acme"}, {balance.Proven, "acme"}, {balance.Disbelieved, ""}} {
		e.ask(wire.Ask{Seq: uint64(i + 1), Pool: "web", Request: balance.Request{Tenant: "acme", Belief: c.belief}})
		d := a.dispatched()
		if d.Request.Tenant != c.want {
			t.Errorf("%v: the agent is told the tenant %q, want %q", c.belief, d.Request.Tenant, c.want)
		}
		a.send(&wire.Verdict{Lease: d.Lease, Accepted: true})
		e.granted()
	}
}
