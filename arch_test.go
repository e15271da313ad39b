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
	config       < internal/suggest github.com/goccy/go-yaml
	client       < wire balance internal
	master       < balance policy wire internal internal/suggest github.com/prometheus/client_golang github.com/expr-lang/expr
	edge         < edge/proxy edge/kept edge/exchange edge/routing edge/limits balance internal github.com/prometheus/client_golang
	edge/proxy   < edge/handshake edge/bodies edge/kept edge/exchange edge/upstream edge/h2conn edge/eventloop edge/routing edge/limits flight http1 preface client balance internal
	edge/bodies  < edge/limits balance
	edge/kept    < edge/limits balance
	edge/handshake < edge/exchange edge/eventloop edge/routing h2 preface
	edge/eventloop < edge/limits balance internal
	edge/exchange < edge/routing edge/limits edge/paths edge/tenants flight http1 preface balance internal github.com/prometheus/client_golang
	edge/routing < edge/limits edge/paths edge/tenants http1 h2 preface balance internal github.com/expr-lang/expr github.com/go-json-experiment/json
	edge/h2conn  < edge/eventloop edge/limits h2 http1 balance internal
	edge/upstream < edge/h2conn edge/eventloop balance internal
	edge/limits  < balance
	edge/paths   <
	edge/tenants < balance github.com/go-jose/go-jose
	elect        < go.etcd.io/etcd go.uber.org/zap
	agent        < client balance internal github.com/prometheus/procfs github.com/prometheus/client_golang
	sim          < balance policy flight internal
	ui           < internal
	internal     < internal balance google.golang.org/grpc
	internal/demo < sim balance internal
	internal/suggest <
	cmd/evenkeel/terminal < internal
	cmd/evenkeel/settings < balance policy config agent edge edge/routing edge/tenants elect master internal internal/suggest
	cmd/evenkeel/process  < cmd/evenkeel/settings cmd/evenkeel/terminal balance wire config agent edge edge/routing internal
	cmd/evenkeel < cmd/evenkeel/settings cmd/evenkeel/process cmd/evenkeel/terminal balance policy flight http1 wire config client master edge edge/routing edge/tenants agent elect sim ui internal internal/demo internal/suggest github.com/spf13/cobra github.com/spf13/pflag
	bench        < balance policy flight http1 wire config client master edge agent sim internal github.com/goccy/go-yaml github.com/anishathalye/porcupine
	e2e          < internal
`

// pure rooms decide; their callers do the rest.
var pure = []string{"balance", "policy", "flight", "http1", "h2", "preface", "wire", "config", "edge/routing", "edge/limits", "edge/bodies", "edge/kept", "edge/paths", "edge/tenants", "internal/lograte", "internal/orca", "internal/rate", "internal/station"}

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

// harmless is what may be used of packages syscall and unix outside internal/fd, besides
// constants: nothing that takes or returns the number of a descriptor. A number that is
// used after it was closed is another's by then, and what is sent there reaches the wrong
// client.
const harmless = `
	syscall  Conn RawConn Errno Signal Stat_t RawSockaddrUnix SysProcAttr WaitStatus Rusage Getrusage Nanosleep NsecToTimespec Timespec Timeval Kill Getpid Mkfifo
	unix     Errno Signal EpollEvent SysctlRaw SchedSetaffinity SchedGetaffinity CPUSet Sysinfo Uname Utsname
`

// descriptorRooms own descriptors, or are no part of the product: bench/carry's clients,
// servers and bare relay, which it measures by.
var descriptorRooms = []string{"internal/fd", "bench/carry"}

// viewMakers are the files that make strings of memory that is not theirs. Such a string is valid
// only until the buffer is used again, so each of them says how long that is.
var viewMakers = []string{"edge/routing/text.go", "wire/fields.go", "wire/report.go"}

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

func TestViewsAreMadeInFewFiles(t *testing.T) {
	for file, tree := range sources(t) {
		ast.Inspect(tree, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "String" && !slices.Contains(viewMakers, file) {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "unsafe" {
					t.Errorf("%s: uses unsafe.String; a string that shares memory is made in %s only", file, strings.Join(viewMakers, ", "))
				}
			}
			return true
		})
	}
}

func TestDescriptorsStayInTheirRoom(t *testing.T) {
	for file, tree := range sources(t) {
		if !slices.Contains(descriptorRooms, path.Dir(file)) {
			for _, use := range descriptorUses(tree) {
				t.Errorf("%s: uses %s; numbers of descriptors stay in internal/fd", file, use)
			}
		}
	}
}

// The rule finds what it is there for.
func TestDescriptorUsesAreFound(t *testing.T) {
	const source = `package x
import ("os"; "syscall"; sys "golang.org/x/sys/unix")
var read = syscall.Read
func f(c syscall.RawConn, file *os.File) (sys.Errno, error) {
	sys.Close(3)
	syscall.Syscall(sys.SYS_MADVISE, 0, 0, 0)
	syscall.RawSyscall6(sys.SYS_SENDTO, 3, 0, 0, 0, 0, 0)
	os.NewFile(3, "")
	file.Fd()
	return sys.EBADF, sys.Dup2(3, 4)
}`
	tree, err := parser.ParseFile(token.NewFileSet(), "x.go", source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"syscall.Read", "sys.Close", "syscall.RawSyscall6", "os.NewFile", "Fd()", "sys.Dup2"}
	if got := descriptorUses(tree); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

// descriptorUses returns what a file uses that takes or returns a descriptor's number.
func descriptorUses(tree *ast.File) (uses []string) {
	allowed := table(harmless, "")
	names := make(map[string]string) // local name of an import to the last element of its path
	for _, spec := range tree.Imports {
		target, _ := strconv.Unquote(spec.Path.Value)
		if target == "golang.org/x/sys/unix" || target == "syscall" || target == "os" {
			local := path.Base(target)
			if spec.Name != nil {
				local = spec.Name.Name
			}
			names[local] = path.Base(target)
		}
	}
	memory := make(map[*ast.SelectorExpr]bool) // system calls of which the number says that they take no descriptor
	ast.Inspect(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			f, ok := n.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if f.Sel.Name == "Fd" && len(n.Args) == 0 {
				uses = append(uses, "Fd()")
			}
			if len(n.Args) > 0 {
				number, ok := n.Args[0].(*ast.SelectorExpr)
				memory[f] = ok && number.Sel.Name == "SYS_MADVISE"
			}
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if !ok || memory[n] {
				return true
			}
			is, name := names[x.Name], n.Sel.Name
			switch isConstant := strings.ToUpper(name) == name; {
			case is == "os" && name == "NewFile":
			case is == "" || is == "os" || isConstant || slices.Contains(allowed[is], name):
				return true
			}
			uses = append(uses, x.Name+"."+name)
		}
		return true
	})
	return uses
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
