//go:build !race

package poison

// Enabled reports whether Fill does anything.
const Enabled = false

// Fill overwrites b, which must not be read any more.
func Fill([]byte) {}
