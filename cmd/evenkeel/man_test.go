package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Each command has a page with its name, its usage, each of its flags, and examples that can be copied.
func TestManualPages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	if code, stdout, stderr := say(t, "man", dir); code != exitFine || !strings.Contains(stdout, "manual pages") {
		t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil || len(pages) < 25 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	for name, wants := range map[string][]string{
		"evenkeel":             {"a load balancer", "\\fBevenkeel\\-drain\\fR(1)", "\n  evenkeel demo\n"},
		"evenkeel-certs-issue": {".SH NAME\nevenkeel\\-certs\\-issue \\- ", "\\fB\\-\\-address\\fR", "  evenkeel certs issue agent r1 \\-\\-pool render\n"},
		"evenkeel-master":      {"(default 127.0.0.1:7400)", "\\fB\\-\\-open\\-pools\\fR"},
		"evenkeel-completion":  {"\\fBevenkeel\\-completion\\-bash\\fR(1)"},
	} {
		text, err := os.ReadFile(filepath.Join(dir, name+".1"))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range wants {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s.1 lacks %q:\n%s", name, want, text)
			}
		}
	}
	// No line of text is taken for a request, whatever a help text begins with.
	known := []string{".TH", ".SH", ".PP", ".nf", ".fi", ".TP", ".nh", ".ad"}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
			if strings.HasPrefix(line, ".") && !strings.Contains(strings.Join(known, " ")+" ", word+" ") || strings.HasPrefix(line, "'") {
				t.Errorf("%s: %q is a request", page, line)
			}
		}
	}
	if code, _, stderr := say(t, "man"); code != exitUsage || !strings.Contains(stderr, "takes a folder") {
		t.Errorf("without a folder: exit code %d: %s", code, stderr)
	}
	t.Run("formatted", func(t *testing.T) {
		groff, err := exec.LookPath("groff")
		if err != nil {
			t.Skip("SKIPPED: groff is not installed")
		}
		for _, page := range pages {
			if out, err := exec.Command(groff, "-man", "-Tutf8", "-ww", "-z", page).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%s: %v %s", page, err, out)
			}
		}
	})
}
