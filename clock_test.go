package evenkeel

import (
	"go/ast"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Nothing that decides reckons with the time of day, which may jump: internal/clock is monotonic, and so is
// what time.Now carries as long as no code strips it. The functions below strip it, or make times of day.
func TestNobodyReckonsWithTheTimeOfDay(t *testing.T) {
	strips := []string{"Unix", "UnixNano", "UnixMilli", "UnixMicro", "Truncate", "AddDate", "UTC", "Local", "In"}
	rooms := []string{"balance/", "policy/", "flight/", "client/", "master/", "edge/", "agent/"}
	for file, tree := range sources(t) {
		if !slices.ContainsFunc(rooms, func(room string) bool { return strings.HasPrefix(file, room) }) {
			continue
		}
		usesTime := slices.ContainsFunc(tree.Imports, func(s *ast.ImportSpec) bool {
			path, _ := strconv.Unquote(s.Path.Value)
			return path == "time"
		})
		if !usesTime {
			continue
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			f, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := f.X.(*ast.Ident); ok && x.Name == "time" {
				return true // time.Unix(1, 0) is a deadline that is over, whatever the time
			}
			if slices.Contains(strips, f.Sel.Name) {
				t.Errorf("%s: %s takes a time of day, which may jump; internal/clock does not", file, f.Sel.Name)
			}
			return true
		})
	}
}
