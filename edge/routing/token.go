package routing

import "strings"

func IsToken(s string) bool { return s != "" && tokens.containsAll(s) }

// byteSet is a set of bytes.
type byteSet [256]bool

// newByteSet returns letters, digits and others.
func newByteSet(others string) (set byteSet) {
	for c := range set {
		set[c] = isAlphanumeric(byte(c)) || strings.IndexByte(others, byte(c)) >= 0
	}
	return set
}

func (set *byteSet) containsAll(s string) bool {
	for i := range len(s) {
		if !set[s[i]] {
			return false
		}
	}
	return true
}

var (
	tokens = newByteSet("!#$%&'*+-.^_`|~")
	idents = newByteSet("-._~+/=:@")
)

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

const longestRequestID = 128

// IsRequestID reports whether a request's id is fit to stand in logs.
func IsRequestID(s string) bool {
	return s != "" && len(s) <= longestRequestID && idents.containsAll(s)
}
