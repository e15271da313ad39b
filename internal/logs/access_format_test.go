package logs

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// formatted returns a record as a line, with the time that a test cannot know as T.
func formatted(t *testing.T, format string, attrs ...slog.Attr) string {
	t.Helper()
	f, err := ParseAccessFormat(format)
	if err != nil {
		t.Fatalf("%s: %v", format, err)
	}
	var out bytes.Buffer
	slog.New(f.Handler(&out)).LogAttrs(t.Context(), slog.LevelInfo, "request", attrs...)
	return regexp.MustCompile(`\[\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]|\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-]\d\d:\d\d)`).ReplaceAllString(out.String(), "T")
}

func TestAccessFormats(t *testing.T) {
	request := []slog.Attr{slog.String("method", "GET"), slog.String("path", "/a b"), slog.Int("status", 200), slog.Int64("bytes", 0), slog.Float64("duration_ms", 1.25), slog.String("lease", ""), slog.Uint64("fence", 7),
		slog.String("client", "192.0.2.1"), slog.Bool("kept", true), {}, slog.String("target", "/a%20b?q=1"), slog.String("proto", "HTTP/1.1"), slog.String("referer", "https://a.example/"), slog.String("user_agent", "x\"\\\x00\ny\u00e9\x7f")}
	const agent = `x\x22\x5C\x00\x0Ay\xC3\xA9\x7F`
	connection := []slog.Attr{slog.String("listen", ":5432"), slog.Int64("bytes_in", 1), slog.Int64("bytes_out", 2), slog.String("client", "192.0.2.1"), slog.String("ended", "ok")}
	for _, c := range []struct {
		format string
		attrs  []slog.Attr
		want   string
	}{
		{"common", request, `192.0.2.1 - - T "GET /a%20b?q=1 HTTP/1.1" 200 0`},
		{"combined", request, `192.0.2.1 - - T "GET /a%20b?q=1 HTTP/1.1" 200 0 "https://a.example/" "` + agent + `"`},
		{"{time} {method} {path} {duration_ms} {lease} {fence} {kept} {tenant}|", request, `T GET /a b 1.25 - 7 true -|`},
		{`{{"s":{status}}`, request, `{"s":200}`},
		{"{status}", nil, "-"},
		{"combined", connection, `192.0.2.1 - - T "-" - - "-" "-"`},
		{"{listen} {bytes_in} {bytes_out} {ended}", connection, ":5432 1 2 ok"},
	} {
		if got := formatted(t, c.format, c.attrs...); got != c.want+"\n" {
			t.Errorf("%s: got %q, want %q", c.format, got, c.want)
		}
	}
}

func TestBadAccessFormats(t *testing.T) {
	for format, want := range map[string]string{
		"":                 "no {field}",
		"json lines":       "no {field}",
		"{status":          "{status has no closing brace; {{ stands for a brace",
		"{stats}":          "no field {stats}",
		"{}":               "no field {}",
		"{status}\t{size}": "control characters",
		"{{status}":        "no {field}",
	} {
		if _, err := ParseAccessFormat(format); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", format, err, want)
		}
	}
	for format, want := range map[string]bool{"common": true, "combined": true, "{status}": false, "{user_agent}": true} {
		if f, err := ParseAccessFormat(format); err != nil || f.TellsClient() != want {
			t.Errorf("%s: %v, tells the client's fields: want %t", format, err, want)
		}
	}
}

// A template may have every field that an edge logs, and docs/logs.md has the same.
func TestAccessFieldsAreThoseOfTheEdge(t *testing.T) {
	if len(AccessFields) > accessFieldsMost {
		t.Errorf("%d fields, want at most %d", len(AccessFields), accessFieldsMost)
	}
	files, err := filepath.Glob("../../edge/exchange/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	var logged []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`slog\.(?:String|Int|Int64|Uint64|Float64|Bool)\("(\w+)"`).FindAllStringSubmatch(string(text), -1) {
			logged = append(logged, m[1])
		}
	}
	page, err := os.ReadFile("../../docs/logs.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "Fields of an access record:")
	table, _, _ = strings.Cut(table, "\n## ")
	var told []string
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			for _, m := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(cells[1], -1) {
				told = append(told, m[1])
			}
		}
	}
	for from, all := range map[string][]string{"edge/exchange": logged, "docs/logs.md": told} {
		for _, field := range AccessFields {
			if !slices.Contains(all, field) {
				t.Errorf("%s has no %s", from, field)
			}
		}
		for _, field := range all {
			if _, made := madeFields[field]; !made && !slices.Contains(AccessFields, field) {
				t.Errorf("%s has %s, which AccessFields has not", from, field)
			}
		}
	}
}

func BenchmarkCombined(b *testing.B) {
	f, err := ParseAccessFormat("combined")
	if err != nil {
		b.Fatal(err)
	}
	log := slog.New(f.Handler(io.Discard))
	b.ReportAllocs()
	for b.Loop() {
		log.LogAttrs(b.Context(), slog.LevelInfo, "request", slog.String("method", "GET"), slog.Int("status", 200), slog.String("target", "/some/path"), slog.String("user_agent", "curl/8"))
	}
}
