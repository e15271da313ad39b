package config

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite testdata/*.golden")

type testFile struct {
	Common  *testPool            `yaml:"common"`
	Listen  string               `yaml:"listen" also:"bind"`
	Masters []string             `yaml:"masters"`
	Nested  testNested           `yaml:"nested"`
	Pools   map[string]*testPool `yaml:"pools"`
	Ratio   float64              `yaml:"ratio"`
	On      bool                 `yaml:"on"`
	Count   int                  `yaml:"count"`
	Small   uint8                `yaml:"small"`
	Laughs  [][][][][][][]string `yaml:"laughs"`
	Skipped string
}

type testNested struct {
	Masters []string      `yaml:"masters"`
	Wait    time.Duration `yaml:"wait"`
}

type testPool struct {
	Policy  string        `yaml:"policy"`
	Wait    time.Duration `yaml:"wait"`
	Servers []testServer  `yaml:"servers" also:"upstreams backends"`
}

type testServer struct {
	ID      string            `yaml:"id"`
	Address string            `yaml:"address"`
	Slots   float64           `yaml:"slots"`
	Labels  map[string]string `yaml:"labels"`
}

// validate says what a room would say.
func (t *testFile) validate(bad func(field, problem string)) {
	for name, p := range t.Pools {
		if p.Policy != "least-load" && p.Policy != "random" && p.Policy != "" {
			bad(Field(Field("pools", name), "policy"), fmt.Sprintf("%q is not known: want least-load or random", p.Policy))
		}
		for i, s := range p.Servers {
			at := Item(Field(Field("pools", name), "servers"), i)
			if s.ID == "" {
				bad(at+".id", "empty")
			}
			if !strings.Contains(s.Address, ":") {
				bad(at+".address", fmt.Sprintf("%q, want host:port", s.Address))
			}
		}
	}
}

// TestGolden holds what a person reads of each file in testdata against its .golden.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no testdata: %v", err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := []byte("fine\n")
			if err := check(filepath.Base(path), src); err != nil {
				got = []byte(err.Error() + "\n")
			}
			golden := strings.TrimSuffix(path, ".yaml") + ".golden"
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: got\n%s\nwant (%v)\n%s\nto accept it: go test ./config -run TestGolden -update", path, got, err, want)
			}
		})
	}
}

func check(name string, src []byte) error {
	f := Parse(name, src, nil)
	var into testFile
	f.Decode(&into)
	into.validate(f.Bad)
	return f.Err()
}

func TestDecode(t *testing.T) {
	src, err := os.ReadFile("testdata/fine.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f := Parse("fine.yaml", src, nil)
	got := testFile{Small: 7}
	f.Decode(&got)
	if err := f.Err(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"listen", got.Listen, ":8080"},
		{"masters", fmt.Sprint(got.Masters), "[127.0.0.1:7400 unix:/run/evenkeel.sock]"},
		{"a list in a map", fmt.Sprint(got.Nested.Masters[:2]), "[127.0.0.1:7400 10.0.0.1:1:2]"},
		{"wait", got.Nested.Wait, 90 * time.Minute},
		{"alias", got.Pools["web"].Policy, "least-load"},
		{"merge", got.Pools["a.b"].Policy, "random"},
		{"merged list", len(got.Pools["a.b"].Servers), 2},
		{"text that other YAMLs take for a boolean", got.Pools["web"].Servers[1].Labels["zone"], "no"},
		{"text that others take for a number", got.Pools["web"].Servers[1].Labels["rack"], "007"},
		{"ratio", got.Ratio, 1000.},
		{"a map without keys", got.Pools["empty"] != nil, true},
		{"a key that is absent", got.Small, uint8(7)},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %v, want %v", c.what, c.got, c.want)
		}
	}
}

func TestPosition(t *testing.T) {
	f := Parse("x", []byte("edge:\n  listeners:\n    - listen: :80\n      routes:\n        - { path: /, pool: web }\npools:\n  \"a.b\":\n    wait: 1s\n  web: [[1, 2]]\n"), nil)
	for _, c := range []struct {
		path string
		want Position
	}{
		{"", Position{1, 1}},
		{"edge", Position{1, 1}},
		{"edge.listeners", Position{2, 3}},
		{"edge.listeners[0]", Position{3, 7}},
		{"edge.listeners[0].listen", Position{3, 15}},
		{"edge.listeners[0].routes[0].pool", Position{5, 28}},
		{"edge.listeners[0].routes[0].link", Position{5, 11}},
		{"edge.listeners[0].routes[7].link", Position{4, 7}},
		{"edge.id", Position{1, 1}},
		{`pools["a.b"].wait`, Position{8, 11}},
		{Field(Field("pools", "a.b"), "wait"), Position{8, 11}},
		{"pools.web[0][1]", Position{9, 13}},
		{"pools.web[x", Position{9, 3}},
		{"nothing", Position{1, 1}},
	} {
		if got := f.Position(c.path); got != c.want {
			t.Errorf("%s: got %v, want %v", c.path, got, c.want)
		}
	}
}

func TestSplit(t *testing.T) {
	for _, c := range [][3]string{
		{"pools.web.policy", "pools.web", "policy"},
		{"edge.masters[1]", "edge", "masters[1]"},
		{"masters[1][2]", "", "masters[1][2]"},
		{"pools.web.servers[1].id", "pools.web.servers[1]", "id"},
		{`pools["a.b"]`, "pools", `["a.b"]`},
		{"listen", "", "listen"},
		{"", "", ""},
	} {
		if where, leaf := split(c[0]); where != c[1] || leaf != c[2] {
			t.Errorf("%s: got %q and %q, want %q and %q", c[0], where, leaf, c[1], c[2])
		}
	}
}

// Every problem must point into the file and come in order, whatever the bytes are.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yaml")
	for _, path := range files {
		if src, err := os.ReadFile(path); err == nil && len(src) < 10_000 {
			f.Add(src)
		}
	}
	for _, s := range []string{"", "#", "a: {b: [c:1]}", "? a\n: b", "%YAML 1.2\n---\na: b", "<<: *x", "&a [*a]", "a: >\n x", "\x00", "- - - -", "{{{", "'", "a: !"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		if len(src) > 20_000 {
			t.Skip("what the library takes long for is bounded by the size of a file, and tested apart")
		}
		err := check("fuzz.yaml", src)
		bad, ok := errors.AsType[*Error](err)
		if err != nil && !ok {
			t.Fatalf("got %T, want *Error", err)
		}
		if ok {
			_ = bad.Error()
			lines := 1 + bytes.Count(src, []byte("\n")) + bytes.Count(src, []byte("\r"))
			if !slices.IsSortedFunc(bad.Problems, func(a, b Problem) int { return a.Line - b.Line }) {
				t.Errorf("problems are out of order: %v", bad)
			}
			for _, p := range bad.Problems {
				if p.Line < 1 || p.Line > lines || p.Column < 1 || p.Text == "" {
					t.Errorf("problem %+v stands outside of %d lines", p, lines)
				}
			}
		}
	})
}

// A unit that is written otherwise is recognized, and the right one is named.
func TestSizeMeant(t *testing.T) {
	for text, want := range map[string]string{"10gb": `"10GB"`, "10 G": `"10GB"`, "64k": `"64kB"`, "1MIB": `"1MiB"`, "5 apples": ""} {
		err := new(Size).UnmarshalText([]byte(text))
		if err == nil || strings.Contains(err.Error(), "did you mean") != (want != "") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want a question for %s", text, err, want)
		}
	}
}

func TestSize(t *testing.T) {
	for _, c := range []struct {
		text string
		want Size
		ok   bool
	}{
		{"10 GB", 10_000_000_000, true}, {"512", 512, true}, {"32KiB", 32768, true}, {"1.5KiB", 1536, true}, {"10 MB", 10_000_000, true}, {"1GiB", 1 << 30, true}, {"0", 0, true},
		{"-1", 0, false}, {"1.5", 0, false}, {"KiB", 0, false}, {"NaN", 0, false}, {"1e300TiB", 0, false}, {"", 0, false}, {"5 apples", 0, false},
	} {
		var got Size
		if err := got.UnmarshalText([]byte(c.text)); got != c.want || (err == nil) != c.ok {
			t.Errorf("%q: got %d, %v; want %d, ok %v", c.text, got, err, c.want, c.ok)
		}
	}
}
