package main

import (
	"go/parser"
	"go/token"
	"strings"
	"testing"
)

// In a schema nothing is changed until a mutant is on: without the switches it is the source.
func TestASchemaHoldsTheSourceAndItsMutants(t *testing.T) {
	for _, c := range []struct{ body, want string }{
		{"func f() {\n\ta() // why\n}", "func f() {\n\tif !mutateIs(1) { a() } // why\n}"},
		{"func f() {\n\tif a {\n\t\tb()\n\t}\n}", "func f() {\n\tif (mutateIs(1) && (!(a)) || !mutateIs(1) && (a)) {\n\t\tif !mutateIs(2) { b() }\n\t}\n}"},
		{"var v = `ö` < b", "var v = (mutateIs(1) && (`ö` <= b) || !mutateIs(1) && (`ö` < b))"},
		{"func f() error {\n\treturn a(b < c)\n}", "func f() error {\n\treturn mutateError(1, a((mutateIs(2) && (b <= c) || !mutateIs(2) && (b < c))))\n}"},
		{"func f() {\n\tdefer func() {\n\t\ta()\n\t}()\n}", "func f() {\n\tif !mutateIs(1) { defer func() {\n\t\tif !mutateIs(2) { a() }\n\t}() }\n}"},
		{"var v = a && b && c", "var v = (mutateIs(1) && (a && b) || !mutateIs(1) && ((mutateIs(2) && (c) || !mutateIs(2) && (" +
			"(mutateIs(3) && (a) || !mutateIs(3) && ((mutateIs(4) && (b) || !mutateIs(4) && (a && b)))) && c))))"},
	} {
		all, source := mutantsOf(t, c.body)
		for i := range all {
			all[i].number = i + 1
		}
		got := string(schema(source, all))
		if got != "package p\n\n"+c.want {
			t.Errorf("got\n%s\nwant\n%s", strings.TrimPrefix(got, "package p\n\n"), c.want)
		}
		if _, err := parser.ParseFile(token.NewFileSet(), "p.go", got, 0); err != nil {
			t.Error(err)
		}
	}
}
