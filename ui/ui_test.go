package ui_test

import (
	"bytes"
	"context"
	"flag"
	"io/fs"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/admin"
	"github.com/evenkeel-lb/evenkeel/internal/peers"
	"github.com/evenkeel-lb/evenkeel/ui"
)

const mostBytes = 150_000 // of all files of the page

var screenshots = flag.String("screenshots", "", "write pictures of the page into this folder")

func TestThePageIsSmall(t *testing.T) {
	total := int64(0)
	err := filepath.WalkDir("assets", func(_ string, d fs.DirEntry, err error) error {
		if info, infoErr := d.Info(); infoErr == nil && !d.IsDir() {
			total += info.Size()
		}
		return err
	})
	if err != nil || total > mostBytes || total < mostBytes/3 {
		t.Errorf("the page has %d bytes, %v, want at most %d", total, err, mostBytes)
	}
}

// What the page is made of is served with a policy that allows nothing else, and is kept by no cache.
func TestThePageIsServed(t *testing.T) {
	s := admin.New(admin.Config{Hosts: []string{"example.com"}}, ui.Endpoints())
	get := func(path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w
	}
	page := get("/ui")
	wanted := regexp.MustCompile(`(?:href|src)="(/ui/[^"]+)"`).FindAllStringSubmatch(page.Body.String(), -1)
	if page.Code != 200 || len(wanted) < 4 {
		t.Fatalf("got %d and %d files, want a page", page.Code, len(wanted))
	}
	for _, w := range append([]*httptest.ResponseRecorder{page}, get("/ui/model.js"), get("/ui/icon.svg")) {
		policy := w.Header().Get("Content-Security-Policy")
		if w.Code != 200 || w.Header().Get("Cache-Control") != "no-store" || !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("got %d %v, want the file with a strict policy", w.Code, w.Header())
		}
	}
	for _, file := range wanted {
		if w := get(file[1]); w.Code != 200 {
			t.Errorf("%s: got %d, want the file that the page names", file[1], w.Code)
		}
	}
	if w := get("/ui/none.js"); w.Code != 404 {
		t.Errorf("got %d for a file that is not there, want 404", w.Code)
	}
	if text := page.Body.String(); regexp.MustCompile(`(?i)\son\w+=|style=|<script>|https?://`).MatchString(text) {
		t.Error("the page has inline code or style, or names another site")
	}
}

// chromium finds what the test in a browser needs, or skips it.
func chromium(t *testing.T) (node, browser, modules string) {
	t.Helper()
	paths := make([]string, 2)
	for i, name := range []string{"node", "chromium"} {
		path, err := peers.Find(name)
		if err != nil && os.Getenv("EVENKEEL_PEERS") == "required" {
			t.Fatal(err)
		}
		if err != nil {
			t.Skipf("SKIPPED: %v", err)
		}
		paths[i] = path
	}
	if version, err := exec.Command(paths[0], "--version").Output(); err != nil || regexp.MustCompile(`^v1?\d\.`).Match(version) {
		t.Skipf("SKIPPED: node is %s, and playwright-core needs 20 or newer", bytes.TrimSpace(version))
	}
	modules, err := filepath.Abs("../build/browser")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(modules + "/node_modules/playwright-core"); err != nil {
		t.Skip("SKIPPED: playwright-core and axe-core are not in build/browser; to run the tests of the page in Chromium: make browser")
	}
	return paths[0], paths[1], modules
}

// The page is seen, a decision explained, a server drained, in a browser.
func TestPageInChromium(t *testing.T) {
	node, browser, modules := chromium(t)
	s := startSystem(t, 12, admin.Config{})
	tokens := filepath.Join(t.TempDir(), "tokens")
	token, err := admin.AddToken(tokens, "rita", "read")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := admin.OpenKeys(admin.Files{Tokens: tokens}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	guarded := startSystem(t, 3, admin.Config{Keys: keys})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	var traffic sync.WaitGroup
	defer traffic.Wait()
	defer cancel()
	broken := trouble{"r4": {Result: balance.Unreachable, Error: "dial tcp 10.0.0.4:8000: connect: connection refused"}}
	broken["r9"] = balance.Outcome{Result: balance.Full, RetryAfter: time.Hour}
	traffic.Go(func() { s.send(ctx, 60, broken) })
	cmd := exec.CommandContext(ctx, node, "testdata/browser/page.mjs")
	cmd.Env = append(os.Environ(), "CHROMIUM="+browser, "MODULES="+modules, "URL="+s.server.URL, "LOCKED="+guarded.server.URL, "TOKEN="+token, "OUT="+*screenshots)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
