package terminal

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestAccessLine(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(&accessLine{w: &out, paint: func(color, text string) string {
		if color == Red {
			return "<" + text + ">"
		}
		return text
	}, width: func() int { return 80 }})
	log.Info("request", "method", "GET", "host", "render.example", "path", "/v1/render", "status", 200, "bytes", int64(1234), "duration_ms", 1.26, "pick_ms", .1,
		"pool", "web", "server", "s1", "lease", "3f0a", "attempts", 1, "result", "ok", "request", "0b8c")
	log.Info("request", "method", "POST", "host", "", "path", "/pkg.Service/Method", "status", 200, "bytes", int64(0), "duration_ms", 1000., "server", "s1", "attempts", 1, "grpc_status", 14)
	log.Info("request", "method", "POST", "host", "render.example", "path", "/"+strings.Repeat("long/", 40), "status", 502, "bytes", int64(12), "duration_ms", 61_500., "server", "server-with-a-long-name:8000", "attempts", 2)
	log.Info("request", "method", "GET", "host", "", "path", "/\x1b[2J", "status", 404, "bytes", int64(0), "duration_ms", 0.)
	log.Info("connection", "listen", ":5432", "host", "db.example", "bytes_in", int64(5), "bytes_out", int64(3_000_000), "duration_ms", 3_723_000., "server", "db1", "attempts", 1, "ended", "canceled")
	want := []string{
		`200 GET    1.3ms   1.2 kB s1           render.example/v1/render`,
		`200/14 POST    1.0s      0 B s1           /pkg.Service/Method`,
		`<502> POST   1m01s     12 B server-with-a-l… render.exa… (2 attempts)`,
		`404 GET    0.0ms      0 B -            "/\x1b[2J"`,
		`canceled TCP    1h02m     3 MB db1          db.example`,
	}
	for i, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		if n := utf8.RuneCountInString(strings.NewReplacer("<", "", ">", "").Replace(line)); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
		if _, got, _ := strings.Cut(line, " "); i >= len(want) || got != want[i] {
			t.Errorf("line %d: got\n  %s\nwant\n  %s", i, got, want[min(i, len(want)-1)])
		}
	}
}

func TestShortBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1 kB", 1060: "1.1 kB", 999_949: "999.9 kB", 999_950: "1 MB", 12_000_000_000: "12 GB"} {
		if got := shortBytes(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
		if len(shortBytes(n)) > 8 {
			t.Errorf("%d: %s is too long", n, shortBytes(n))
		}
	}
}
