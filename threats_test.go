package evenkeel

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// testsOfTheRepository returns the names of all tests and fuzz targets, those of other modules too.
func testsOfTheRepository(t *testing.T) map[string]bool {
	t.Helper()
	declaration := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9_]*)\(`)
	names := make(map[string]bool)
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		text, err := os.ReadFile(name)
		for _, m := range declaration.FindAllStringSubmatch(string(text), -1) {
			names[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

var (
	namedTest  = regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]*)`")
	headOfRows = regexp.MustCompile(`\| (test|tests) \|$`) // of a table whose last column names tests
)

// untested returns what is wrong with the tables of a document that have a column of tests: a row
// without one, or one that names a test that is not there.
func untested(text string, tests map[string]bool) (problems []string, rows int) {
	inTable := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case headOfRows.MatchString(line):
			inTable = true
			continue
		case !strings.HasPrefix(line, "|"):
			inTable = false
		}
		if !inTable || strings.HasPrefix(line, "|--") {
			continue
		}
		rows++
		cells := strings.Split(strings.Trim(line, "|"), "|")
		found := namedTest.FindAllStringSubmatch(cells[len(cells)-1], -1)
		if found == nil {
			problems = append(problems, "no test in its last column: "+line)
		}
		for _, m := range found {
			if !tests[m[1]] {
				problems = append(problems, "there is no test "+m[1]+": "+line)
			}
		}
	}
	return problems, rows
}

// Every threat that we say we meet is attacked by a test, and so is every finding.
func TestEveryThreatHasItsTest(t *testing.T) {
	tests := testsOfTheRepository(t)
	for _, name := range []string{"docs/threat-model.md", "docs/reliability.md"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		problems, rows := untested(string(text), tests)
		for _, p := range problems {
			t.Errorf("%s: %s", name, p)
		}
		if rows < 10 {
			t.Errorf("%s: %d rows with tests, want more: has the heading of their column changed?", name, rows)
		}
	}
}

// The rule finds what it is there for.
func TestUntestedThreatsAreFound(t *testing.T) {
	const text = "| tries | gets | test |\n|---|---|---|\n| a | b | `TestThere` |\n| a | `TestThere` | none |\n| a | b | `TestGone`, `TestThere` |\n\n| who | what |\n|---|---|\n| a | b |\n"
	problems, rows := untested(text, map[string]bool{"TestThere": true})
	if len(problems) != 2 || rows != 3 || !strings.Contains(problems[0], "no test in") || !strings.Contains(problems[1], "TestGone") {
		t.Errorf("got %q in %d rows, want the second and the third of 3", problems, rows)
	}
}
