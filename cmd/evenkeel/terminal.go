package main

import (
	"io"
	"os"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// Terminal control sequences (ECMA-48).
const (
	cursorUp    = "\x1b[%dA"
	clearScreen = "\x1b[H\x1b[2J"
	eraseLine   = "\x1b[K"
	red         = "\x1b[31m"
	green       = "\x1b[32m"
	yellow      = "\x1b[33m"
	dim         = "\x1b[2m"
	plain       = "\x1b[0m"
)

// usualColumns is the width of a terminal that does not tell its own.
const usualColumns = 80

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if ok {
		_, ok = fd.Columns(file)
	}
	return ok
}

// columns returns the width that the terminal w has now.
func columns(w io.Writer) int {
	if file, ok := w.(*os.File); ok {
		if n, _ := fd.Columns(file); n > 0 {
			return n
		}
	}
	return usualColumns
}

// painter colors text, or leaves it as it is.
type painter func(color, text string) string

// painterFor returns a painter that colors only what a person sees: on a terminal, and
// unless NO_COLOR is set.
func painterFor(w io.Writer) painter {
	if !isTerminal(w) || os.Getenv("NO_COLOR") != "" {
		return func(_, text string) string { return text }
	}
	return func(color, text string) string {
		if color == "" {
			return text
		}
		return color + text + plain
	}
}
