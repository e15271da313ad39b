package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func simulateHere(t *testing.T, args ...string) (code int, out, problem string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = execute(t.Context(), append([]string{"simulate"}, args...), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

func TestSimulateTwiceIsTheSame(t *testing.T) {
	outputs := map[string]bool{}
	for range 2 {
		dir := t.TempDir()
		plot, goals := filepath.Join(dir, "a.svg"), filepath.Join(dir, "new", "b.json")
		code, out, problem := simulateHere(t, "b7", "B1-4", "--requests", "3000", "--seeds", "1,9", "--plot", plot, "--goals", goals)
		if code != exitFine {
			t.Fatalf("exit code %d: %s", code, problem)
		}
		for _, file := range []string{plot, goals} {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			out += string(text)
		}
		for _, want := range []string{"B7: ", "B1-4: ", "least-load", "nginx-least-conn", "ideal", "p99/ideal", "<=1.25", "<svg", `"name": "B7 p99/ideal"`} {
			if !strings.Contains(out, want) {
				t.Errorf("the output lacks %q:\n%s", want, out)
			}
		}
		outputs[out] = true
	}
	if len(outputs) != 1 {
		t.Error("the same command gave two different outputs")
	}
}

func TestSimulateOwnFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mine.yaml")
	if err := os.WriteFile(file, []byte("load: 1.5\nrequests: 1000\ndeadline: 1s\nservers: {count: 3, kinds: [{slots: 2}]}\nwork: {mean: 10ms}\ntenants: [{name: a, load: 1}, {name: b, load: .5}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, problem := simulateHere(t, file, "--json", "--policy", "edge-random")
	if code != exitFine {
		t.Fatalf("exit code %d: %s", code, problem)
	}
	var got []struct {
		Scenario string
		Results  []struct {
			Policy   string
			Requests int
			P99      *float64  `json:"p99_s"`
			P99Ideal *float64  `json:"p99_ideal"`
			InTime   []float64 `json:"in_time"`
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	r := got[0].Results[0]
	if got[0].Scenario != "mine" || len(got[0].Results) != 1 || r.Policy != "edge-random" || r.Requests != 900 || r.P99 == nil || r.P99Ideal != nil || len(r.InTime) != 2 {
		t.Errorf("want one result of edge-random with 900 requests, two tenants and no ideal, got\n%s", out)
	}
}

func TestSimulateSaysWhatIsWrong(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("load: .5\nservers: {count: 0, kind: [{slots: 2}]}\nwork: {mean: 10}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		code int
		want []string
	}{
		{nil, exitUsage, []string{"--all"}},
		{[]string{"B1", "--all"}, exitUsage, []string{"--all"}},
		{[]string{"nowhere.yaml"}, exitFailure, []string{"no scenario and no file nowhere.yaml"}},
		{[]string{"B7", "--policy", "best"}, exitUsage, []string{`"best" is not known`, "least-load"}},
		{[]string{"B7", "--policy", "ideal"}, exitUsage, []string{"always shown"}},
		{[]string{"B7", "--requests", "3"}, exitUsage, []string{"--requests"}},
		{[]string{bad}, exitFailure, []string{"bad.yaml:2:21: servers: key \"kind\" is not known", "count: 0, want 1", "a time needs its unit"}},
	} {
		code, out, problem := simulateHere(t, test.args...)
		if code != test.code || out != "" {
			t.Errorf("simulate %v: exit code %d, want %d, nothing on stdout, got %q", test.args, code, test.code, out)
		}
		for _, want := range test.want {
			if !strings.Contains(problem, want) {
				t.Errorf("simulate %v: want %q in\n%s", test.args, want, problem)
			}
		}
	}
}

// README names these scenarios with figures; what each of them is about must stay so.
func TestExampleScenarios(t *testing.T) {
	files, err := filepath.Glob("../../examples/simulate/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("found %v, %v, want four scenarios", files, err)
	}
	for _, file := range files {
		if code, out, problem := simulateHere(t, file, "--requests", "2000", "--policy", "least-load,nginx-least-conn"); code != 0 || !strings.Contains(out, "nginx-least-conn") {
			t.Errorf("simulate %s: exit code %d\n%s%s", file, code, out, problem)
		}
	}
}
