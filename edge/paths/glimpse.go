package paths

import "bytes"

// glimpsed is how much of a request line's path is of use in a log, in bytes.
const glimpsed = 256

// Glimpse returns method and path, without the query, of a head that could not be read as a whole, as far as they are plain; for
// logs alone. They share buf's memory.
func Glimpse(buf []byte) (method, path []byte) {
	buf = bytes.TrimLeft(buf, "\r\n")
	method, rest, found := bytes.Cut(buf[:min(len(buf), glimpsed)], []byte(" "))
	if !found || len(method) == 0 || !plain(method, isLetter) {
		return nil, nil
	}
	end := bytes.IndexFunc(rest, func(r rune) bool { return r == ' ' || r == '?' || r == '#' })
	if end < 0 {
		end = len(rest)
		if cut := bytes.IndexAny(rest, "\r\n"); cut >= 0 {
			end = cut
		}
	}
	path = rest[:end]
	if !plain(path, isVisible) {
		return method, nil
	}
	return method, path
}

func plain(s []byte, is func(byte) bool) bool {
	for _, c := range s {
		if !is(c) {
			return false
		}
	}
	return true
}

func isLetter(c byte) bool { return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || c == '-' }

func isVisible(c byte) bool { return '!' <= c && c <= '~' }
