package paths

import (
	"strings"
	"testing"
)

// What a log is told of a head that could not be read: method and path as far as they are plain, without the query.
func TestGlimpse(t *testing.T) {
	long := "/" + strings.Repeat("x", 300)
	for head, want := range map[string]string{
		"GET /a HTTP/1.1\r\n": "GET /a", "GET /a?b HTTP/1.1\r\n": "GET /a", "GET /a#b HTTP/1.1\r\n": "GET /a", "\r\n\r\nGET /a HTTP/1.1\r\n": "GET /a",
		"GET /a\r\nHost: h\r\n": "GET ", "GET /a\r\nHost:h\r\n": "GET /a", "GET /a\nHost": "GET /a", "GET /a": "GET /a", "M-SEARCH /az~! HTTP": "M-SEARCH /az~!", "get /Z HTTP": "get /Z", "aZzA /a x": "aZzA /a",
		"G[T /a x": " ", "G@T /a x": " ", "G{T /a x": " ", "G`T /a x": " ", " /a x": " ", "GET": " ", "": " ", "GET\t/a x": " ",
		"GET /\x7f x": "GET ", "GET /\xe9 x": "GET ", "GET \x1f x": "GET ", "GET " + long + " x": "GET " + long[:glimpsed-len("GET ")],
	} {
		method, path := Glimpse([]byte(head))
		if got := string(method) + " " + string(path); got != want {
			t.Errorf("%.40q: %.40q, want %.40q", head, got, want)
		}
	}
}

// The bytes at the ends of each range, and those beside them.
func TestRangesOfBytes(t *testing.T) {
	for _, c := range []struct {
		name string
		is   func(byte) bool
		all  string
	}{
		{"letter of a method", isLetter, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-"},
		{"unreserved", unreserved, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"},
		{"hexadecimal digit", func(c byte) bool { return digit(c) >= 0 }, "0123456789abcdefABCDEF"},
	} {
		for b := range 256 {
			if want := strings.IndexByte(c.all, byte(b)) >= 0; c.is(byte(b)) != want {
				t.Errorf("%q is a %s: %t, want %t", rune(b), c.name, !want, want)
			}
		}
	}
	for b := range 256 {
		if got, want := isVisible(byte(b)), b > ' ' && b < 0x7f; got != want {
			t.Errorf("%#x is visible: %t, want %t", b, got, want)
		}
		want := byte(b)
		if 'a' <= b && b <= 'f' {
			want -= 'a' - 'A'
		}
		if got := capital(byte(b)); got != want {
			t.Errorf("%q in capitals: %q, want %q", rune(b), rune(got), rune(want))
		}
	}
	for i, c := range "0123456789abcdef" {
		if digit(byte(c)) != i || digit(strings.ToUpper(string(c))[0]) != i {
			t.Errorf("digit %c stands for %d, want %d", c, digit(byte(c)), i)
		}
	}
}

func TestEscapes(t *testing.T) {
	for path, want := range map[string]byte{"%41": 'A', "%e9x": 0xe9, "%4": 0, "%": 0, "%4g": 0, "%g4": 0, "x41": 0, "%zz": 0, "%00": 0} {
		if got := escapedAt(path, 0); got != want {
			t.Errorf("%q begins with an escape of %#x, want %#x", path, got, want)
		}
	}
	for path, want := range map[string]mark{"%2541": escapedEscape, "%254": 0, "%25": 0, "%25g1": 0, "%254g": 0, "/.": 0, "%2e": dotSegment, "%2f": escapedSlash, "%5c": backslash, "%3b": parameter, "%41": 0} {
		if got := markAt(path, 0); got != want {
			t.Errorf("%q is marked %b at its beginning, want %b", path, got, want)
		}
	}
	for path, want := range map[string]bool{"/%1f": true, "/%7F": true, "/%20": false, "/%1": false, "/%7": false, "/%x1": false, "/%1x": false, "/%zz": false, "/%00a": true, "/a": false} {
		if got := hasControl(path); got != want {
			t.Errorf("%q has an escaped control character: %t, want %t", path, got, want)
		}
	}
}

// Which paths have a segment of dots, whatever may follow it.
func TestSegmentsOfDots(t *testing.T) {
	for path, want := range map[string]bool{
		"/.": true, "/..": true, "/a/./b": true, "/a/../b": true, "/a/..;x/b": true, "/a/.;": true, "/%2e": true, "/a/.%2e": true,
		"/": false, "/a": false, "/...": false, "/.a": false, "/a.": false, "/a;./b": false, "/a/;..": false,
	} {
		if got := moves(path); got != want {
			t.Errorf("%q moves: %t, want %t", path, got, want)
		}
	}
}

// Overlong characters are those that decoders without care take for shorter ones; what only looks like the beginning of one is not.
func TestWhatLooksOverlong(t *testing.T) {
	for path, want := range map[string]bool{
		"/%c0%bf": true, "/%c0%80": true, "/%e0%9f": true, "/%f0%8f": true, "/\xe0\x80": true,
		"/%c0%c0": false, "/%c0%7f": false, "/%e0%a0": false, "/%f0%90": false, "/%c2%80": false, "/%c0": false, "/%c": false, "/\xc0": false, "/%c0%8": false,
	} {
		if got := Overlong(path); got != want {
			t.Errorf("%q is overlong: %t, want %t", path, got, want)
		}
	}
	if got := string(Normalize(nil, "/a%4")) + string(Normalize(nil, "/b%41")) + string(Normalize(nil, "/%")); got != "/a%4/bA/%" {
		t.Errorf("escapes at the end are %q", got)
	}
}
