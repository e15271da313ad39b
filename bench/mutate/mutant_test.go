package main

import (
	"slices"
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
		{"func f() {\n\tswitch a {\n\tcase b:\n\t\tfallthrough\n\tdefault:\n\t}\n}", nil},
		{"const c = a < b", nil},
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

// A function with results does not compile when what it ends with may be left out.
func TestWhatAFunctionWithResultsEndsWithIsNotDropped(t *testing.T) {
	for _, body := range []string{
		"return 1", "panic(1)", "{\n\treturn 1\n\t}", "for {\n\t}", "if a {\n\treturn 1\n\t} else if b {\n\treturn 2\n\t} else {\n\treturn 3\n\t}",
		"switch a {\n\tcase 1:\n\treturn 1\n\tdefault:\n\tpanic(2)\n\t}", "switch a.(type) {\n\tdefault:\n\treturn 1\n\t}", "select {\n\tcase <-a:\n\treturn 1\n\t}",
	} {
		for _, f := range []string{"func f() int {\n\t" + body + "\n}", "var v = func() int {\n\t" + body + "\n}"} {
			all, _ := mutantsOf(t, f)
			if slices.ContainsFunc(all, func(m mutant) bool { return m.kind == droppedStatement }) {
				t.Errorf("%s: got %v", f, all)
			}
		}
	}
	all, _ := mutantsOf(t, "func f() int {\n\tif a {\n\t\treturn 1\n\t}\n\treturn 2\n}")
	if !slices.ContainsFunc(all, func(m mutant) bool { return m.change == "dropped statement: return 1 → nothing" }) {
		t.Errorf("got %v, want the return amid the function among them", all)
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
