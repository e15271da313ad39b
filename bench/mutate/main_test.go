package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/figures"
)

const example = "testdata/example"

func exampleRoom(t *testing.T, timeout time.Duration) (*room, []mutant) {
	t.Helper()
	r, err := openRoom(example, nil, timeout)
	if err != nil {
		t.Fatal(err)
	}
	all, err := r.mutants()
	if err != nil {
		t.Fatal(err)
	}
	return r, all
}

func TestAMutantIsKilledSurvivesOrCountsForNothing(t *testing.T) {
	source := filepath.Join(example, "example.go")
	before, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	r, all := exampleRoom(t, time.Minute)
	if err := r.measure(t.Context()); err != nil {
		t.Fatal(err)
	}
	endless, _ := exampleRoom(t, time.Second)
	for _, c := range []struct {
		by     *room
		change string
		want   verdict
	}{
		{r, "Gate.Enter: negated condition: !g.Open → g.Open", killed},
		{r, "Gate.Enter: boundary: g.inside < g.Limit → g.inside <= g.Limit", killed},
		{r, "Gate.Quiet: dropped half: g.Open && g.inside == 0 → g.Open", killed},
		{r, "Gate.Enter: dropped statement: g.inside++ → nothing", killed},
		{r, "Gate.Check: dropped error: g.refusal() → nil", killed},
		{r, "Most: boundary: a > b → a >= b", survived},
		{r, "Gate.Leave: dropped statement: g.inside-- → nothing", uncovered},
		{r, `Gate.refusal: dropped error: errors.New("a limit below zero") → nil`, killed},
		{r, "Most: dropped statement: return b → nothing", broken},
		{endless, "Gate.Check: dropped statement: g.Limit++ → nothing", timedOut},
	} {
		i := slices.IndexFunc(all, func(m mutant) bool { return m.function+": "+m.change == c.change })
		if i < 0 {
			t.Errorf("%s is none of the mutants", c.change)
			continue
		}
		if got, err := c.by.judge(t.Context(), &all[i]); err != nil || got != c.want {
			t.Errorf("%s: got %q, %v, want %q", c.change, got, err, c.want)
		}
	}
	if after, _ := os.ReadFile(source); !bytes.Equal(before, after) {
		t.Error("the tree was changed")
	}
}

func TestARunTellsSurvivorsScoreAndStaleEntries(t *testing.T) {
	dir := t.TempDir()
	list, out := filepath.Join(dir, "list"), filepath.Join(dir, "out.json")
	r, all := exampleRoom(t, time.Minute)
	// All are accepted but three, which are the sample.
	var text, left strings.Builder
	for i := range all {
		m := &all[i]
		switch m.function + ": " + m.change {
		case "Gate.Enter: negated condition: !g.Open → g.Open", "Most: boundary: a > b → a >= b", "Gate.Leave: dropped statement: g.inside-- → nothing",
			"Most: dropped statement: return b → nothing":
			left.WriteString(m.String() + "\n")
		default:
			text.WriteString(m.file + " " + m.function + ": " + m.change + " // accepted for the test\n")
		}
	}
	text.WriteString(r.path() + "/example.go Gate.Gone: boundary: a < b → a <= b // it was so once\n")
	if err := os.WriteFile(list, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	s := settings{room: example, seed: 3, samples: 3, parallel: 2, timeout: time.Minute, equivalents: list, out: out}
	var said strings.Builder
	good, err := s.run(t.Context(), &said)
	if err != nil || good {
		t.Errorf("got %v, %v, want a run that misses its goal", good, err)
	}
	for _, want := range []string{"example.go:48 Most: boundary: a > b → a >= b\n", "Gate.Leave: dropped statement: g.inside-- → nothing (no test runs it)\n",
		"Gate.Gone: boundary: a < b → a <= b is no mutant", "1 of 3 killed (33 %)", "2 survived, 1 of them where no test runs"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, said.String())
		}
	}
	if strings.Count(left.String(), "\n") != 4 {
		t.Errorf("the sample should be of:\n%s", left.String())
	}
	written, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var made []figures.Figure
	if err := json.Unmarshal(written, &made); err != nil || len(made) == 0 || made[0].Value != 1./3 || made[0].Goal != ">=.75" || made[0].Met() {
		t.Errorf("got %+v, %v, want a third, which misses .75", made, err)
	}
}

func TestOneMutantIsTriedAgain(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.json")
	s := settings{room: example, seed: 1, parallel: 1, timeout: time.Minute, equivalents: "equivalents.txt", out: out, only: "Gate.Check: dropped error"}
	var said strings.Builder
	if good, err := s.run(t.Context(), &said); err != nil || !good || !strings.Contains(said.String(), "1 of 1 killed") {
		t.Errorf("got %v, %v\n%s", good, err, said.String())
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("one mutant's figures were written")
	}
	s.only = "Gate.Gone"
	if _, err := s.run(t.Context(), &said); err == nil || !strings.Contains(err.Error(), "Gate.Gone") {
		t.Errorf("got %v, want an error that there is none", err)
	}
}

func TestARoomWhoseTestsFailIsNotMeasured(t *testing.T) {
	r, _ := exampleRoom(t, time.Minute)
	r.extra = []string{"./testdata/none"}
	if err := r.measure(t.Context()); err == nil || !strings.Contains(err.Error(), "testdata/none fail without a mutant") {
		t.Errorf("got %v, want an error that names the package", err)
	}
	s := settings{parallel: 1}
	if _, err := s.run(t.Context(), new(strings.Builder)); err == nil || !strings.Contains(err.Error(), "make mutate ROOM=") {
		t.Errorf("no room: got %v, want what to do", err)
	}
	if _, err := openRoom("no/such/room", nil, time.Minute); err == nil || !strings.Contains(err.Error(), "no/such/room") {
		t.Errorf("got %v, want an error with the room's name", err)
	}
}
