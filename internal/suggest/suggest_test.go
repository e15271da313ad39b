package suggest

import (
	"strings"
	"testing"
)

func TestLikely(t *testing.T) {
	known := []string{"policy", "servers", "listen", "dispatch-limit", "id"}
	aliases := map[string]string{"upstreams": "servers"}
	for _, c := range [][2]string{
		{"polcy", "policy"}, {"Policy", "policy"}, {"plicoy", "policy"}, {"server", "servers"}, {"upstreams", "servers"},
		{"dispatchLimit", "dispatch-limit"}, {"dispatch_limit", "dispatch-limit"}, {"ip", "id"}, {"zebra", ""}, {"x", ""},
		{strings.Repeat("a", 1000), ""},
	} {
		if got := Likely(c[0], known, aliases); got != c[1] {
			t.Errorf("%q: got %q, want %q", c[0], got, c[1])
		}
	}
}

func TestDidYouMean(t *testing.T) {
	known := []string{"least-load", "round-robin"}
	for word, want := range map[string]string{"Least_Load": `; did you mean "least-load"?`, "rr": `; did you mean "round-robin"?`, "zzz": ""} {
		if got := DidYouMean(word, known, map[string]string{"rr": "round-robin"}); got != want {
			t.Errorf("%s: got %q, want %q", word, got, want)
		}
	}
}
