package e2e

import (
	"bufio"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// A server is drained under load: the command tells how far it is, and ends when the
// server has finished; one that does not finish in time is an error. No request fails.
func TestDrain(t *testing.T) {
	_, entries := servers(t, 2, 4)
	m := startFixedMaster(t, "pools: {web: {servers: "+entries+"}}")
	e := edgeAt(t, m, "e1", "web")
	r := startTraffic(t, 60, 50*time.Millisecond, e)
	r.settle(300 * time.Millisecond)
	drain := func(args ...string) (said string, err error) {
		out, err := exec.Command(binary, append([]string{"drain", "--pool", "web", "--admin", m.admin}, args...)...).CombinedOutput()
		return string(out), err
	}
	said, err := drain("s1", "--deadline", "90s")
	if err != nil || !strings.Contains(said, "server s1 has finished") {
		t.Errorf("drain: got %v:\n%s", err, said)
	}
	if s := server(t, m.master, "web", "s1"); s.State != "draining" || s.InFlight != 0 {
		t.Errorf("drained: got %+v, want draining with nothing in flight", s)
	}
	r.settle(100 * time.Millisecond)
	all := r.everything()
	r.stop()
	noFailures(t, all)

	awaitOpen(t, m.master, "web", 0) // else one of the traffic's would be taken for the one held
	hold(t, e, "", 1)
	awaitOpen(t, m.master, "web", 1)
	cmd := exec.Command(binary, "drain", "s2", "--pool", "web", "--admin", m.admin, "--deadline", "1500ms")
	out, _ := cmd.StdoutPipe()
	var errors strings.Builder
	cmd.Stderr = &errors
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for in := bufio.NewScanner(out); in.Scan(); {
		lines = append(lines, in.Text())
	}
	err = cmd.Wait()
	if got := strings.Join(lines, "\n"); !strings.Contains(got, "1 request left") {
		t.Errorf("got\n%s\nwant it to tell that 1 request is left", got)
	}
	if err == nil || cmd.ProcessState.ExitCode() != 1 || !strings.Contains(errors.String(), "server s2 has not finished after 1.5s: 1 request left") {
		t.Errorf("got %v:\n%s", err, errors.String())
	}
	figure(t, "drain: requests meanwhile", float64(len(all)), "", "")
	n, _ := failures(all)
	figure(t, "drain: requests that failed", float64(n), "", "<=0")
}

// A drain survives the master that was told: its edge tells the next one, with who said it
// and why, before that answers an ask.
func TestDrainSurvivesTheMaster(t *testing.T) {
	t.Parallel()
	_, entries := servers(t, 2, 4)
	m := startFixedMaster(t, "pools: {web: {servers: "+entries+"}}")
	e := edgeAt(t, m, "e1", "web")
	run(t, "drain", "s1", "--pool", "web", "--admin", m.admin, "--by", "ann", "--reason", "disk")
	r := startTraffic(t, 60, 5*time.Millisecond, e)
	defer r.stop()
	for range 3 {
		m.Kill()
		m.again()
		eventually(t, func() (bool, string) {
			s := server(t, m.master, "web", "s1")
			return s.State == "draining", s.State
		})
	}
	out, _ := exec.Command(binary, "status", "--admin", m.admin).CombinedOutput()
	if status := string(out); !strings.Contains(status, `draining since`) || !strings.Contains(status, `by ann: "disk"`) {
		t.Errorf("got\n%s\nwant who drained s1 and why", status)
	}
	all := r.everything()
	noFailures(t, all)
	for _, one := range all {
		if one.Server == "s1" {
			t.Errorf("a request went to s1, which is drained")
		}
	}
}
