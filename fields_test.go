package evenkeel

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// maxFields is how many fields a struct may have. An embedded type counts as one field: fields that belong together are
// a type, whose name says what they are about.
const maxFields = 25

// grouped are the folders in which that holds, with those below them.
var grouped = []string{"balance/", "client/", "cmd/", "edge/", "master/"}

func TestStructsHaveFewFields(t *testing.T) {
	for file, tree := range sources(t) {
		if slices.ContainsFunc(grouped, func(dir string) bool { return strings.HasPrefix(file, dir) }) {
			for _, large := range largeStructs(tree) {
				t.Errorf("%s: %s, %d are allowed: give fields that belong together a type, and embed it", file, large, maxFields)
			}
		}
	}
}

// The rule finds what it is there for.
func TestLargeStructsAreFound(t *testing.T) {
	source := fmt.Sprintf(`package x
type within struct { a%s int; other; f func(struct{ y, z int }) }
type beyond struct { within; a%s, b int }
var v struct { a%s int; within; b int }`, strings.Repeat(", a", maxFields-3), strings.Repeat(", a", maxFields-2), strings.Repeat(", a", maxFields-2))
	tree, err := parser.ParseFile(token.NewFileSet(), "x.go", source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{fmt.Sprintf("beyond has %d fields", maxFields+1), fmt.Sprintf("a struct without a name has %d fields", maxFields+1)}
	if got := largeStructs(tree); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

// largeStructs returns the structs of a file that have too many fields.
func largeStructs(tree *ast.File) (found []string) {
	names := make(map[*ast.StructType]string)
	ast.Inspect(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.TypeSpec:
			if s, ok := n.Type.(*ast.StructType); ok {
				names[s] = n.Name.Name
			}
		case *ast.StructType:
			fields := 0
			for _, f := range n.Fields.List {
				fields += max(1, len(f.Names))
			}
			name, ok := names[n]
			if !ok {
				name = "a struct without a name"
			}
			if fields > maxFields {
				found = append(found, fmt.Sprintf("%s has %d fields", name, fields))
			}
		}
		return true
	})
	return found
}
