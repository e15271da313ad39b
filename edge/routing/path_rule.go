package routing

import (
	"cmp"
	"net/url"
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/paths"
)

// FindRoute returns the route of a request, nil if there is none. ambiguous: none is taken, for a server could
// read the path in another way, and then it would be another route's; or its path is not what the listener or
// the route is content with. newPath: paths are normalised, and the request has another path now than its client
// sent.
func (l *BoundListener) FindRoute(h *RequestInfo) (r *BoundRoute, newPath, ambiguous bool) {
	if !l.looksAtPaths || !strings.HasPrefix(h.Target, "/") {
		return l.BoundRoutes.Match(h.Host, h.Path), false, false
	}
	if paths.Overlong(h.RawPath) {
		return nil, false, true
	}
	if l.Paths == PathsNormalize {
		newPath = h.normalize()
	}
	r = l.BoundRoutes.Match(h.Host, h.Path)
	mode := l.Paths
	if r != nil {
		mode = cmp.Or(r.Paths, mode)
	}
	switch {
	case mode == PathsStrict && paths.Fault(h.RawPath) != "":
		return nil, newPath, true
	case mode == PathsNormalize && l.Paths != PathsNormalize:
		newPath = h.normalize()
		if l.BoundRoutes.Match(h.Host, h.Path) != r {
			return nil, newPath, true
		}
	}
	if r != nil && r.Link == balance.LinkRedirect && paths.Climbs(h.RawPath) { // a client would get out of the server's own public path
		return nil, newPath, true
	}
	return r, newPath, !paths.Plain(h.RawPath) && !l.leadsTo(r, h)
}

// leadsTo reports whether the request is the route's however its path is read.
func (l *BoundListener) leadsTo(r *BoundRoute, h *RequestInfo) bool {
	if !l.BoundRoutes.byPath() {
		return true
	}
	same := true
	return paths.Readings(h.RawPath, func(reading []byte) bool {
		same = l.BoundRoutes.Match(h.Host, UnsafeString(reading)) == r
		return same
	}) && same
}

// normalize normalises the path, and reports whether that has changed it.
func (h *RequestInfo) normalize() bool {
	normal := string(paths.Normalize(nil, h.RawPath))
	if normal == h.RawPath {
		return false
	}
	h.Target = normal + h.Target[len(h.RawPath):]
	h.RawPath, h.Path = normal, normal
	if plain, err := url.PathUnescape(normal); err == nil {
		h.Path = plain
	}
	return true
}

// byPath reports whether any route is for some paths only.
func (rs boundRoutes) byPath() bool {
	for _, r := range rs {
		if r.Path != "" && r.Path != "/" {
			return true
		}
	}
	return false
}

// lookAtPaths reports whether paths mean anything to the listener.
func (l *BoundListener) lookAtPaths() bool {
	for _, r := range l.BoundRoutes {
		if r.Paths != PathsAsSent || r.Link == balance.LinkRedirect {
			return true
		}
	}
	return l.Paths != PathsAsSent || l.BoundRoutes.byPath()
}
