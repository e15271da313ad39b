package settings

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	sectionOf = regexp.MustCompile("(?m)^## `([^`\n]+)`$")
	keyOf     = regexp.MustCompile("^\\| `([^`]+)` \\| ([^|]+) \\| ((?:[^|]|\\\\\\|)+) \\|")
)

// The defaults that evenkeel config shows are those of docs/config.md.
func TestDefaultTextsAreTheDocuments(t *testing.T) {
	text, err := os.ReadFile("../../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	section, documented := "", make(map[string]string)
	for line := range strings.Lines(string(text)) {
		if m := sectionOf.FindStringSubmatch(line); m != nil {
			section = m[1]
		} else if strings.HasPrefix(line, "## ") {
			section = ""
		}
		if m := keyOf.FindStringSubmatch(line); m != nil && section != "" {
			documented[section+"."+m[1]] = strings.ReplaceAll(strings.ReplaceAll(m[3], "`", ""), `\|`, "|")
		}
	}
	if len(documented) < 200 {
		t.Fatalf("%d keys are documented: the document has another form", len(documented))
	}
	for _, d := range defaultTexts {
		if documented[d.key] != d.value {
			t.Errorf("%s: the default is %q, docs/config.md says %q", d.key, d.value, documented[d.key])
		}
	}
	for key, value := range documented {
		has := slices.ContainsFunc(defaultTexts, func(d struct{ key, value string }) bool { return d.key == key })
		none := value == "none" || strings.HasPrefix(value, "required") || strings.HasPrefix(value, "none:") || strings.HasPrefix(value, "see below")
		if has == none {
			t.Errorf("%s: its default is %q by docs/config.md; it is in default_texts.go: %v, want %v", key, value, has, !none)
		}
	}
}
