package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/internal/figures"
)

const example = "testdata/example"

func openExample(t *testing.T) *room {
	t.Helper()
	r, err := openRoom(example)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *room) find(t *testing.T, change string) *mutant {
	t.Helper()
	i := slices.IndexFunc(r.mutants, func(m mutant) bool { return m.function+": "+m.change == change })
	if i < 0 {
		t.Fatalf("%s is none of the mutants", change)
	}
	return &r.mutants[i]
}

func TestAMutantIsKilledOrSurvives(t *testing.T) {
	source := filepath.Join(example, "example.go")
	before, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	r := openExample(t)
	s := settings{parallel: 2, timeout: time.Second}
	j, err := s.prepare(t.Context(), r, t.TempDir(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		change string
		want   verdict
	}{
		{"Gate.Enter: negated condition: !g.Open → g.Open", killed},
		{"Gate.Enter: boundary: g.inside < g.Limit → g.inside <= g.Limit", killed},
		{"Gate.Quiet: dropped half: g.Open && g.inside == 0 → g.Open", killed},
		{"Gate.Enter: dropped statement: g.inside++ → nothing", killed},
		{"Gate.Check: dropped error: g.refusal() → nil", killed},
		{"Most: boundary: a > b → a >= b", survived},
		{"Gate.Leave: dropped statement: g.inside-- → nothing", unreached},
		{`Gate.refusal: dropped error: errors.New("a limit below zero") → nil`, killed},
		{"Gate.Check: dropped statement: g.Limit++ → nothing", timedOut},
	} {
		m := r.find(t, c.change)
		if err := j.judge(t.Context(), []mutant{*m}); err != nil || j.verdicts[m.number] != c.want {
			t.Errorf("%s: got %q, %v, want %q", c.change, j.verdicts[m.number], err, c.want)
		}
	}
	if after, _ := os.ReadFile(source); !bytes.Equal(before, after) {
		t.Error("the tree was changed")
	}
}

func TestTheTestsOfAnotherPackageKillMutantsToo(t *testing.T) {
	r := openExample(t)
	s := settings{parallel: 1, timeout: time.Minute, extra: []string{"testdata/user"}}
	var said strings.Builder
	j, err := s.prepare(t.Context(), r, t.TempDir(), &said)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said.String(), "left out: testdata/user: TestThatFails fails without a mutant") {
		t.Errorf("it says %q, want the test that fails", said.String())
	}
	m := r.find(t, "Gate.Leave: dropped statement: g.inside-- → nothing")
	if err := j.judge(t.Context(), []mutant{*m}); err != nil || j.verdicts[m.number] != killed {
		t.Errorf("got %q, %v, want it killed", j.verdicts[m.number], err)
	}
}

func TestOnlyTheTestsThatReachAMutantAreRunTheQuickestFirst(t *testing.T) {
	of := func(took time.Duration, reaches ...int) *test {
		all := make(map[int]bool)
		for _, k := range reaches {
			all[k] = true
		}
		return &test{took: took, reaches: all}
	}
	slow, quick, other := of(30, 1), of(10, 1, 2), of(20, 1)
	suites := []*suite{{tests: []*test{slow, of(5, 2)}}, {tests: []*test{quick, other}}}
	for _, c := range []struct {
		budget time.Duration
		want   []*test
	}{{0, []*test{quick, other, slow}}, {60, []*test{quick, other, slow}}, {59, []*test{quick, other}}, {1, []*test{quick}}} {
		if got := reaching(suites, 1, c.budget); !slices.Equal(got, c.want) {
			t.Errorf("budget %d: got %d tests, want %d, or another order", c.budget, len(got), len(c.want))
		}
	}
	if got := reaching(suites, 3, 0); len(got) != 0 {
		t.Errorf("got %v, want none", got)
	}
}

func TestARunTellsSurvivorsScoreAndStaleEntries(t *testing.T) {
	dir := t.TempDir()
	list, out := filepath.Join(dir, "list"), filepath.Join(dir, "out.json")
	r := openExample(t)
	// All are accepted but three, which are the sample.
	var text strings.Builder
	for i := range r.mutants {
		m := &r.mutants[i]
		switch m.function + ": " + m.change {
		case "Gate.Enter: negated condition: !g.Open → g.Open", "Most: boundary: a > b → a >= b", "Gate.Leave: dropped statement: g.inside-- → nothing":
		default:
			text.WriteString(m.file + " " + m.function + ": " + m.change + " // accepted for the test\n")
		}
	}
	text.WriteString(r.path() + "/example.go Gate.Gone: boundary: a < b → a <= b // it was so once\n")
	if err := os.WriteFile(list, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	s := settings{room: example, seeds: []uint64{3, 4}, samples: 3, parallel: 2, timeout: time.Minute, goal: .75, equivalents: list, out: out}
	var said strings.Builder
	good, err := s.run(t.Context(), &said)
	if err != nil || good {
		t.Errorf("got %v, %v, want a run that misses its goal", good, err)
	}
	for _, want := range []string{"example.go:48 Most: boundary: a > b → a >= b\n", "Gate.Leave: dropped statement: g.inside-- → nothing (no test reaches it)\n",
		"Gate.Gone: boundary: a < b → a <= b is no mutant", "seed 3: 1 of 3 killed (33 %)", "seed 4: 1 of 3 killed (33 %)", "2 survived, 1 of them reached by no test"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, said.String())
		}
	}
	written, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var made []figures.Figure
	if err := json.Unmarshal(written, &made); err != nil || len(made) == 0 || made[0].Value != 1./3 || made[0].Goal != ">=0.75" || made[0].Met() {
		t.Errorf("got %+v, %v, want a third, which misses .75", made, err)
	}
}

func TestOneMutantIsTriedAgain(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out.json")
	s := settings{room: example, seeds: []uint64{1}, parallel: 1, timeout: time.Minute, equivalents: "equivalents.txt", out: out, only: "Gate.Check: dropped error"}
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

func TestWhatCannotBeMeasuredIsAnError(t *testing.T) {
	for _, c := range []struct {
		settings
		want string
	}{
		{settings{parallel: 1}, "make mutate ROOM="},
		{settings{room: "no/such/room", parallel: 1}, "no/such/room"},
		{settings{room: example, parallel: 1, extra: []string{"testdata/none"}}, "testdata/none"},
		{settings{room: "testdata/failing", parallel: 1}, "no test of github.com/evenkeel-lb/evenkeel/bench/mutate/testdata/failing passes without a mutant"},
	} {
		c.equivalents, c.seeds = "equivalents.txt", []uint64{1}
		if _, err := c.run(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %s: got %v, want an error that says %q", c.room, c.extra, err, c.want)
		}
	}
	if seeds, err := readSeeds("1,20"); err != nil || !slices.Equal(seeds, []uint64{1, 20}) {
		t.Errorf("got %v, %v", seeds, err)
	}
	if _, err := readSeeds("1,"); err == nil {
		t.Error("an empty seed is read without an error")
	}
}
