package main

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/cmd/evenkeel/process"
)

var links = regexp.MustCompile(`<a href="([^"]+)">`)

// At the root of every admin address there is something to see, and what it links to is there.
func TestFrontPages(t *testing.T) {
	m := start(t, "master", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--pool", "web", "--server", "http://127.0.0.1:1,pool=web,id=<s>")
	wire, masterAdmin := m.serving()
	_, edgeAdmin := start(t, "edge", "--master", wire, "--pool", "web", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0").serving()
	_, agentAdmin := start(t, "agent", "--master", wire, "--pool", "web", "--address", "127.0.0.1:1", "--sample=false", "--admin", "127.0.0.1:0").serving()
	front, runAdmin := start(t, "run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--server", "http://127.0.0.1:1").serving()
	for _, role := range []struct {
		name, admin string
		says        []string
	}{
		{"master", masterAdmin, []string{wire, "pool web", "127.0.0.1:1", "/v1/status"}},
		{"edge", edgeAdmin, []string{wire, "requests", "http://127.0.0.1:"}},
		{"agent", agentAdmin, []string{wire, "of pool web", "127.0.0.1:1"}},
		{"run", runAdmin, []string{"http://" + front, "pool default", "/edge/metrics"}},
	} {
		_, text := get(t, "http://"+role.admin+"/")
		page := browse(t, "http://"+role.admin+"/")
		for _, want := range append(role.says, "evenkeel "+role.name+" ", "/metrics") {
			if !strings.Contains(text, want) || !strings.Contains(page, want) {
				t.Errorf("the front page of %s does not say %q:\n%s\n%s", role.name, want, text, page)
			}
		}
		found := links.FindAllStringSubmatch(page, -1)
		if len(found) < len(process.CommonPages) {
			t.Errorf("the front page of %s has %d links, want at least %d:\n%s", role.name, len(found), len(process.CommonPages), page)
		}
		for _, link := range found {
			if code, body := get(t, "http://"+role.admin+link[1]); code != http.StatusOK && code != http.StatusServiceUnavailable {
				t.Errorf("%s of %s answers %d %s", link[1], role.name, code, body)
			}
		}
		if code, _ := get(t, "http://"+role.admin+"/nothing"); code != http.StatusNotFound {
			t.Errorf("/nothing of %s answers %d, want 404", role.name, code)
		}
	}
}

// browse gets a page as a browser does.
func browse(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
		t.Fatalf("%s: %v, %s", url, err, res.Header.Get("Content-Type"))
	}
	return string(body)
}
