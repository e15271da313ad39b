package main

import (
	"slices"
	"strings"
	"testing"
)

func mutantsOf(t *testing.T, body string) ([]mutant, []byte) {
	t.Helper()
	source := []byte("package p\n\n" + body)
	all, err := find("room/p.go", source)
	if err != nil {
		t.Fatal(err)
	}
	return all, source
}

func TestEveryKindOfChangeIsFound(t *testing.T) {
	for _, c := range []struct {
		body string
		want []string
	}{
		{"func f() {\n\tif a == b {\n\t}\n}", []string{"f: negated condition: a == b → a != b"}},
		{"func f() {\n\tif !a() {\n\t}\n}", []string{"f: negated condition: !a() → a()"}},
		{"func f() {\n\tfor a(\n\t\tb) {\n\t}\n}", []string{"f: negated condition: a( b) → !(a( b))"}},
		{"func f() {\n\tfor {\n\t}\n}", nil},
		{"func f() {\n\tswitch {\n\tcase a, b:\n\tdefault:\n\t}\n\tswitch a {\n\tcase b:\n\t}\n}", []string{"f: negated condition: a → !(a)", "f: negated condition: b → !(b)"}},
		{"func (g *G[T]) f() bool {\n\treturn a != b\n}", []string{"G.f: negated condition: a != b → a == b"}},
		{"var v = func() bool { return a < b }", []string{"v: boundary: a < b → a <= b"}},
		{"func (G) f() bool { return a >= b }", []string{"G.f: boundary: a >= b → a > b"}},
		{"func f() bool { return a && b || c }", []string{"f: dropped half: a && b || c → a && b", "f: dropped half: a && b || c → c", "f: dropped half: a && b → a", "f: dropped half: a && b → b"}},
		{"func f() {\n\ta()\n\tb = c\n\t_ = c\n\td := c\n\te++\n\te += d\n\tgo a()\n\tdefer a()\n\tc <- b\n\treturn\n}", []string{
			"f: dropped statement: a() → nothing", "f: dropped statement: b = c → nothing", "f: dropped statement: e++ → nothing", "f: dropped statement: e += d → nothing",
			"f: dropped statement: go a() → nothing", "f: dropped statement: defer a() → nothing", "f: dropped statement: c <- b → nothing", "f: dropped statement: return → nothing"}},
		{"func f() {\n\tselect {\n\tcase <-a:\n\t\tb()\n\t}\n\tswitch x {\n\tcase 1:\n\t\tc()\n\t}\n}", []string{"f: dropped statement: b() → nothing", "f: dropped statement: c() → nothing"}},
		{"func f() error {\n\treturn a()\n}", []string{"f: dropped error: a() → nil"}},
		{"func f() error {\n\treturn nil\n}", nil},
		{"func f() (int, error) {\n\treturn a()\n}", nil},
		{"func f() (a, b error) {\n\treturn a, func() error { return g() }()\n}", []string{"f: dropped error: func() error { return g() }() → nil", "f: dropped error: g() → nil"}},
	} {
		all, _ := mutantsOf(t, c.body)
		var got []string
		for _, m := range all {
			got = append(got, m.function+": "+m.change)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s\ngot  %q\nwant %q", c.body, got, c.want)
		}
	}
}

func TestAChangeIsMadeWhereItWasFound(t *testing.T) {
	all, source := mutantsOf(t, "func f() {\n\t// ä\n\tif a(`ö`) < b {\n\t}\n}\n")
	want := []string{"!(a(`ö`) < b)", "a(`ö`) <= b"}
	if len(all) != len(want) {
		t.Fatalf("got %v", all)
	}
	for i := range all {
		if got := string(all[i].apply(source)); got != strings.Replace(string(source), "a(`ö`) < b", want[i], 1) {
			t.Errorf("got %s", got)
		}
		if all[i].line != 5 || all[i].file != "room/p.go" {
			t.Errorf("got %v, want line 5", &all[i])
		}
	}
}

func TestWhatADroppedErrorUsesStaysInUse(t *testing.T) {
	all, source := mutantsOf(t, "func f() (int, error) {\n\twho := g()\n\treturn 1, who.want()\n}\n")
	if got := string(all[0].apply(source)); !strings.Contains(got, "return 1, func() error { _ = who.want(); return nil }()\n") {
		t.Errorf("got %s", got)
	}
}

func TestEqualChangesOfAFunctionAreNumbered(t *testing.T) {
	all, _ := mutantsOf(t, "func f() {\n\ta()\n\ta()\n}\nfunc g() {\n\ta()\n}\n")
	if got := []string{all[0].change, all[1].change, all[2].change}; got[0] != got[2] || got[1] != got[0]+" #2" {
		t.Errorf("got %q", got)
	}
}

func TestTheSameSeedDrawsTheSameSample(t *testing.T) {
	var all []mutant
	for i := range 50 {
		all = append(all, mutant{start: i})
	}
	a, b, other := shuffled(all, 1), shuffled(all, 1), shuffled(all, 2)
	if !slices.Equal(a, b) || slices.Equal(a, other) || slices.Equal(a, all) {
		t.Errorf("seed 1: %v, again %v, seed 2: %v", a, b, other)
	}
}

func TestOnlyWhatATestRunsIsCovered(t *testing.T) {
	blocks, err := readProfile("example.org/p", "mode: set\nexample.org/p/a.go:2.10,4.5 2 1\nexample.org/p/a.go:5.2,6.3 1 0\nexample.org/q/a.go:1.1,99.1 1 1\n")
	if err != nil || len(blocks) != 2 {
		t.Fatalf("got %v, %v, want two blocks", blocks, err)
	}
	for _, c := range []struct {
		file      string
		line, col int
		want      bool
	}{
		{"p/a.go", 2, 10, true}, {"p/a.go", 4, 4, true}, {"p/a.go", 5, 2, false}, {"p/a.go", 6, 2, false},
		{"p/a.go", 4, 5, true}, // in no block, so it may be run
		{"p/b.go", 5, 2, true},
	} {
		if got := covered(blocks, &mutant{file: c.file, line: c.line, col: c.col}); got != c.want {
			t.Errorf("%s:%d.%d: got %v, want %v", c.file, c.line, c.col, got, c.want)
		}
	}
	again := append(blocks, block{file: "a.go", fromLine: 5, fromColumn: 2, toLine: 6, toColumn: 3, run: true})
	if !covered(again, &mutant{file: "p/a.go", line: 5, col: 2}) {
		t.Error("what another package's tests run is not covered")
	}
	if _, err := readProfile("example.org/p", "example.org/p/a.go:x\n"); err == nil {
		t.Error("a broken profile is read without an error")
	}
}
