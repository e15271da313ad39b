package terminal

import (
	"io"
	"os"

	"github.com/evenkeel-lb/evenkeel/internal/fd"
)

// Terminal control sequences (ECMA-48).
const (
	CursorUp    = "\x1b[%dA"
	ClearScreen = "\x1b[H\x1b[2J"
	EraseLine   = "\x1b[K"
	Red         = "\x1b[31m"
	Green       = "\x1b[32m"
	Yellow      = "\x1b[33m"
	Dim         = "\x1b[2m"
	Reset       = "\x1b[0m"
)

// defaultColumns is the width of a terminal that does not report its own.
const defaultColumns = 80

func Is(w io.Writer) bool {
	file, ok := w.(*os.File)
	if ok {
		_, ok = fd.Columns(file)
	}
	return ok
}

// Columns returns the width that the terminal w has now.
func Columns(w io.Writer) int {
	if file, ok := w.(*os.File); ok {
		if n, _ := fd.Columns(file); n > 0 {
			return n
		}
	}
	return defaultColumns
}

// Painter colors text, or leaves it as it is.
type Painter func(color, text string) string

// NewPainter returns a painter that colors only what a person sees: on a terminal, and
// unless NO_COLOR is set.
func NewPainter(w io.Writer) Painter {
	if !Is(w) || os.Getenv("NO_COLOR") != "" {
		return func(_, text string) string { return text }
	}
	return func(color, text string) string {
		if color == "" {
			return text
		}
		return color + text + Reset
	}
}
