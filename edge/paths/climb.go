package paths

import (
	"bytes"
	"strings"
)

// Climbs reports whether a server may read the path as one that leads out of a folder behind which it is
// put, or it can be read in too many ways to tell.
func Climbs(path string) bool {
	if Plain(path) {
		return false
	}
	folder := "/" + strings.Repeat("a", len(path)) // longer than what the path could name instead
	inside := true
	told := Readings(folder+path, func(reading []byte) bool {
		inside = bytes.HasPrefix(reading, []byte(folder+"/"))
		return inside
	})
	return !told || !inside
}

// Overlong reports whether the path has, escaped or not, bytes that decoders of UTF-8 which do not look
// closely take for a shorter character: C0 AE for a dot. No text in UTF-8 has them.
func Overlong(path string) bool {
	for i := 0; i < len(path); {
		c, n := byteAt(path, i)
		if i += n; c < 0xc0 {
			continue
		}
		next, _ := byteAt(path, i)
		switch {
		case next < 0x80 || next > 0xbf:
		case c == 0xc0, c == 0xc1, c == 0xe0 && next < 0xa0, c == 0xf0 && next < 0x90:
			return true
		}
	}
	return false
}

// byteAt returns the byte that stands at i, escaped or not, and how many bytes of the path it takes;
// zero at the end.
func byteAt(path string, i int) (c byte, n int) {
	switch {
	case i >= len(path):
		return 0, 0
	case path[i] == '%' && i+2 < len(path):
		return escapedAt(path, i), 3
	}
	return path[i], 1
}
