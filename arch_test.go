package evenkeel

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The arrows of ARCHITECTURE.md: what each room may import, besides the standard
// library. To edit this table is to change the architecture, so a note in
// docs/decisions goes with it. A room covers the folders below it.
const arrows = `
	balance      <
	policy       < balance
	flight       < balance
	http1        <
	h2           <
	wire         < balance
	preface      <
	config       < github.com/goccy/go-yaml
	client       < wire balance internal
	master       < balance policy wire internal github.com/prometheus/client_golang github.com/expr-lang/expr
	edge         < flight http1 h2 preface wire client balance policy internal github.com/prometheus/client_golang
	elect        < go.etcd.io/etcd go.uber.org/zap
	agent        < client balance internal github.com/prometheus/procfs github.com/prometheus/client_golang
	sim          < balance policy flight internal
	internal     < internal balance
	cmd/evenkeel < balance policy flight http1 wire config client master edge agent elect sim internal github.com/spf13/cobra github.com/spf13/pflag
	bench        < balance policy flight http1 wire config client master edge agent sim internal github.com/goccy/go-yaml
	e2e          < internal
`

// pure rooms decide; whoever calls them does the rest.
var pure = []string{"balance", "policy", "flight", "http1", "h2", "preface", "wire", "config", "internal/orca", "internal/station"}

// impure is what a pure room must not reach for: package, then names, or * for any.
const impure = `
	time          Now Since Until After AfterFunc Sleep Tick NewTimer NewTicker
	os            *
	os/exec       *
	syscall       *
	net/http      *
	net           Dial DialTimeout DialTCP DialUDP DialUnix Listen ListenTCP ListenUDP ListenUnix ListenPacket LookupHost LookupIP LookupAddr Interfaces
	log           *
	log/slog      *
	crypto/rand   *
	math/rand     *
	math/rand/v2  Int IntN Int32 Int32N Int64 Int64N Uint32 Uint32N Uint64 Uint64N UintN N Float32 Float64 NormFloat64 ExpFloat64 Perm Shuffle
`

const module = "github.com/evenkeel-lb/evenkeel/"

func TestArrows(t *testing.T) {
	allowed := table(arrows, "<")
	used := make(map[string]bool)
	for file, tree := range sources(t) {
		room := roomOf(file, allowed)
		if room == "" {
			t.Errorf("%s: stands in no room of the table in arch_test.go", file)
			continue
		}
		used[room] = true
		for _, spec := range tree.Imports {
			target, _ := strconv.Unquote(spec.Path.Value)
			if own, ok := strings.CutPrefix(target, module); ok {
				target = roomOf(own+"/x.go", allowed)
				if target == room || slices.Contains(allowed[room], target) {
					continue
				}
				t.Errorf("%s: room %s must not import room %s", file, room, target)
			} else if strings.Contains(target, ".") && !slices.ContainsFunc(allowed[room], func(a string) bool { return target == a || strings.HasPrefix(target, a+"/") }) &&
				!strings.HasPrefix(target, "golang.org/x/") {
				t.Errorf("%s: room %s must not import %s", file, room, target)
			}
		}
	}
	for room := range allowed {
		if !used[room] && room != "e2e" {
			t.Errorf("room %s of the table in arch_test.go has no source", room)
		}
	}
}

func TestPureRoomsDoNothing(t *testing.T) {
	forbidden := table(impure, "")
	for file, tree := range sources(t) {
		if !slices.ContainsFunc(pure, func(room string) bool { return strings.HasPrefix(file, room+"/") }) {
			continue
		}
		names := make(map[string]string) // local name of an import to its path
		for _, spec := range tree.Imports {
			target, _ := strconv.Unquote(spec.Path.Value)
			local := path.Base(strings.TrimSuffix(target, "/v2"))
			if spec.Name != nil {
				local = spec.Name.Name
			}
			names[local] = target
			if slices.Contains(forbidden[target], "*") {
				t.Errorf("%s: a pure room must not import %s", file, target)
			}
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: a pure room must not start a goroutine", file)
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && slices.Contains(forbidden[names[x.Name]], n.Sel.Name) {
					t.Errorf("%s: a pure room must not call %s.%s", file, x.Name, n.Sel.Name)
				}
			}
			return true
		})
	}
}

// table reads lines of a name and its words.
func table(text, separator string) map[string][]string {
	rows := make(map[string][]string)
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		rest := words[1:]
		if separator != "" {
			rest = rest[1:]
		}
		rows[words[0]] = rest
	}
	return rows
}

func roomOf(file string, rooms map[string][]string) string {
	for dir := path.Dir(file); dir != "."; dir = path.Dir(dir) {
		if _, ok := rooms[dir]; ok {
			return dir
		}
	}
	return ""
}

// sources parses every Go file of the module that is not a test, whatever system it is for.
func sources(t *testing.T) map[string]*ast.File {
	t.Helper()
	trees := make(map[string]*ast.File)
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if _, nested := os.Stat(filepath.Join(name, "go.mod")); d.IsDir() && nested == nil && name != "." {
			return filepath.SkipDir // a module of its own
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "build" || d.Name() != "." && strings.HasPrefix(d.Name(), ".")) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		tree, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		trees[filepath.ToSlash(name)] = tree
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return trees
}
