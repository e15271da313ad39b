package routing

import (
	"net/url"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// headOf is the head of a request for a host's target.
func headOf(host, target string) *RequestInfo {
	h := &RequestInfo{Method: "GET", Host: host, Target: target, Headers: lines{}}
	h.RawPath, h.Query, _ = strings.Cut(target, "?")
	h.Path = h.RawPath
	if plain, err := url.PathUnescape(h.RawPath); err == nil {
		h.Path = plain
	}
	return h
}

// Which route a path has, and which paths have none, by what the listener and the route say of paths.
func TestRoutesByPath(t *testing.T) {
	byPath := Listener{Routes: []Route{{Path: "/admin", Pool: "admin"}, {Pool: "rest"}}}
	some := func(p Paths, routes ...Route) Listener { return Listener{Paths: p, Routes: routes} }
	redirects := some(PathsAsSent, Route{Host: "r.example", Pool: "away", Link: balance.LinkRedirect}, Route{Pool: "rest"})
	const none, ambiguous = "", "ambiguous"
	for _, c := range []struct {
		l            Listener
		host, target string
		want         string // pool
		newTarget    string // empty: as it was
	}{
		// Only where routes or the listener depend on paths are they looked at.
		{some(PathsAsSent, Route{Pool: "rest"}), "a", "/%c0%ae", "rest", ""},
		{some(PathsAsSent, Route{Pool: "rest", Path: "/"}), "a", "/%c0%ae", "rest", ""},
		{some(PathsAsSent, Route{Pool: "admin", Path: "/admin"}), "a", "/x", none, ""},
		{byPath, "a", "/x", "rest", ""},
		{byPath, "a", "/admin/x", "admin", ""},
		{byPath, "a", "/x/%2e%2e/admin", ambiguous, ""},
		{byPath, "a", "/x/..%2fy", "rest", ""},
		{byPath, "a", "/admin/..%2fy", ambiguous, ""},
		{byPath, "a", "/%c0%ae", ambiguous, ""},
		{byPath, "a", "*", "rest", ""},

		// Strict ones are those that are read in one way. A target that is no path is none.
		{some(PathsStrict, Route{Pool: "rest"}), "a", "/x", "rest", ""},
		{some(PathsStrict, Route{Pool: "rest"}), "a", "/x//y", ambiguous, ""},
		{some(PathsStrict, Route{Pool: "rest"}), "a", "x//y", "rest", ""},
		{some(PathsStrict), "a", "/x", none, ""},
		{some(PathsAsSent, Route{Pool: "strict", Host: "s.example", Paths: PathsStrict}, Route{Pool: "rest"}), "s.example", "/x//y", ambiguous, ""},
		{some(PathsAsSent, Route{Pool: "strict", Host: "s.example", Paths: PathsStrict}, Route{Pool: "rest"}), "a", "/x//y", "rest", ""},
		{some(PathsStrict, Route{Pool: "normal", Host: "n.example", Paths: PathsNormalize}, Route{Pool: "rest"}), "n.example", "/x//y", "normal", "/x/y"},

		// A normal one is what the route is found by, and what goes on.
		{some(PathsNormalize, Route{Pool: "rest"}), "a", "/x//y/%7e%20?q=//", "rest", "/x/y/~%20?q=//"},
		{some(PathsNormalize, Route{Pool: "rest"}), "a", "/x/y?q=//", "rest", ""},
		{some(PathsNormalize, Route{Path: "/admin", Pool: "admin"}, Route{Pool: "rest"}), "a", "/x/../admin", "admin", "/admin"},
		{some(PathsAsSent, Route{Path: "/admin", Pool: "admin"}, Route{Pool: "rest", Paths: PathsNormalize}), "a", "//admin", ambiguous, ""},
		{some(PathsAsSent, Route{Path: "/admin", Pool: "admin"}, Route{Pool: "rest", Paths: PathsNormalize}), "a", "/x//y", "rest", "/x/y"},

		// A redirected client must not get out of the server's own path.
		{redirects, "r.example", "/x", "away", ""},
		{redirects, "r.example", "/../x", ambiguous, ""},
		{redirects, "a", "/../x", "rest", ""},
		{some(PathsAsSent, Route{Host: "r.example", Pool: "away", Link: balance.LinkRedirect}), "a", "/../x", none, ""},
	} {
		h := headOf(c.host, c.target)
		r, newPath, no := bound(t, c.l).FindRoute(h)
		got := none
		switch {
		case no:
			got = ambiguous
		case r != nil:
			got = r.Pool
		}
		if got != c.want {
			t.Errorf("%s%s with %+v: %q, want %q", c.host, c.target, c.l, got, c.want)
		}
		if no {
			continue
		}
		target := c.target
		if c.newTarget != "" {
			target = c.newTarget
		}
		if newPath != (c.newTarget != "") || h.Target != target || !sameHead(h, headOf(c.host, target)) {
			t.Errorf("%s%s with %+v: new %v, goes on as %+v, want %s", c.host, c.target, c.l, newPath, h, target)
		}
	}
}

// sameHead reports whether two heads are for one path, in all its forms.
func sameHead(a, b *RequestInfo) bool {
	return a.Target == b.Target && a.RawPath == b.RawPath && a.Path == b.Path && a.Query == b.Query
}

// A probe ends here when it is for the server as a whole, or its hops are counted down.
func TestProbesThatEndHere(t *testing.T) {
	for _, c := range []struct {
		target, hops string
		want         bool
	}{{"/", "", false}, {"*", "", true}, {"*", "3", true}, {"/", "0", true}, {"/", "000", true}, {"/", "1", false}, {"/", "10", false}} {
		h := headOf("a", c.target)
		h.Headers = lines{"max-forwards": {c.hops}}
		if got := h.EndsHere(); got != c.want {
			t.Errorf("%s with %q hops ends here: %v, want %v", c.target, c.hops, got, c.want)
		}
	}
	for method, want := range map[string]bool{"OPTIONS": true, "TRACE": true, "GET": false, "": false} {
		if IsProbe(method) != want {
			t.Errorf("%q is a probe: %v, want %v", method, !want, want)
		}
	}
}
