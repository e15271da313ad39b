package terminal

import "io"

// PrintLine writes a line to a terminal or pipe. If that is gone, the error is of no use.
func PrintLine(w io.Writer, line string) { _, _ = io.WriteString(w, line+"\n") }

func Plural(n int, what string) string {
	if n == 1 {
		return what
	}
	return what + "s"
}
