package http1

import (
	"encoding/binary"
	"math/bits"
)

// Classes of bytes.
const (
	isToken   = 1 << iota // RFC 9110 5.6.2: tchar
	isTarget              // printable ASCII that may stand in a request target
	isHost                // what a host name is made of here
	isHex                 // HEXDIG
	isControl             // RFC 5234: CTL
	isPercent             // '%'
)

var class = func() (t [256]uint8) {
	for c := range 256 {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		digit := '0' <= c && c <= '9'
		if letter || digit || c < 0x80 && contains("!#$%&'*+-.^_`|~", byte(c)) {
			t[c] |= isToken
		}
		// A fragment is never sent (RFC 9112 3.2), so '#' is out. The rest of
		// printable ASCII is in, though RFC 3986 has less: browsers send it.
		if 0x21 <= c && c <= 0x7e && c != '#' {
			t[c] |= isTarget
		}
		if letter || digit || c < 0x80 && contains("-._~", byte(c)) {
			t[c] |= isHost
		}
		if digit || 'a' <= c|0x20 && c|0x20 <= 'f' {
			t[c] |= isHex
		}
		if c < 0x20 || c == 0x7f {
			t[c] |= isControl
		}
		if c == '%' {
			t[c] |= isPercent
		}
	}
	return t
}()

func contains(set string, c byte) bool {
	for i := range len(set) {
		if set[i] == c {
			return true
		}
	}
	return false
}

// fold maps the letters to lower case, and all that a name can have beside letters and
// digits to '-'. Servers that put fields into environment variables cannot tell '_' from '-', and some
// nothing else from it either, so neither do we where a name decides something.
var fold = func() (t [256]byte) {
	for c := range 256 {
		t[c] = byte(c)
		if 'A' <= c && c <= 'Z' {
			t[c] |= 0x20
		}
	}
	for _, c := range "!#$%&'*+._^`|~" {
		t[c] = '-'
	}
	return t
}()

// is compares without regard to case, as fold has it. lower is in lower case and has beside
// letters and digits only '-'.
func is(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range len(b) {
		if fold[b[i]] != lower[i] {
			return false
		}
	}
	return true
}

// same compares two names without regard to case, as fold has it.
func same(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if fold[a[i]] != fold[b[i]] {
			return false
		}
	}
	return true
}

// text returns the index at or after i of the first control other than a tab, or
// len(b). It looks at eight bytes at a time: the top bit comes out set of those below
// 0x20 and of 0x7f, and perhaps of others behind one of them or behind 0xff.
func text(b []byte, i int) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for {
		for i+8 <= len(b) {
			x := binary.LittleEndian.Uint64(b[i:])
			if m := ((x - 0x20*ones) | (x + ones)) &^ x & tops; m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				break
			}
			i += 8
		}
		for i < len(b) && class[b[i]]&isControl == 0 {
			i++
		}
		if i == len(b) || b[i] != '\t' {
			return i
		}
		i++
	}
}

// span returns the index at or after i of the first byte outside a class, or len(b).
func span(b []byte, i int, in uint8) int {
	for i < len(b) && class[b[i]]&in != 0 {
		i++
	}
	return i
}

// trim cuts optional white space (RFC 9110 5.6.3) off both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// ValidValue reports whether a field may have this value: no controls but tabs, no
// white space at the ends.
func ValidValue(v []byte) bool {
	return text(v, 0) == len(v) && len(trim(v)) == len(v)
}
