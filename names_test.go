package evenkeel

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

const (
	manyMethods   = 40 // packages with fewer methods may share what names they like
	manyTypes     = 3  // a name is shared if so many types of a package declare it
	sharedAtMost  = 15 // percent of a package's methods
	repeatExample = "conn.connAddr says conn twice where it is called"
)

// crowded are the packages that do not meet sharedAtMost yet, with the most percent that they may have.
// These numbers only fall, and a package that meets the limit leaves the list.
const crowded = `
`

// uniform are names that nearly every type of a package has, because the types are of one kind.
const uniform = `
	wire Append Decode
`

// wellKnown are methods of interfaces of the standard library, of prometheus and of pflag: their names
// are given.
const wellKnown = `
	String Error Unwrap Is As Close Read Write Flush ServeHTTP Len Less Swap Push Pop Accept Addr LocalAddr RemoteAddr
	SetDeadline SetReadDeadline SetWriteDeadline CloseRead CloseWrite ReadFrom WriteTo Lock Unlock RoundTrip Header WriteHeader
	MarshalJSON UnmarshalJSON MarshalText UnmarshalText MarshalYAML UnmarshalYAML Describe Collect Set Type
	Enabled Handle WithAttrs WithGroup Done Err Deadline Value Network Visit Write ReadByte WriteString
`

// A method's name says what it does to its type. Where many types have a method of one name, and no
// interface asks for it, the reader has to find out which of them a call means.
func TestMethodNamesAreNotShared(t *testing.T) {
	listed := table(crowded, "")
	for _, p := range packagesOf(sources(t)) {
		share, names := p.shared()
		most, known := sharedAtMost, false
		if row, ok := listed[p.dir]; ok {
			known = true
			most, _ = strconv.Atoi(row[0])
			delete(listed, p.dir)
		}
		switch {
		case known && share <= sharedAtMost:
			t.Errorf("%s: %d %% of its methods share their names, %d are allowed: take it out of the list in names_test.go", p.dir, share, sharedAtMost)
		case share > most:
			t.Errorf("%s: %d %% of its methods have names that %d types or more declare, %d are allowed: %s", p.dir, share, manyTypes, most, strings.Join(names, ", "))
		}
	}
	for dir := range listed {
		t.Errorf("%s: stands in the list in names_test.go, and has no %d methods", dir, manyMethods)
	}
}

func TestMethodsDoNotRepeatTheirTypes(t *testing.T) {
	for _, p := range packagesOf(sources(t)) {
		for _, m := range slices.Sorted(maps.Keys(p.methods)) {
			if typ, name, _ := strings.Cut(m, "."); repeats(typ, name) && !p.isFree(typ, name) {
				t.Errorf("%s: %s repeats its type's name: %s", p.dir, m, repeatExample)
			}
		}
	}
}

// The rules find what they are there for.
func TestSharedMethodNamesAreFound(t *testing.T) {
	const source = `package x
type stopper interface { stop(now int) }
type ender interface { end() }
type a struct{}; type b struct{}; type c struct{}; type d struct{ a }
func (a) take() {}; func (*b) take() {}; func (c) take() {}
func (a) stop(int) {}; func (b) stop(int) {}; func (c) stop(int) {}; func (d) stop() {}
func (a) end() {}; func (b) end() {}; func (c) end() {}
func (a) give() {}; func (b) give() {}
func (a) String() string { return "" }; func (b) String() string { return "" }; func (c) String() string { return "" }
func f(s stopper) { s.stop(1) }`
	tree, err := parser.ParseFile(token.NewFileSet(), "x.go", source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	p := packagesOf(map[string]*ast.File{"room/x.go": tree})[0]
	// No production code calls end through ender, and d.stop is no stopper's.
	want := []string{"end (a b c)", "take (a b c)", "stop (d)"}
	if _, got := p.counted(); !slices.Equal(got, want) {
		t.Errorf("shared names %q, want %q", got, want)
	}
	for name, want := range map[string]bool{"listenerAddr": true, "listener": true, "Listener": true, "addrOfListener": false, "listeners": false, "addr": false} {
		if got := repeats("listener", name); got != want {
			t.Errorf("repeats(listener, %s) = %v, want %v", name, got, want)
		}
	}
}

// methodSet is what the test knows of one package.
type methodSet struct {
	dir     string
	methods map[string]signature       // by type.method
	types   map[string]map[string]bool // the names of each type's methods
	embeds  map[string]bool            // types that may have methods by embedding
	ifaces  []iface                    // that the package's types may implement
	called  map[string]bool            // names that non-test code of the module selects
}

type signature struct{ params, results int }

// iface is an interface that is declared in the module.
type iface struct {
	dir     string
	methods map[string]signature
}

// packagesOf returns what is known of every package, in the order of their folders.
func packagesOf(files map[string]*ast.File) []*methodSet {
	byDir, called := make(map[string]*methodSet), make(map[string]bool)
	var ifaces []iface
	for file, tree := range files {
		dir := path.Dir(file)
		if byDir[dir] == nil {
			byDir[dir] = &methodSet{dir: dir, methods: make(map[string]signature), types: make(map[string]map[string]bool), embeds: make(map[string]bool), called: called}
		}
		p := byDir[dir]
		ast.Inspect(tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				p.addMethod(n)
			case *ast.TypeSpec:
				p.addEmbedding(n)
			case *ast.InterfaceType:
				ifaces = append(ifaces, newIface(dir, n))
			case *ast.SelectorExpr:
				called[n.Sel.Name] = true
			}
			return true
		})
	}
	var all []*methodSet
	for _, dir := range slices.Sorted(maps.Keys(byDir)) {
		byDir[dir].ifaces = ifaces
		all = append(all, byDir[dir])
	}
	return all
}

