package routing

import "github.com/evenkeel-lb/evenkeel/balance"

// classes are the classes of a route's requests that name none: one for each method, one for connections that are
// upgraded, and one for whatever a TCP listener carries. They are made once, since every ask has one.
type classes [len(classMethods) + 3]string

var classMethods = [...]string{"GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS"}

const (
	classOther = len(classMethods) + iota // any other method
	classUpgrade
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
	c[classOther], c[classUpgrade], c[classTCP] = word("OTHER"), word("upgrade"), word("tcp")
	return c
}

// DefaultClass returns the class of a request that names none: its method and route. Requests for another protocol
// have a class of their own, and gRPC requests one for each method of a service, which is the path.
func (r *BoundRoute) DefaultClass(h *RequestInfo, grpc bool) string {
	switch {
	case h.Upgrade:
		return r.classes[classUpgrade]
	case grpc && balance.BadName(h.Path) == "":
		return h.Path
	}
	return r.classes[classOf(h.Method)]
}

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
