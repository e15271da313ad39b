package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/proc"
)

// Two edges were given one id. The older goes on, and all three processes that see it say
// what is wrong.
func TestTwoEdgesOfOneID(t *testing.T) {
	certs := t.TempDir()
	run(t, "certs", "init", "--dir", certs)
	server := startServer(t, "s")
	tls, _ := issue(t, certs, "master", "m1")
	m := startMaster(t, fmt.Sprintf("master: {id: m1%s}\npools: {web: {servers: [{id: s, address: %q}]}}", tls, server.Addr("listen")))
	_, flags := issue(t, certs, "edge", "e1")
	serves := func(e *proc.Process) {
		t.Helper()
		eventually(t, func() (bool, string) {
			a := get(t, "http://"+e.Addr("listen")+"/")
			return a.StatusCode == 200 && a.server() == "s", a.Status
		})
	}
	older := startEdge(t, m, "e1", "web", flags...)
	serves(older)
	newer := startEdge(t, m, "e1", "web", flags...)
	eventually(t, func() (bool, string) {
		return strings.Contains(m.Log(), "two processes use its id"), "the master has not said that it refuses the newer one"
	})
	for name, p := range map[string]*proc.Process{"the older edge": older, "the newer edge": newer, "the master": m.Process} {
		eventually(t, func() (bool, string) {
			log := p.Log()
			return strings.Contains(log, "two edges use the id e1") && strings.Contains(log, "edge.id"), name + " does not say what is wrong and what to do"
		})
	}
	serves(older)
}
