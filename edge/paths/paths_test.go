package paths

import (
	"slices"
	"strings"
	"testing"
)

func readings(path string) (all []string) {
	Readings(path, func(r []byte) bool {
		all = append(all, string(r))
		return true
	})
	slices.Sort(all)
	return slices.Compact(all)
}

func TestPlainPathsAreReadInOneWay(t *testing.T) {
	for _, path := range []string{"/", "/a/b", "/a.js", "/.well-known/x", "/...", "/a/", "/a/..b", "/caf%C3%A9/a%20b", "/100%25", "/~u/a,b=c&d@e:f", "/a/.hidden/", "/a...b"} {
		if !Plain(path) {
			t.Errorf("%s: not plain", path)
		}
	}
}

func TestReadings(t *testing.T) {
	for path, want := range map[string]string{
		"/public/../admin":                  "/admin",
		"/public/%2e%2E/admin":              "/admin",
		"/public/.%2e/admin":                "/admin",
		"/public/..%2fadmin":                "/admin /public/..%2fadmin",
		"/public/%2e%2e%2Fadmin":            "/admin /public/..%2Fadmin",
		"//admin":                           "//admin /admin",
		"/./admin":                          "/admin",
		"/../../admin":                      "/admin",
		"/public/..;/admin":                 "/admin /public/..;/admin",
		"/public/..%3b/admin":               "/admin /public/..;/admin",
		"/admin;x=1/a":                      "/admin/a /admin;x=1/a",
		`/public\..\admin`:                  `/admin /public\..\admin`,
		"/public%5c..%5cadmin":              `/admin /public\..\admin`,
		"/public/%252e%252e/admin":          "/admin /public/%2e%2e/admin",
		"/a//../b":                          "/a/b /b",
		"/a/..":                             "/",
		"/a/.":                              "/a/",
		"/a/./":                             "/a/",
		"/group%2Fproject":                  "/group%2Fproject /group/project",
		"/public/../admin/..%2f..%2fpublic": "/admin/..%2f..%2fpublic /public",
	} {
		if got := strings.Join(readings(path), " "); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
		if Plain(path) {
			t.Errorf("%s: taken for plain", path)
		}
	}
}

func TestTooManyReadingsAreNone(t *testing.T) {
	if Readings("/a;b/%2f/%5c/%252f//"+strings.Repeat("x", MostWork/8), func([]byte) bool { t.Error("read"); return true }) {
		t.Error("read all the same")
	}
}

func TestNormalize(t *testing.T) {
	for path, want := range map[string]string{
		"/a/b": "/a/b", "/%61/%7Eb%2f%c3%a9": "/a/~b%2F%C3%A9", "/a//b///c": "/a/b/c", "/a/../b/./c": "/b/c", "/a/%2e%2e/b": "/b", "/..": "/", "//": "/", "/a/b/..": "/a/", `/a\b;c`: `/a\b;c`,
	} {
		if got := string(Normalize([]byte("x"), path)); got != "x"+want {
			t.Errorf("%s: got %s, want x%s", path, got, want)
		}
	}
}

func TestFault(t *testing.T) {
	for _, path := range []string{"/", "/a;b=c/d", "/.well-known/a", "/100%25", "/a/..b", "/caf%C3%A9", "/a/.b%20"} {
		if why := Fault(path); why != "" {
			t.Errorf("%s: %s", path, why)
		}
	}
	for _, path := range []string{"/a/../b", "/a/%2e", "//", "/a//b", `/a\b`, "/a%5Cb", "/a%2fb", "/a/..;x/b", "/%2e%2e;/", "/a%00", "/%7f", "/%252e", "/%c0%ae%c0%ae/a"} {
		if Fault(path) == "" {
			t.Errorf("%s: no fault", path)
		}
	}
}

func TestOverlong(t *testing.T) {
	for path, want := range map[string]bool{
		"/%c0%ae%C0%AE/": true, "/a%c0%af": true, "/%c1%9c": true, "/%e0%80%ae": true, "/%f0%80%80%af": true, "/\xc0\xae": true, "/\xc0%ae": true,
		"/caf%C3%A9": false, "/%e0%a0%80": false, "/%f0%90%80%80": false, "/%c0": false, "/%c0e": false, "/%E4%B8%AD": false, "/%c0%2e": false,
	} {
		if got := Overlong(path); got != want {
			t.Errorf("%s: got %v, want %v", path, got, want)
		}
	}
}

func TestClimbs(t *testing.T) {
	for path, want := range map[string]bool{
		"/": false, "/a/../b": false, "/a/..": false, "//x": false, "/./x": false, "/a%2fb": false, "/a/..;/b": false, "/..a/b": false,
		"/..": true, "/../": true, "/../a/x": true, "/%2e%2e/x": true, "/a/../../x": true, `/..\x`: true, "/..%2fx": true, "/..;/x": true, "/%252e%252e/x": true, "//../../x": true, `/a\..\..\x`: true,
	} {
		if got := Climbs(path); got != want {
			t.Errorf("%s: got %v, want %v", path, got, want)
		}
	}
}

func TestPlainAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { Plain("/v1/models/a.b/%20c") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPlain(b *testing.B) {
	for b.Loop() {
		Plain("/v1/chat/completions/4711")
	}
}

// escapesFit reports what callers have checked: that every % begins an escape.
func escapesFit(path string) bool {
	for i := range len(path) {
		if path[i] == '%' && (i+2 >= len(path) || digit(path[i+1]) < 0 || digit(path[i+2]) < 0) {
			return false
		}
	}
	return true
}

// FuzzReadings holds all readings against what follows from their meaning: the most eager of them is
// free of all that could still be read otherwise, and a plain path has one.
func FuzzReadings(f *testing.F) {
	for _, path := range []string{"/a/../b", "/a/..%2f..;x\\%5c//%252e./", "/%2e%2e/%3b", "/.", "/a/.;/..;/b", "/%", "/%2", "/%25%32%65"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		path = "/" + path
		if len(path) > 2048 || !escapesFit(path) {
			return
		}
		all := readings(path)
		if len(all) == 0 {
			t.Fatalf("%q: no reading", path)
		}
		if Plain(path) && len(all) != 1 {
			t.Fatalf("%q is plain and has readings %q", path, all)
		}
		for _, r := range all {
			if !strings.HasPrefix(r, "/") {
				t.Fatalf("%q: reading %q", path, r)
			}
			for segment := range strings.SplitSeq(r, "/") {
				if segment == "." || segment == ".." {
					t.Fatalf("%q: reading %q has a dot segment", path, r)
				}
			}
		}
		eager := string(read(nil, path, marks(path)|optional&^escapedEscape))
		if strings.ContainsAny(eager, `\;`) || strings.Contains(eager, "//") {
			t.Fatalf("%q: the most eager reading is %q", path, eager)
		}
		normal := string(Normalize(nil, path))
		if again := string(Normalize(nil, normal)); again != normal {
			t.Fatalf("%q: normalised %q, then %q", path, normal, again)
		}
		if plain := string(read(nil, path, emptySegment)); !strings.Contains(path, "%") && plain != normal {
			t.Fatalf("%q: normalised %q, read as %q", path, normal, plain)
		}
		if Fault(path) == "" && !slices.Contains([]int{1, 2}, len(all)) { // two: with and without parameters
			t.Fatalf("%q: no fault, and readings %q", path, all)
		}
	})
}
