package master

import (
	"encoding/json"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/wire"
)

// What a successor adopts are the servers that agents told of, as they were told, and who
// was drained; servers of a file that names them no more stay behind.
func TestASuccessorAdopts(t *testing.T) {
	cfg := web("a", "b", "old")
	cfg.OpenPools = true
	before := start(t, cfg)
	joined := spec("joined")
	joined.Address = "127.0.0.1:80" // a pool that no file names lists no addresses
	joined.Slots, joined.Labels = 8, []balance.Label{{Key: "gpu", Value: "yes"}}
	agent := before.dial(wire.RoleAgent, "joined")
	agent.send(&wire.Register{Pool: "open", Server: joined})
	agent.sync()
	p := before.poolNamed("web")
	p.mu.Lock()
	p.storeOverrideLocked(1, "b", p.newOverrideLocked(1, "b", balance.Override{On: true, By: "ann", Reason: "disk"}))
	p.storeOverrideLocked(1, "a", p.newOverrideLocked(1, "a", balance.Override{Setting: balance.SlotsSet, Value: 3, On: true}))
	p.mu.Unlock()
	text, err := json.Marshal(before.HandoffServers())
	if err != nil {
		t.Fatal(err)
	}

	var known []HandoffServer
	if err := json.Unmarshal(text, &known); err != nil {
		t.Fatal(err)
	}
	cfg = web("a", "b")
	cfg.OpenPools = true
	after := start(t, cfg)
	if err := after.Restore(known); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[balance.ServerID]balance.State{"a": balance.Up, "b": balance.Draining} {
		if v := after.view(id); v == nil || v.State != want || !v.Fixed {
			t.Errorf("server %s is %+v, want it named by the file and %s", id, v, want)
		}
	}
	if v := after.view("a"); v.Slots != 3 {
		t.Errorf("server a has %v slots, want the 3 that were set", v.Slots)
	}
	if v := after.view("old"); v != nil {
		t.Errorf("a server that the file names no more is %+v", v)
	}
	p = after.poolNamed("open")
	p.mu.Lock()
	defer p.mu.Unlock()
	if v := p.core.Views(1); len(v) != 1 || v[0].Spec.Slots != 8 || len(v[0].Spec.Labels) != 1 || v[0].Spec.Address != joined.Address || v[0].Fixed {
		t.Errorf("the pool that an agent opened has %+v, want its server as it was told", v)
	}
}
