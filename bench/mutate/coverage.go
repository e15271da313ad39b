package main

import (
	"fmt"
	"path"
	"strings"
)

// block is a piece of a file that was run as a whole or not at all.
type block struct {
	file                                   string // its last element
	fromLine, fromColumn, toLine, toColumn int
	run                                    bool
}

// readProfile reads a coverage profile, and of it what is of one package.
func readProfile(pkg, text string) ([]block, error) {
	var all []block
	for _, line := range strings.Split(text, "\n") {
		at := strings.LastIndex(line, ":")
		if line == "" || strings.HasPrefix(line, "mode:") || at < 0 || path.Dir(line[:at]) != pkg {
			continue
		}
		b := block{file: path.Base(line[:at])}
		var statements, count int
		if _, err := fmt.Sscanf(line[at+1:], "%d.%d,%d.%d %d %d", &b.fromLine, &b.fromColumn, &b.toLine, &b.toColumn, &statements, &count); err != nil {
			return nil, fmt.Errorf("coverage profile: %q: %w", line, err)
		}
		b.run = count > 0
		all = append(all, b)
	}
	return all, nil
}

func (b *block) holds(m *mutant) bool {
	begun := m.line > b.fromLine || m.line == b.fromLine && m.col >= b.fromColumn
	over := m.line > b.toLine || m.line == b.toLine && m.col >= b.toColumn
	return b.file == path.Base(m.file) && begun && !over
}

// covered reports whether a test has run what a mutant changes. What is in no block, as the conditions of cases, may
// have been run.
func covered(all []block, m *mutant) bool {
	known := false
	for i := range all {
		if all[i].holds(m) {
			if all[i].run {
				return true
			}
			known = true
		}
	}
	return !known
}
