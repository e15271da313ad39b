package master

import (
	"reflect"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// What the file says of a server, also by saying nothing, its agent changes only where the file
// leaves it to the agent.
func TestAnAgentTellsOnlyWhatTheFileLeavesToIt(t *testing.T) {
	zone := []balance.Label{{Key: "zone", Value: "b"}}
	agent := balance.ServerSpec{ID: "a", Address: "10.0.0.9:80", Public: "https://elsewhere.example", Slots: 8, Speed: 2, Labels: zone, Location: "us"}
	bare := balance.ServerSpec{ID: "a", Address: "10.0.0.1:80"}
	full := balance.ServerSpec{ID: "a", Address: "10.0.0.1:80", Public: "http://a.example", Slots: 4, Labels: []balance.Label{{Key: "zone", Value: "a"}}, Location: "eu"}
	for _, c := range []struct {
		what       string
		file, want balance.ServerSpec
		tells      Tells
	}{
		{"nothing written", bare, balance.ServerSpec{ID: "a", Address: "10.0.0.1:80", Slots: 8, Speed: 2}, 0},
		{"all written", full, balance.ServerSpec{ID: "a", Address: "10.0.0.1:80", Public: "http://a.example", Slots: 4, Speed: 2, Labels: full.Labels, Location: "eu"}, 0},
		{"labels and public are the agent's", full, balance.ServerSpec{ID: "a", Address: "10.0.0.1:80", Public: agent.Public, Slots: 4, Speed: 2, Labels: zone, Location: "eu"}, TellsLabels | TellsPublic},
		{"all is the agent's", full, balance.ServerSpec{ID: "a", Address: agent.Address, Public: agent.Public, Slots: 4, Speed: 2, Labels: zone, Location: "us"}, TellsAddress | TellsLabels | TellsPublic | TellsLocation},
	} {
		t.Run(c.what, func(t *testing.T) {
			named := PoolConfig{Name: "web", Servers: []balance.ServerSpec{c.file}, FromAgent: map[balance.ServerID]Tells{"a": c.tells}}
			for order, steps := range map[string][]string{"file first": {"file", "agent", "agent"}, "agent first": {"agent", "file"}, "and once more by the file": {"file", "agent", "file"}} {
				p, err := newPool(PoolConfig{Name: "web"}, true, 1, func() {})
				if err != nil {
					t.Fatal(err)
				}
				for _, step := range steps {
					if step == "file" {
						_, err = p.configureLocked(1, named)
					} else {
						err = p.putServerLocked(1, agent, false)
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				if got := p.core.Views(1)[0].Spec; !reflect.DeepEqual(got, c.want) {
					t.Errorf("%s: got %+v, want %+v", order, got, c.want)
				}
				if _, err := p.configureLocked(2, PoolConfig{Name: "web"}); err != nil {
					t.Fatal(err)
				}
				if err := p.putServerLocked(2, agent, false); err != nil {
					t.Fatal(err)
				}
				if got := p.core.Views(2)[0].Spec; !reflect.DeepEqual(got, agent) {
					t.Errorf("%s, then the file names it no more: got %+v, want %+v", order, got, agent)
				}
			}
		})
	}
}
