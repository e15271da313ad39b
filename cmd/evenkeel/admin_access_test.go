package main

import (
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/agent"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/process"
	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"
	"github.com/evenkeel-lb/evenkeel/edge"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/internal/admin"
	"github.com/evenkeel-lb/evenkeel/master"
	"github.com/evenkeel-lb/evenkeel/ui"
)

// unguarded serves a master's API to any caller.
func unguarded(m *master.Master) http.Handler { return admin.New(admin.Config{}, m.Endpoints()) }

// surfaces are what each role serves with all that can be switched on.
func surfaces(t *testing.T) map[string]*admin.Surface {
	t.Helper()
	m, err := master.New(master.Config{})
	if err != nil {
		t.Fatal(err)
	}
	e, err := edge.New(edge.Config{ID: "e", Listeners: []routing.Listener{{Listen: "127.0.0.1:0", Routes: []routing.Route{{Pool: "web"}}}}}, m.Edge("e"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := agent.New(agent.Config{Server: "r1"}, make(sentReports, 1))
	if err != nil {
		t.Fatal(err)
	}
	tokens := t.TempDir() + "/tokens"
	if _, err := admin.AddToken(tokens, "any", "read"); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]*admin.Surface)
	for role, endpoints := range map[string][]admin.Endpoint{"master": append(m.Endpoints(), ui.Endpoints()...), "edge": e.Endpoints(), "agent": a.Endpoints()} {
		p := &process.Process{Overview: &process.Overview{Role: role}}
		access, err := process.OpenAdmin(settings.Access{Tokens: tokens, Pprof: true}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		all[role] = access.Surface(p, endpoints)
	}
	return all
}

// Who is to find out what a token may do reads the table of docs/admin.md.
func TestEveryEndpointHasItsRole(t *testing.T) {
	text, err := os.ReadFile("../../docs/admin.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| ([a-z, ]+?)(?:, with `[a-z]+`)? \\| ([A-Z]+) \\| `([^`]+)` \\| ([a-z]+) \\|$").FindAllStringSubmatch(string(text), -1) {
		roles := m[1]
		if roles == "all" {
			roles = "master, edge, agent"
		}
		for role := range strings.SplitSeq(roles, ", ") {
			documented = append(documented, role+" "+m[2]+" "+m[3]+" "+m[4])
		}
	}
	var served []string
	for role, s := range surfaces(t) {
		for _, e := range s.Endpoints() {
			served = append(served, role+" "+e.Method+" "+e.Path+" "+e.Role.String())
			if e.Role < admin.Anyone || e.Role > admin.Socket {
				t.Errorf("%s %s %s has no role", role, e.Method, e.Path)
			}
		}
	}
	for _, one := range served {
		if !slices.Contains(documented, one) {
			t.Errorf("docs/admin.md lacks: %s", one)
		}
	}
	for _, one := range documented {
		if !slices.Contains(served, one) {
			t.Errorf("docs/admin.md has what is not served: %s", one)
		}
	}
	if len(served) < 30 {
		t.Errorf("only %d endpoints", len(served))
	}
}
