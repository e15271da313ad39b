package paths

// mark is something in a path that not everybody reads alike. Marks are a set.
type mark uint8

const (
	emptySegment  mark = 1 << iota // //, which some take for /
	backslash                      // \ or %5c, which some take for /
	escapedSlash                   // %2f, which some take for /
	parameter                      // ; or %3b, from which on some ignore the segment
	escapedEscape                  // %25 before two hexadecimal digits, which some decode twice
	dotSegment                     // a segment that may be . or ..

	optional = dotSegment - 1 // marks that some read one way and some another
)

// kinds sorts the bytes of a path: zero are those that mean nothing in any context.
var kinds = func() (t [256]uint8) {
	for _, c := range `/.%\;` {
		t[c] = 1
	}
	return t
}()

// Plain reports whether everybody reads the path alike, but for escapes that stand for what they
// stand for everywhere.
func Plain(path string) bool {
	for i := range len(path) {
		if kinds[path[i]] != 0 && markAt(path, i) != 0 {
			return false
		}
	}
	return true
}

// marks returns all that is in the path.
func marks(path string) (all mark) {
	for i := range len(path) {
		if kinds[path[i]] != 0 {
			all |= markAt(path, i)
		}
	}
	return all
}

// markAt returns what is marked by the byte at i, with those next to it.
func markAt(path string, i int) mark {
	switch path[i] {
	case '/':
		if i > 0 && path[i-1] == '/' {
			return emptySegment
		}
	case '.':
		if i > 0 && path[i-1] == '/' && dotsAlone(path[i+1:]) {
			return dotSegment
		}
	case '\\':
		return backslash
	case ';':
		return parameter
	case '%':
		switch escapedAt(path, i) {
		case '.':
			return dotSegment
		case '/':
			return escapedSlash
		case '\\':
			return backslash
		case ';':
			return parameter
		case '%':
			if i+4 < len(path) && digit(path[i+3]) >= 0 && digit(path[i+4]) >= 0 {
				return escapedEscape
			}
		}
	}
	return 0
}

// dotsAlone reports whether a segment that begins with a dot, behind which rest comes, may be one of
// dots only.
func dotsAlone(rest string) bool {
	if rest != "" && rest[0] == '.' {
		rest = rest[1:]
	}
	return rest == "" || rest[0] != '.' && kinds[rest[0]] != 0
}

// escapedAt returns the byte that the escape at i stands for; zero: there is none, or it is zero.
func escapedAt[T string | []byte](path T, i int) byte {
	if i+2 >= len(path) || path[i] != '%' {
		return 0
	}
	high, low := digit(path[i+1]), digit(path[i+2])
	if high < 0 || low < 0 {
		return 0
	}
	return byte(high<<4 | low)
}

// digit is what a hexadecimal digit stands for; negative: it is none.
func digit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// MostWork bounds, in bytes, what Readings reads of one path: its length times the ways.
const MostWork = 128 << 10

// Readings calls yield with each way in which a server may read the path, dot segments resolved,
// until yield returns false. The reading is valid until yield returns. It returns false if there are
// too many of them, and calls nothing then.
func Readings(path string, yield func(reading []byte) bool) bool {
	all := marks(path) & optional
	ways := 1
	for m := all; m != 0; m &= m - 1 {
		ways *= 2
	}
	if ways*len(path) > MostWork {
		return false
	}
	var room [512]byte
	buf := room[:0]
	for as := all; ; as = (as - 1) & all { // all subsets
		buf = read(buf[:0], path, as)
		if !yield(buf) || as == 0 {
			return true
		}
	}
}

// read appends to dst the path as a reader sees it that takes the marks in as for what they may be.
func read(dst []byte, path string, as mark) []byte {
	start := len(dst)
	dst = decode(dst, path, as)
	if as&escapedEscape != 0 {
		dst = append(dst[:start], decode(nil, string(dst[start:]), as)...)
	}
	return append(dst[:start], resolve(dst[start:], as)...)
}

// decode appends the path without its escapes. An escaped slash that is not taken for one stays.
func decode(dst []byte, path string, as mark) []byte {
	for i := 0; i < len(path); i++ {
		c, n := path[i], 0
		if c == '%' {
			if e := escapedAt(path, i); e != 0 {
				c, n = e, 2
			}
		}
		switch {
		case c == '/' && n > 0 && as&escapedSlash == 0:
			dst = append(dst, path[i:i+3]...)
		case c == '\\' && as&backslash != 0:
			dst = append(dst, '/')
		default:
			dst = append(dst, c)
		}
		i += n
	}
	return dst
}

// resolve takes dot segments out of a decoded path, in place, and with them what as says.
func resolve(path []byte, as mark) []byte {
	out := path[:0] // never longer than what was read
	for at := 0; at < len(path); {
		end := at + 1 // at is that of the segment's slash
		for end < len(path) && path[end] != '/' {
			end++
		}
		segment, last := path[at+1:end], end == len(path)
		if as&parameter != 0 {
			segment = cut(segment)
		}
		switch {
		case len(segment) == 0 && !last && as&emptySegment != 0:
		case len(segment) == 1 && segment[0] == '.':
			if last {
				out = append(out, '/')
			}
		case len(segment) == 2 && segment[0] == '.' && segment[1] == '.':
			out = parent(out)
			if last {
				out = append(out, '/')
			}
		default:
			out = append(append(out, '/'), segment...)
		}
		at = end
	}
	return out
}

// parent returns the path without its last segment.
func parent(path []byte) []byte {
	for n := len(path); n > 0; n-- {
		if path[n-1] == '/' {
			return path[:n-1]
		}
	}
	return path[:0]
}

// cut returns the segment without its parameters.
func cut(segment []byte) []byte {
	for i, c := range segment {
		if c == ';' {
			return segment[:i]
		}
	}
	return segment
}
