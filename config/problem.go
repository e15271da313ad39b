package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

const (
	mostProblems = 50  // maximum number of problems shown
	excerptWidth = 100 // characters of a line that an excerpt shows
)

// Problem is one thing wrong with a file.
type Problem struct {
	Position
	Where string // path of what holds the field; empty: the top of the file
	Text  string // the field and what is wrong with it
	Hint  string // what was probably meant, or what to do; may be empty
}

// Error is all that is wrong with a file.
type Error struct {
	Name     string
	Problems []Problem // in order of position, at most 50
	More     int       // further problems left out
	lines    []string
}

// Error returns the problems as people read them, an excerpt under each.
func (e *Error) Error() string {
	var b strings.Builder
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s:%d:%d: %s", e.Name, p.Line, p.Column, printable(join(p.Where, p.Text)))
		b.WriteString(e.excerpt(p.Position))
		if p.Hint != "" {
			fmt.Fprintf(&b, "\n      %s", printable(p.Hint))
		}
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "\nand %d more problems", e.More)
	}
	return b.String()
}

// excerpt shows a position's line and a caret under its column.
func (e *Error) excerpt(at Position) string {
	if at.Line < 1 || at.Line > len(e.lines) || e.lines[at.Line-1] == "" {
		return ""
	}
	line := []rune(printable(strings.ReplaceAll(e.lines[at.Line-1], "\t", " ")))
	column := min(at.Column, len(line)+1)
	from := max(0, min(column-excerptWidth/2, len(line)-excerptWidth))
	to := min(len(line), from+excerptWidth)
	before, after := "", ""
	if from > 0 {
		before = "…"
	}
	if to < len(line) {
		after = "…"
	}
	return fmt.Sprintf("\n%5d | %s%s%s\n      | %*s^", at.Line, before, string(line[from:to]), after,
		column-1-from+len([]rune(before)), "")
}

// printable keeps a file's bytes from doing more to a terminal than being read.
func printable(s string) string {
	s = strings.ReplaceAll(s, "\t", `\t`)
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// Err returns nil, or an *Error with every problem found so far.
func (f *File) Err() error {
	if len(f.problems) == 0 {
		return nil
	}
	sorted := slices.Clone(f.problems)
	slices.SortStableFunc(sorted, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	shown := sorted[:min(len(sorted), mostProblems)]
	return &Error{Name: f.name, Problems: shown, More: len(sorted) - len(shown), lines: f.lines}
}

// add files a problem unless it is there already, as it is when an alias repeats it.
func (f *File) add(p Problem) {
	p.Line, p.Column = max(1, p.Line), max(1, p.Column)
	key := fmt.Sprint(p.Line, ":", p.Column, ":", p.Text)
	if f.seen[key] {
		return
	}
	f.seen[key] = true
	f.problems = append(f.problems, p)
}
