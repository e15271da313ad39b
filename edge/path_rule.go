package edge

import (
	"cmp"
	"net/url"
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/paths"
)

// findRoute returns the route of a request, nil if there is none. ambiguous: none is taken, for a server could
// read the path in another way, and then it would be another route's; or its path is not what the listener or
// the route is content with. newPath: paths are normalised, and the request has another path now than its client
// sent.
func (l *boundListener) findRoute(h *requestInfo) (r *boundRoute, newPath, ambiguous bool) {
	if !l.looksAtPaths || !strings.HasPrefix(h.target, "/") {
		return l.routes.match(h.host, h.path), false, false
	}
	if paths.Overlong(h.raw) {
		return nil, false, true
	}
	if l.Paths == PathsNormalize {
		newPath = h.normalize()
	}
	r = l.routes.match(h.host, h.path)
	mode := l.Paths
	if r != nil {
		mode = cmp.Or(r.Paths, mode)
	}
	switch {
	case mode == PathsStrict && paths.Fault(h.raw) != "":
		return nil, newPath, true
	case mode == PathsNormalize && l.Paths != PathsNormalize:
		newPath = h.normalize()
		if l.routes.match(h.host, h.path) != r {
			return nil, newPath, true
		}
	}
	if r != nil && r.Link == balance.LinkRedirect && paths.Climbs(h.raw) { // a client would get out of the server's own public path
		return nil, newPath, true
	}
	return r, newPath, !paths.Plain(h.raw) && !l.leadsTo(r, h)
}

// leadsTo reports whether the request is the route's however its path is read.
func (l *boundListener) leadsTo(r *boundRoute, h *requestInfo) bool {
	if !l.routes.byPath() {
		return true
	}
	same := true
	return paths.Readings(h.raw, func(reading []byte) bool {
		same = l.routes.match(h.host, unsafeString(reading)) == r
		return same
	}) && same
}

// normalize normalises the path, and reports whether that has changed it.
func (h *requestInfo) normalize() bool {
	normal := string(paths.Normalize(nil, h.raw))
	if normal == h.raw {
		return false
	}
	h.target = normal + h.target[len(h.raw):]
	h.raw, h.path = normal, normal
	if plain, err := url.PathUnescape(normal); err == nil {
		h.path = plain
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
func (l *boundListener) lookAtPaths() bool {
	for _, r := range l.routes {
		if r.Paths != PathsAsSent || r.Link == balance.LinkRedirect {
			return true
		}
	}
	return l.Paths != PathsAsSent || l.routes.byPath()
}
