package settings

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLocations(t *testing.T) {
	dir := t.TempDir()
	file := func(text string) string {
		name := filepath.Join(dir, "locations.csv")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	l := Locations{File: file("# clients\n10.0.0.0/8, eu\n2001:db8::/32,us\n192.0.2.7,lab\n"), Prefixes: map[string]string{"172.16.0.0/12": "asia", "10.0.0.0/8": "eu"}}
	got := l.read(func(field, problem string) { t.Errorf("%s: %s", field, problem) })
	for prefix, want := range map[string]string{"10.0.0.0/8": "eu", "2001:db8::/32": "us", "192.0.2.7/32": "lab", "172.16.0.0/12": "asia"} {
		if at := got[netip.MustParsePrefix(prefix)]; at != want || len(got) != 4 {
			t.Errorf("%s: %q of %v, want %q", prefix, at, got, want)
		}
	}
	for text, want := range map[string]string{"10.0.0.0/8\n": "wrong number of fields", "a\n\nx,eu\n": "wrong number", "10.0.0.0/8,eu\n10.0.0.0/40,us\n": "line 2", "10.0.0.0/8,eu\n10.0.0.0/8,us\n": `"eu" and "us"`, "10.0.0.0/8,\n": "location: empty"} {
		var problems []string
		(Locations{File: file(text)}).read(func(field, problem string) { problems = append(problems, field+": "+problem) })
		if len(problems) != 1 || !strings.HasPrefix(problems[0], "locations: ") || !strings.Contains(problems[0], want) {
			t.Errorf("%q: problems %q, want one with %q", text, problems, want)
		}
	}
	var problems []string
	(Locations{File: filepath.Join(dir, "none.csv"), Prefixes: map[string]string{"x": "eu"}}).read(func(field, problem string) { problems = append(problems, field+": "+problem) })
	if len(problems) != 2 || !strings.Contains(problems[0], "there is no file") || !strings.HasPrefix(problems[1], "locations.prefixes.x: ") {
		t.Errorf("problems %q, want the missing file and the prefix", problems)
	}
}

// A formula that cannot be compiled is found with the file's position and the formula's own column.
func TestFormulasAreCheckedInTheirFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "evenkeel.yaml")
	if err := os.WriteFile(name, []byte("edge:\n  listeners:\n    - listen: :8080\n      routes:\n        - pool: web\n          size: 'expr:frames * 2'\n          hold: 90s\n          locations: { prefixes: { 10.0.0.0/8: eu } }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Read(name)
	if err == nil || !strings.Contains(err.Error(), ":6:17: ") || !strings.Contains(err.Error(), `formula: column 1, at "frames * 2": unknown name frames`) {
		t.Errorf("problems: %v", err)
	}
}
