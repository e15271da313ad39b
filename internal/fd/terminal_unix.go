//go:build unix

package fd

import (
	"os"

	"golang.org/x/sys/unix"
)

// Columns returns the width of the terminal that f is, zero if the terminal does not tell
// it. ok reports whether f is a terminal.
func Columns(f *os.File) (n int, ok bool) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, false
	}
	problem := raw.Control(func(number uintptr) {
		size, err := unix.IoctlGetWinsize(int(number), unix.TIOCGWINSZ)
		if ok = err == nil; ok {
			n = int(size.Col)
		}
	})
	return n, ok && problem == nil
}
