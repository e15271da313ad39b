package edge

import (
	"fmt"
	"net/url"
	"strings"

	"golang.org/x/net/idna"
)

// This file validates a route's conditions.

// badRouteHost returns what is wrong with a route's host, or "". It is compared with a field of
// the request, which is ASCII.
func badRouteHost(host string) string {
	name := strings.TrimPrefix(host, "*.")
	bare := name // without what does not belong there
	if _, rest, ok := strings.Cut(bare, "://"); ok {
		bare = rest
	}
	bare, _, _ = strings.Cut(bare, "/")
	if !strings.HasPrefix(bare, "[") {
		bare, _, _ = strings.Cut(bare, ":")
	}
	switch {
	case host == "":
		return ""
	case strings.ContainsFunc(name, func(r rune) bool { return r > '~' }):
		if ascii, err := idna.Lookup.ToASCII(bare); err == nil {
			return fmt.Sprintf("%q is not ASCII, as clients send it: want %q", host, strings.TrimSuffix(host, name)+ascii)
		}
		return fmt.Sprintf("%q is not ASCII, and no name that can be written so (punycode)", host)
	case bare != name && bare != "" && !strings.ContainsAny(bare, "* "):
		return fmt.Sprintf("%q, want the name alone, without scheme, port or path: %q", host, strings.TrimSuffix(host, name)+bare)
	case name == "" || strings.ContainsAny(name, "*/ ") || strings.Contains(name, ":") && !strings.HasPrefix(name, "["):
		return fmt.Sprintf("%q, want a name without port, such as www.example, or *.example for all below it", host)
	}
	return ""
}

// badRoutePath returns what is wrong with a route's path, or "". It is compared, segment by
// segment, with the path of the request, decoded and without its query.
func badRoutePath(path string) string {
	if path == "" {
		return ""
	}
	plain, _, _ := strings.Cut(path, "?")
	plain, _, _ = strings.Cut(plain, "#")
	switch {
	case path[0] == '^' || strings.HasPrefix(path, "~"):
		return fmt.Sprintf("%q, want the path's first segments, such as /v1: a regular expression is not taken", path)
	case path[0] != '/':
		return fmt.Sprintf("%q, want a leading /: %q", path, "/"+path)
	case plain != path:
		return fmt.Sprintf("%q: a query is not compared, want %q", path, plain)
	case strings.ContainsAny(path, "*"):
		before, _, _ := strings.Cut(path, "*")
		want := plainPath(before[:strings.LastIndexByte(before, '/')])
		if want == "" {
			return fmt.Sprintf("%q: a * stands for nothing here; leave the path out to take all", path)
		}
		return fmt.Sprintf("%q: a * stands for nothing here, want %q, which is all below it too", path, want)
	case strings.Contains(path, "%"):
		if decoded, err := url.PathUnescape(path); err == nil && decoded != path {
			return fmt.Sprintf("%q: it is compared with the decoded path, want %q", path, decoded)
		}
		return fmt.Sprintf("%q: a %% is no path's, which is compared decoded", path)
	case strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return fmt.Sprintf("%q has a blank or a character that cannot be printed", path)
	}
	return ""
}
