//go:build !unix

package fd

import "os"

// Columns reports whether f is a terminal, as far as can be told here. Its width is not known.
func Columns(f *os.File) (n int, ok bool) {
	info, err := f.Stat()
	return 0, err == nil && info.Mode()&os.ModeCharDevice != 0
}
