package main

import (
	"encoding"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/policy"
)

// keysOf returns every key of a struct that a file can have, with its path as the
// documentation writes it: edge.listeners[].listen, pools.NAME.policy.
func keysOf(t reflect.Type, path string) []string {
	switch {
	case t == reflect.TypeFor[time.Duration]() || reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return nil
	case t.Kind() == reflect.Pointer:
		return keysOf(t.Elem(), path)
	case t.Kind() == reflect.Slice:
		return keysOf(t.Elem(), path+"[]")
	case t.Kind() == reflect.Map:
		return keysOf(t.Elem(), path+".NAME")
	case t.Kind() != reflect.Struct:
		return nil
	}
	var keys []string
	for i := range t.NumField() {
		if !t.Field(i).IsExported() {
			continue
		}
		key := strings.TrimPrefix(path+"."+t.Field(i).Tag.Get("yaml"), ".")
		if path != "" {
			keys = append(keys, key)
		}
		keys = append(keys, keysOf(t.Field(i).Type, key)...)
	}
	return keys
}

var (
	heading = regexp.MustCompile("^## `([^`]+)`")
	row     = regexp.MustCompile("^\\| `([^`]+)` \\| ([^|]+) \\| ([^|]+) \\| ([^|]+) \\|$")
)

func TestEveryKeyIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	section := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if m := heading.FindStringSubmatch(line); m != nil {
			section = m[1]
		} else if m := row.FindStringSubmatch(line); m != nil && section != "" {
			documented = append(documented, section+"."+m[1])
		}
	}
	keys := keysOf(reflect.TypeFor[settings](), "")
	for _, k := range keys {
		if !slices.Contains(documented, k) {
			t.Errorf("docs/config.md: key %s has no row with type, default and meaning", k)
		}
	}
	for _, k := range documented {
		if !slices.Contains(keys, k) {
			t.Errorf("docs/config.md: %s is no key", k)
		}
	}
	for _, p := range policy.Table {
		if !strings.Contains(string(text), "`"+p.Name+"`") {
			t.Errorf("docs/config.md: does not name policy %s", p.Name)
		}
	}
}

func TestExamplesAreFine(t *testing.T) {
	files, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, path := range files {
		if code, _, stderr := say(t, "check", path); code != 0 {
			t.Errorf("%s: got exit code %d, want 0:\n%s", path, code, stderr)
		}
	}
}

// The file shown at the head of docs/config.md must be one.
func TestDocumentedFileIsFine(t *testing.T) {
	text, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	var file strings.Builder
	for line := range strings.Lines(string(text)) {
		if code, ok := strings.CutPrefix(line, "    "); ok {
			file.WriteString(code)
		}
	}
	path := filepath.Join(t.TempDir(), "documented.yaml")
	if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := say(t, "check", path); code != 0 || !strings.Contains(file.String(), "pools:") {
		t.Errorf("got exit code %d for\n%s\n%s", code, file.String(), stderr)
	}
}
