package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
)

func TestAnElectionIsJudged(t *testing.T) {
	for _, c := range []struct{ name, election, want string }{
		{"etcd", "{etcd: {endpoints: ['10.0.0.1:2379', 'https://etcd.example:2379'], ttl: 3s}}", ""},
		{"kubernetes in a pod", "{kubernetes: {}, address: '10.0.0.1:7400'}", ""},
		{"no store keeps it", "{address: '10.0.0.1:7400'}", "want etcd or kubernetes"},
		{"two keep it", "{etcd: {endpoints: ['e:1']}, kubernetes: {}}", "want one of them"},
		{"no endpoint", "{etcd: {}}", "want at least one"},
		{"an endpoint without a port", "{etcd: {endpoints: ['etcd']}}", "has no port, want host:port"},
		{"an etcd takes no second", "{etcd: {endpoints: ['e:1'], ttl: 1s}}", "want whole seconds from 2s"},
		{"half a second", "{kubernetes: {ttl: 1500ms}}", "want whole seconds from 1s"},
		{"an address without a port", "{kubernetes: {}, address: here}", "want host:port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "evenkeel.yaml")
			if err := os.WriteFile(name, []byte("master: {election: "+c.election+"}\npools: {web: {}}\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := settings.ReadFor(settings.RoleMaster, name)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("the problem is %v, want %q", err, c.want)
			}
		})
	}
}

func TestWhereAMasterIsReached(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Skip(err)
	}
	for _, c := range []struct{ written, listens, want string }{
		{"a.example:1", "0.0.0.0:7400", "a.example:1"},
		{"", "10.0.0.1:7400", "10.0.0.1:7400"},
		{"", "[::]:7400", host + ":7400"},
		{"", "unix:/run/m", "unix:/run/m"},
	} {
		got, err := reachableAt(&settings.Election{Address: c.written}, c.listens)
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%q, listening on %s: %q, %v; want %q", c.written, c.listens, got, err, c.want)
		}
	}
}
