package main

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

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
		taken, ours := reloadedKeys[part]
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

func TestChangedKeysAreNamed(t *testing.T) {
	was := (&settings{Edge: &edgePart{}}).ofRunAtStart()
	now := (&settings{Edge: &edgePart{ID: "e2", Admin: "x"}, Master: &masterPart{Listen: "a:1", OpenPools: true, Election: &electionPart{}}}).ofRunAtStart()
	if got := strings.Join(was.changed(now), " "); got != "edge.id master.election master.listen" {
		t.Errorf("got %s", got)
	}
	if got := now.changed(now); got != nil {
		t.Errorf("got %v of what is the same", got)
	}
}

func TestTheLastReloadCounts(t *testing.T) {
	var r reloads
	r.ended(errors.New("x.yaml:1:1: bad\n  excerpt"))
	if got := r.failed(); got != "x.yaml:1:1: bad" {
		t.Errorf("got %q, want the first line", got)
	}
	if r.ended(nil); r.failed() != "" {
		t.Errorf("got %q after a good one", r.failed())
	}
}
