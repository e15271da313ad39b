package main

import (
	"fmt"
	"path"
	"strings"
)

// equivalent is a mutant that behaves as the original does, so that no test can tell them apart.
type equivalent struct {
	file, function, change string
	line                   int // in the list
}

func (e equivalent) of(m *mutant) bool {
	return e.file == m.file && e.function == m.function && e.change == m.change
}

// readEquivalents reads a list of them, one a line: what the program prints of a survivor, without the number of the
// line, then // and why it is one. Lines that are empty or begin with # are for people.
func readEquivalents(name, text string) ([]equivalent, error) {
	var all []equivalent
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		file, rest, _ := strings.Cut(line, " ")
		function, rest, _ := strings.Cut(rest, ": ")
		at := strings.LastIndex(rest, " // ")
		if at < 0 || function == "" || !strings.Contains(rest[:at], " → ") || strings.TrimSpace(rest[at+4:]) == "" {
			return nil, fmt.Errorf("%s:%d: %q, want FILE FUNCTION: KIND: BEFORE → AFTER // WHY", name, i+1, line)
		}
		all = append(all, equivalent{file, function, strings.TrimSpace(rest[:at]), i + 1})
	}
	return all, nil
}

// split takes the accepted equivalents out of a room's mutants. stale are the entries for the room that fit no mutant: the code has
// changed, and they have to be removed or judged again.
func split(all []mutant, accepted []equivalent, room string) (rest []mutant, equivalents int, stale []equivalent) {
	used := make([]bool, len(accepted))
next:
	for i := range all {
		for j, e := range accepted {
			if e.of(&all[i]) {
				used[j] = true
				equivalents++
				continue next
			}
		}
		rest = append(rest, all[i])
	}
	for j, e := range accepted {
		if !used[j] && path.Dir(e.file) == room {
			stale = append(stale, e)
		}
	}
	return rest, equivalents, stale
}
