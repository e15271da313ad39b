package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/proc"
	"github.com/evenkeel-lb/evenkeel/internal/quota"
)

// limited makes a control group for the length of a test, or skips it where that cannot be.
func limited(t *testing.T, name string, cpus float64) *quota.Group {
	t.Helper()
	g, err := quota.New(fmt.Sprintf("evenkeel-test-%d-%s", os.Getpid(), name), cpus)
	if err != nil {
		t.Skipf("SKIPPED: control groups with a CPU quota need root: %v", err)
	}
	t.Cleanup(func() {
		if err := g.Kill(); err != nil {
			t.Error(err)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// startWithin runs a role within a control group.
func startWithin(t *testing.T, g *quota.Group, args ...string) *proc.Process {
	t.Helper()
	p, err := proc.Start(nil, "/bin/sh", g.Within(binary, append(args, "--log-format", "json")...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// An agent in a group of its own finds the control group of the process that listens at the server's address, says so in a line, follows
// the application to another group, and reports that group's CPU and no other's.
func TestAgentSamplesTheApplicationsCgroup(t *testing.T) {
	a, b, own := limited(t, "a", .4), limited(t, "b", .25), limited(t, "agent", 1)
	app := startWithin(t, a, "sample-server", "--listen", "127.0.0.1:0", "--id", "s1")
	address := app.Addr("listen")
	m := startMaster(t, "pools: { web: {} }\n")
	agent := startWithin(t, own, "agent", "--master", m.Addr("listen"), "--pool", "web", "--id", "s1", "--address", address, "--admin", "off")
	says := func(want string) {
		t.Helper()
		eventually(t, func() (bool, string) {
			return strings.Contains(agent.Log(), want), "log without " + want + "\n" + agent.Log()
		})
	}
	says("cpu: cgroup " + a.Name + ", quota 0.4")
	utilization := func(is func(u float64) bool) {
		t.Helper()
		eventually(t, func() (bool, string) {
			u, ok := cpu(t, m)
			return ok && is(u), fmt.Sprint("cpu_utilization is ", u)
		})
	}
	burn(t, own) // what the agent's own group uses is not the application's
	utilization(func(u float64) bool { return u < .05 })
	burn(t, a)
	utilization(func(u float64) bool { return u > .1 }) // 1, on a machine that has nothing else to do

	app.Kill()
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	startWithin(t, b, "sample-server", "--listen", address, "--id", "s1")
	says("cpu: cgroup " + b.Name + ", quota 0.25")
	utilization(func(u float64) bool { return u < .05 }) // it has nothing to do
	if err := b.Set(.1); err != nil {
		t.Fatal(err)
	}
	says("cpu: cgroup " + b.Name + ", quota 0.1")
}

// Where the application has no control group of its own, no CPU is reported and a warning says why.
func TestAgentReportsNoCPUOfOthers(t *testing.T) {
	groups, err := os.ReadFile("/proc/self/cgroup")
	namespace, _ := os.Readlink("/proc/self/ns/cgroup")
	if err != nil || namespace != "cgroup:[4026531835]" || !strings.Contains(string(groups), "cpuacct:/\n") && string(groups) != "0::/\n" {
		t.Skip("SKIPPED: these tests run in a control group of their own here")
	}
	server := startServer(t, "s1")
	m := startMaster(t, "pools: { web: {} }\n")
	agent := startAgent(t, m, "web", "s1", server)
	eventually(t, func() (bool, string) {
		return strings.Contains(agent.Log(), "cpu: not reported") && strings.Contains(agent.Log(), "root control group"), agent.Log()
	})
	eventually(t, func() (bool, string) { return len(metricsOf(t, m)) > 0, "no report has come" })
	if u, ok := cpu(t, m); ok {
		t.Errorf("cpu_utilization %v is reported, and is not the application's", u)
	}
}

// burn uses up a group's CPU until the group is killed.
func burn(t *testing.T, g *quota.Group) {
	t.Helper()
	cmd := g.Command("/bin/sh", "-c", "while :; do :; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }() // it is killed
}

// metricsOf returns what the one server of pool web has reported.
func metricsOf(t *testing.T, m master) map[string]struct{ Value float64 } {
	t.Helper()
	var pool struct {
		Servers []struct {
			Metrics map[string]struct{ Value float64 }
		}
	}
	get(t, m.url("/v1/pools/web")).into(t, &pool)
	if len(pool.Servers) == 0 {
		return nil
	}
	return pool.Servers[0].Metrics
}

func cpu(t *testing.T, m master) (u float64, ok bool) {
	metric, ok := metricsOf(t, m)["cpu_utilization"]
	return metric.Value, ok
}
