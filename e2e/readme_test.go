package e2e

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/internal/proc"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The claims that README lists are the claims that are tested, both ways.
func TestReadmeListsTheClaims(t *testing.T) {
	source, err := os.ReadFile("claims_test.go")
	if err != nil {
		t.Fatal(err)
	}
	listed := regexp.MustCompile("`(TestClaims?_\\w+)`").FindAllStringSubmatch(readme(t), -1)
	tested := regexp.MustCompile(`func (TestClaims?_\w+)`).FindAllStringSubmatch(string(source), -1)
	names := func(found [][]string) string {
		var all []string
		for _, f := range found {
			all = append(all, f[1])
		}
		return strings.Join(all, "\n")
	}
	if names(listed) != names(tested) {
		t.Errorf("README lists\n%s\nthe tests are\n%s", names(listed), names(tested))
	}
}

func TestReadmeFileIsValid(t *testing.T) {
	_, rest, _ := strings.Cut(readme(t), "```yaml\n")
	yaml, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("README has no YAML file")
	}
	if out, err := exec.Command(binary, "check", file(t, yaml)).CombinedOutput(); err != nil {
		t.Errorf("evenkeel check of README's file: %v\n%s", err, out)
	}
}

// The main job, as README gives it, on a short run.
func TestDemo(t *testing.T) {
	out, err := exec.Command(binary, "demo", "--json", "--length", "2s").Output()
	if err != nil {
		t.Fatalf("evenkeel demo: %v\n%s", err, out)
	}
	var result struct {
		Policies []struct {
			Policy   string  `json:"policy"`
			Requests int     `json:"requests"`
			Errors   int     `json:"errors"`
			Mean     float64 `json:"mean_ms"`
			P99      float64 `json:"p99_ms"`
			Servers  []struct {
				Share float64 `json:"share"`
			} `json:"servers"`
		} `json:"policies"`
	}
	if err := json.Unmarshal(out, &result); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	names := ""
	for _, p := range result.Policies {
		names += " " + p.Policy
		if p.Requests != result.Policies[0].Requests || p.Requests < 80 || p.Errors > 0 || p.Mean <= 0 || p.P99 < p.Mean {
			t.Errorf("%s: %d requests, %d errors, mean %.1f, p99 %.1f", p.Policy, p.Requests, p.Errors, p.Mean, p.P99)
		}
		share := 0.
		for _, s := range p.Servers {
			share += s.Share
		}
		if p.Policy != "ideal" && (len(p.Servers) != 12 || share < .999 || share > 1.001) {
			t.Errorf("%s: %d servers, whose shares add up to %.3f", p.Policy, len(p.Servers), share)
		}
	}
	if names != " leastconn-per-edge least-load ideal" {
		t.Fatalf("the policies are%s", names)
	}
}

// The demo beside real proxies, as far as they are installed.
func TestDemoAgainst(t *testing.T) {
	if os.Getenv("EVENKEEL_PEERS") != "required" && !*long {
		t.Skip("SKIPPED: a quarter of a minute. To run this test too: EVENKEEL_PEERS=required make test")
	}
	for _, name := range []string{"haproxy", "nginx"} {
		t.Run(name, func(t *testing.T) {
			peer(t, name)
			out, err := exec.Command(binary, "demo", "--json", "--length", "1s", "--against", name).Output()
			if err != nil {
				t.Fatalf("evenkeel demo --against %s: %v\n%s", name, err, out)
			}
			var result struct {
				Against  string `json:"against"`
				Policies []struct {
					Errors int `json:"errors"`
				} `json:"policies"`
			}
			if err := json.Unmarshal(out, &result); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if result.Against != name || len(result.Policies) != 3 || result.Policies[0].Errors > 0 {
				t.Errorf("got %+v", result)
			}
		})
	}
}

// Stopping the demo early is not an error, and leaves no process.
func TestDemoStops(t *testing.T) {
	cmd := exec.Command(binary, "demo", "--length", "30s", "--verbose")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var addresses []string
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		var record struct {
			Msg, Role, Listen string
		}
		if json.Unmarshal(lines.Bytes(), &record) == nil && record.Msg == "serving" {
			addresses = append(addresses, record.Listen)
			if record.Role == "sample-proxy" {
				cmd.Process.Signal(os.Interrupt)
			}
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the demo, interrupted: %v, want no error", err)
	}
	for _, address := range addresses {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			t.Errorf("something still listens on %s", address)
		}
	}
}

// README's second command: two servers, no file, no agent; and it ends as it should.
func TestRun(t *testing.T) {
	a, b := startServer(t, "a"), startServer(t, "b")
	run := start(t, "run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--server", "http://"+a.Addr("listen"), "--server", "http://"+b.Addr("listen"))
	n := burst(t, run, "/", 60)
	if n["a"] == 0 || n["b"] == 0 {
		t.Errorf("60 requests went to %v, want some at each", n)
	}
	slow := make(chan answer, 1)
	go func() { slow <- get(t, "http://"+run.Addr("listen")+"/slow?work=0.5") }()
	eventually(t, func() (bool, string) {
		return served(t, a, "/slow")+served(t, b, "/slow") == 1, "the slow request has not arrived"
	})
	if err := run.Stop(proc.StopLimit); err != nil {
		t.Errorf("run did not end cleanly: %v", err)
	}
	if got := <-slow; got.StatusCode != 200 {
		t.Errorf("the request that was under way when run was told to stop got %s", got.Status)
	}
}
