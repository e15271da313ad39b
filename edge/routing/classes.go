package routing

import (
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// classes are the classes of a route's requests that name none: one for each method, one for connections that are
// upgraded, one for streams of events, and one for whatever a TCP listener carries. They are made once, since every ask has one.
type classes [len(classMethods) + 4]string

var classMethods = [...]string{"GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"}

const (
	classOther = len(classMethods) + iota // any other method
	classUpgrade
	classStream
	classTCP
)

// newClasses returns the classes of a route that takes a host and path.
func newClasses(route string) (c classes) {
	word := func(first string) string {
		if route != "" {
			first += ":" + route
		}
		return first[:min(len(first), balance.MaxName)]
	}
	for i, method := range classMethods {
		c[i] = word(method)
	}
	c[classOther], c[classUpgrade], c[classStream], c[classTCP] = word("OTHER"), word("upgrade"), word("stream"), word("tcp")
	return c
}

// DefaultClass returns the class of a request that names none: its method and route. Requests for another protocol
// have a class of their own, and so have those for a stream of server-sent events, which take as long as their client stays; gRPC
// requests have one for each method of a service, which is the path.
func (r *BoundRoute) DefaultClass(h *RequestInfo, grpc bool) string {
	switch {
	case h.Upgrade:
		return r.classes[classUpgrade]
	case grpc && balance.BadName(h.Path) == "":
		return h.Path
	case h.Headers != nil && strings.HasPrefix(h.First("accept"), eventStream):
		return r.classes[classStream]
	}
	return r.classes[classOf(h.Method)]
}

// eventStream is the media type that a client of server-sent events asks for (HTML, 9.2).
const eventStream = "text/event-stream"

// classOf returns the index of a method's class.
func classOf(method string) int {
	if method == "" {
		return classTCP
	}
	for i := range classMethods {
		if classMethods[i] == method {
			return i
		}
	}
	return classOther
}
