package evenkeel

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var namedFile = regexp.MustCompile("`((?:[a-z0-9]+/)+[A-Za-z0-9_.]*|[a-z_]+\\.go)`")

// lostFiles returns the files and folders that a document names and that are not there, and how many it names.
func lostFiles(text string) (lost []string, named int) {
	for _, m := range namedFile.FindAllStringSubmatch(text, -1) {
		named++
		if _, err := os.Stat(m[1]); err != nil {
			lost = append(lost, m[1])
		}
	}
	return lost, named
}

// docs/where-is.md answers questions with files, and these exist.
func TestWhereIsNamesFilesThatExist(t *testing.T) {
	text, err := os.ReadFile("docs/where-is.md")
	if err != nil {
		t.Fatal(err)
	}
	lost, named := lostFiles(string(text))
	for _, f := range lost {
		t.Errorf("docs/where-is.md names %s, which does not exist: name the file that answers the question now", f)
	}
	if named < 50 {
		t.Errorf("docs/where-is.md names %d files, want more: has their form changed?", named)
	}
}

// A newcomer finds every room of the edge by a question, and what it is by its doc.go.
func TestEveryRoomOfTheEdgeIsFound(t *testing.T) {
	text, err := os.ReadFile("docs/where-is.md")
	if err != nil {
		t.Fatal(err)
	}
	rooms := 0
	for room := range table(arrows, "<") {
		if room != "edge" && !strings.HasPrefix(room, "edge/") {
			continue
		}
		rooms++
		if !regexp.MustCompile("`" + room + "(/[a-z0-9_]+\\.go)?`").Match(text) {
			t.Errorf("docs/where-is.md names no file of %s: which question does the room answer?", room)
		}
		if _, err := os.Stat(room + "/doc.go"); err != nil {
			t.Errorf("%s has no doc.go, which says what the room is", room)
		}
	}
	if rooms < 10 {
		t.Errorf("found %d rooms of the edge, want more: has the table's form changed?", rooms)
	}
}

func TestLostFilesAreFound(t *testing.T) {
	lost, named := lostFiles("| a question | `arch_test.go`, `edge/none.go`, `balance` |\n| another | `none.go` and `sim/scenarios` |")
	if named != 4 || len(lost) != 2 || lost[0] != "edge/none.go" || lost[1] != "none.go" {
		t.Errorf("lost %q of %d, want edge/none.go and none.go of 4", lost, named)
	}
}
