package paths

// Normalize appends the path as RFC 3986, 6.2.2, has it: without dot segments, without escapes of
// letters, digits and -._~, other escapes in capitals; and with one / where there were several.
func Normalize(dst []byte, path string) []byte {
	start := len(dst)
	for i := 0; i < len(path); i++ {
		c, n := path[i], 0
		if c == '%' && i+2 < len(path) {
			n = 2
			if e := escapedAt(path, i); unreserved(e) {
				c = e
			} else {
				dst = append(dst, '%', capital(path[i+1]), capital(path[i+2]))
				i += n
				continue
			}
		}
		dst = append(dst, c)
		i += n
	}
	return append(dst[:start], resolve(dst[start:], emptySegment)...)
}

func unreserved(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

func capital(c byte) byte {
	if 'a' <= c && c <= 'f' {
		return c - 'a' + 'A'
	}
	return c
}

// Fault says what strictness finds in a path: what makes it read in several ways, whether or not
// that matters to routes, and escaped control characters. Empty: nothing.
func Fault(path string) string {
	all := marks(path)
	switch {
	case all&emptySegment != 0:
		return "it has //"
	case all&backslash != 0:
		return `it has \ or %5c`
	case all&escapedSlash != 0:
		return "it has %2f"
	case all&escapedEscape != 0:
		return "it is escaped twice"
	case all&dotSegment != 0 && moves(path):
		return "it has a segment of dots"
	case Overlong(path):
		return "it has an overlong character"
	case hasControl(path):
		return "it has an escaped control character"
	}
	return ""
}

// moves reports whether a path has a dot segment, with or without parameters.
func moves(path string) bool {
	decoded := decode(nil, path, 0)
	for at := 0; at < len(decoded); {
		end := at + 1
		for end < len(decoded) && decoded[end] != '/' {
			end++
		}
		if s := string(cut(decoded[at+1 : end])); s == "." || s == ".." {
			return true
		}
		at = end
	}
	return false
}

func hasControl(path string) bool {
	for i := 0; i+2 < len(path); i++ {
		if path[i] != '%' {
			continue
		}
		high, low := digit(path[i+1]), digit(path[i+2])
		if c := high<<4 | low; high >= 0 && low >= 0 && (c < ' ' || c == 0x7f) {
			return true
		}
	}
	return false
}
