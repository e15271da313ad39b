package edge

import (
	"fmt"
	"strings"
	"testing"
)

func TestOwnedTextStaysWhatItWas(t *testing.T) {
	var o ownedText
	for round := range 3 {
		o.reset()
		source := []byte("abcdefghij")
		var kept, want []string
		for i := range 200 {
			copy(source, fmt.Sprintf("%d-%d ", round, i))
			want = append(want, string(source[:i%10]))
			kept = append(kept, o.clone(unsafeString(source[:i%10])))
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
		next := func(n int) string { at += n + 1; return unsafeString(source[at-n-1 : at-1]) }
		h := requestInfo{method: next(3), host: next(9), target: next(len(c.target)), path: next(len(c.path)), query: next(len(c.query))}
		h.raw, _, _ = strings.Cut(h.target, "?")
		var o ownedText
		own := h.clone(&o)
		for i := range source {
			source[i] = '#'
		}
		if own.method != "GET" || own.host != "h.example" || own.target != c.target || own.path != c.path || own.query != c.query {
			t.Errorf("%q: got %q %q %q %q %q", c.target, own.method, own.host, own.target, own.path, own.query)
		}
	}
}

func TestKeptHeadAllocatesNothing(t *testing.T) {
	var o ownedText
	h := requestInfo{method: "GET", host: "h.example", target: "/a/b?c=d", raw: "/a/b", path: "/a/b", query: "c=d"}
	if n := testing.AllocsPerRun(100, func() {
		o.reset()
		h.clone(&o)
		o.clone("an-id")
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