func (p *methodSet) addMethod(f *ast.FuncDecl) {
	if f.Recv == nil {
		return
	}
	typ := baseName(f.Recv.List[0].Type)
	p.methods[typ+"."+f.Name.Name] = signatureOf(f.Type)
	if p.types[typ] == nil {
		p.types[typ] = make(map[string]bool)
	}
	p.types[typ][f.Name.Name] = true
}

func (p *methodSet) addEmbedding(spec *ast.TypeSpec) {
	s, ok := spec.Type.(*ast.StructType)
	if !ok {
		return
	}
	for _, f := range s.Fields.List {
		if len(f.Names) == 0 {
			p.embeds[spec.Name.Name] = true
		}
	}
}

func newIface(dir string, n *ast.InterfaceType) iface {
	i := iface{dir: dir, methods: make(map[string]signature)}
	for _, f := range n.Methods.List {
		if ft, ok := f.Type.(*ast.FuncType); ok && len(f.Names) == 1 {
			i.methods[f.Names[0].Name] = signatureOf(ft)
		}
	}
	return i
}

// baseName returns the name of a receiver's type.
func baseName(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.StarExpr:
		return baseName(x.X)
	case *ast.IndexExpr:
		return baseName(x.X)
	case *ast.IndexListExpr:
		return baseName(x.X)
	case *ast.Ident:
		return x.Name
	}
	return ""
}

func signatureOf(f *ast.FuncType) signature {
	count := func(list *ast.FieldList) (n int) {
		if list != nil {
			for _, f := range list.List {
				n += max(1, len(f.Names))
			}
		}
		return n
	}
	return signature{count(f.Params), count(f.Results)}
}

// shared returns the share of the package's methods, in percent, that have a name which several types
// declare and no interface asks for, and these names. A small package has none.
func (p *methodSet) shared() (percent int, names []string) {
	if len(p.methods) < manyMethods {
		return 0, nil
	}
	n, names := p.counted()
	return int(math.Ceil(100 * float64(n) / float64(len(p.methods)))), names
}

// counted returns how many methods have a shared name, and the names with their types, most first.
func (p *methodSet) counted() (n int, names []string) {
	declaredBy, counted := make(map[string]int), make(map[string][]string)
	for m := range p.methods {
		typ, name, _ := strings.Cut(m, ".")
		declaredBy[name]++
		if !p.isFree(typ, name) {
			counted[name] = append(counted[name], typ)
		}
	}
	for name, types := range counted {
		if declaredBy[name] >= manyTypes {
			n += len(types)
			slices.Sort(types)
			names = append(names, fmt.Sprintf("%s (%s)", name, strings.Join(types, " ")))
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.Count(b, " "), strings.Count(a, " ")), cmp.Compare(a, b))
	})
	return n, names
}

// isFree reports whether a method's name is given: by the standard library, or by an interface of the
// module that the type implements and through which production code calls. A type that embeds another
// may have the interface's other methods from that.
func (p *methodSet) isFree(typ, name string) bool {
	if slices.Contains(strings.Fields(wellKnown), name) || slices.Contains(table(uniform, "")[p.dir], name) {
		return true
	}
	return slices.ContainsFunc(p.ifaces, func(i iface) bool {
		if s, has := i.methods[name]; !has || s != p.methods[typ+"."+name] || !p.called[name] || i.dir != p.dir && !ast.IsExported(name) {
			return false
		}
		for other := range i.methods {
			if !p.types[typ][other] && !p.embeds[typ] {
				return false
			}
		}
		return true
	})
}

// repeats reports whether a method's name begins with its type's, as a word of its own.
func repeats(typ, name string) bool {
	if len(name) < len(typ) || !strings.EqualFold(name[:len(typ)], typ) {
		return false
	}
	next, size := utf8.DecodeRuneInString(name[len(typ):])
	return size == 0 || unicode.IsUpper(next)
}
