package main

import (
	"context"
	"encoding"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/settings"

	"github.com/evenkeel-lb/evenkeel/agent"
	"github.com/evenkeel-lb/evenkeel/balance"
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
		if t.Field(i).Anonymous {
			keys = append(keys, keysOf(t.Field(i).Type, path)...)
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
	keys := keysOf(reflect.TypeFor[settings.Settings](), "")
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

// What the example for model servers takes from their metrics is there: testdata/vllm.metrics has
// the families that vLLM's engine of version 1 tells.
func TestExampleOfInferenceFindsItsSeries(t *testing.T) {
	text, err := os.ReadFile("testdata/vllm.metrics")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) }))
	defer server.Close()
	s, err := settings.Read("../../examples/inference.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.AgentConfig()
	cfg.Health, cfg.Prometheus.URL = agent.Health{}, server.URL
	told := make(sentReports, 1)
	a, err := agent.New(cfg, told)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	report := <-told
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	want := []balance.Metric{{Name: balance.InFlight, Value: 5}, {Name: balance.QueueDepth, Value: 2}, {Name: "named_metrics.kv_cache", Value: .25}}
	if !reflect.DeepEqual(report.Metrics, want) {
		t.Errorf("got %v, want %v", report.Metrics, want)
	}
}

// sentReports gets what an agent sends, while there is room.
type sentReports chan balance.Report

func (s sentReports) Report(r balance.Report) {
	select {
	case s <- r:
	default:
	}
}
func (sentReports) Done(balance.TaggedLease, balance.Outcome) {}
func (sentReports) Serving(string)                            {}
func (sentReports) Connected() bool                           { return true }

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

// What docs/config.md marks with † is what a reload does not take up, and warns of.
func TestKeysThatWantARestartAreMarked(t *testing.T) {
	text, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	part := ""
	seen := 0
	for line := range strings.Lines(string(text)) {
		if h := heading.FindStringSubmatch(line); h != nil {
			part = h[1]
		}
		r := row.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		taken, ours := settings.ReloadedKeys[part]
		if r == nil || !ours || part == "edge" && (r[1] == "id" || r[1] == "masters") {
			continue
		}
		seen++
		if marked := strings.HasPrefix(strings.TrimSpace(r[4]), "†"); marked == slices.Contains(taken, r[1]) {
			t.Errorf("%s.%s: marked with † is %t, and a reload takes it up is %t", part, r[1], marked, !marked)
		}
	}
	if seen < 20 {
		t.Errorf("only %d keys were looked at", seen)
	}
}
