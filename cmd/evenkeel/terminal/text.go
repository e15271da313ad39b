package terminal

import "io"

// PrintLine writes to a terminal or pipe; if that is gone nobody is left to tell.
func PrintLine(w io.Writer, line string) { _, _ = io.WriteString(w, line+"\n") }

func Plural(n int, what string) string {
	if n == 1 {
		return what
	}
	return what + "s"
}
