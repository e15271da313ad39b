package edge

import (
	"cmp"
	"net/url"
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/paths"
)

// findRoute returns the route of the request, nil if there is none. ambiguous: none is taken, for a
// server could read the path in another way, and then it would be another route's; or its path is
// not what the listener or the route is content with. Where paths are normalised the request goes
// on with another path than its client sent.
func (x *exchange) findRoute() (r *boundRoute, ambiguous bool) {
	l, h := x.listener, &x.head
	if !l.looksAtPaths || !strings.HasPrefix(h.target, "/") {
		return l.routes.match(h.host, h.path), false
	}
	if paths.Overlong(h.raw) {
		return nil, true
	}
	if l.Paths == PathsNormalize {
		x.normalize()
	}
	r = l.routes.match(h.host, h.path)
	mode := l.Paths
	if r != nil {
		mode = cmp.Or(r.Paths, mode)
	}
	switch {
	case mode == PathsStrict && paths.Fault(h.raw) != "":
		return nil, true
	case mode == PathsNormalize && l.Paths != PathsNormalize:
		x.normalize()
		if l.routes.match(h.host, h.path) != r {
			return nil, true
		}
	}
	if r != nil && r.Link == balance.LinkRedirect && paths.Climbs(h.raw) { // a client would get out of the server's own public path
		return nil, true
	}
	return r, !paths.Plain(h.raw) && !l.leadsTo(r, h)
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

// normalize normalises the path.
func (x *exchange) normalize() {
	h := &x.head
	normal := string(paths.Normalize(nil, h.raw))
	if normal == h.raw {
		return
	}
	h.target = normal + h.target[len(h.raw):]
	h.raw, x.newPath = normal, true
	h.path = normal
	if plain, err := url.PathUnescape(normal); err == nil {
		h.path = plain
	}
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
