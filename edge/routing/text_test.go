package routing

import (
	"fmt"
	"strings"
	"testing"
)

func TestOwnedTextStaysWhatItWas(t *testing.T) {
	var o OwnedText
	for round := range 3 {
		o.Reset()
		source := []byte("abcdefghij")
		var kept, want []string
		for i := range 200 {
			copy(source, fmt.Sprintf("%d-%d ", round, i))
			want = append(want, string(source[:i%10]))
			kept = append(kept, o.Clone(UnsafeString(source[:i%10])))
		}
		clear(source)
		for i := range kept {
			if kept[i] != want[i] {
				t.Fatalf("round %d: string %d is %q, want %q", round, i, kept[i], want[i])
			}
		}
	}
}

func TestHeadOwnsItsStrings(t *testing.T) {
	for _, c := range []struct{ target, path, query string }{
		{"/a/b", "/a/b", ""}, {"/a?b=c", "/a", "b=c"}, {"/a?", "/a", ""}, {"/%61?x", "/a", "x"}, {"/%zz?x", "/%zz", "x"}, {"*", "*", ""}, {"", "", ""},
	} {
		source := []byte("GET h.example " + c.target + " " + c.path + " " + c.query)
		at := 0
		next := func(n int) string { at += n + 1; return UnsafeString(source[at-n-1 : at-1]) }
		h := RequestInfo{Method: next(3), Host: next(9), Target: next(len(c.target)), Path: next(len(c.path)), Query: next(len(c.query))}
		h.RawPath, _, _ = strings.Cut(h.Target, "?")
		var o OwnedText
		own := h.Clone(&o)
		for i := range source {
			source[i] = '#'
		}
		if own.Method != "GET" || own.Host != "h.example" || own.Target != c.target || own.Path != c.path || own.Query != c.query {
			t.Errorf("%q: got %q %q %q %q %q", c.target, own.Method, own.Host, own.Target, own.Path, own.Query)
		}
	}
}

func TestKeptHeadAllocatesNothing(t *testing.T) {
	var o OwnedText
	h := RequestInfo{Method: "GET", Host: "h.example", Target: "/a/b?c=d", RawPath: "/a/b", Path: "/a/b", Query: "c=d"}
	if n := testing.AllocsPerRun(100, func() {
		o.Reset()
		h.Clone(&o)
		o.Clone("an-id")
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
