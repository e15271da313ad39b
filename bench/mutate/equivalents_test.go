package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestAnEquivalentIsWhatIsPrintedWithAReason(t *testing.T) {
	m := mutant{file: "room/p.go", function: "G.f", change: `dropped half: a == "x: // y" || b → b`, line: 7}
	printed := strings.Replace(m.String(), ":7 ", " ", 1)
	all, err := readEquivalents("list", "# for people\n\n"+printed+" // b is so whenever a is\n")
	if err != nil || len(all) != 1 || !all[0].of(&m) || all[0].line != 3 {
		t.Errorf("got %+v, %v, want the entry of line 3", all, err)
	}
	for _, bad := range []string{printed, printed + " // ", "room/p.go", "room/p.go f: change // why", "room/p.go a → b // why"} {
		if _, err := readEquivalents("list", "\n"+bad); err == nil || !strings.Contains(err.Error(), "list:2: ") {
			t.Errorf("%q: got %v, want an error with its line", bad, err)
		}
	}
}

func TestEquivalentsAreTakenOutAndStaleOnesTold(t *testing.T) {
	all := []mutant{{file: "room/p.go", function: "f", change: "a → b"}, {file: "room/p.go", function: "f", change: "a → b #2"}}
	accepted := []equivalent{{"room/p.go", "f", "a → b", 1}, {"room/p.go", "g", "a → b", 2}, {"room/gone.go", "f", "a → b", 3}, {"room/below/p.go", "f", "a → c", 4}}
	rest, equivalents, stale := split(all, accepted, "room")
	if len(rest) != 1 || rest[0].change != "a → b #2" || equivalents != 1 || !slices.Equal(stale, accepted[1:3]) {
		t.Errorf("got %v, %d equivalents, stale %v, want the second, 1, and those of lines 2 and 3", rest, equivalents, stale)
	}
}

// The list of the project's own rooms is kept true without running any mutant.
func TestNoEntryOfTheListIsStale(t *testing.T) {
	text, err := os.ReadFile("equivalents.txt")
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := readEquivalents("bench/mutate/equivalents.txt", string(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range accepted {
		source, err := os.ReadFile(filepath.Join("..", "..", e.file))
		if err != nil {
			t.Errorf("line %d: %v", e.line, err)
			continue
		}
		all, err := find(e.file, source)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(all, func(m mutant) bool { return e.of(&m) }) {
			t.Errorf("line %d: %s: %s is no mutant of %s: remove the line, or judge it again", e.line, e.function, e.change, e.file)
		}
	}
}
