package edge

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/policy"
	"github.com/evenkeel-lb/evenkeel/edge/tenants"
)

// requestInfo is what routing needs of a request's head.
type requestInfo struct {
	method    string
	target    string // path and query as received
	host      string // with its port, if there is one
	raw       string // path as received
	path      string // decoded
	query     string // as received
	proto     string // 1.0, 1.1 or 2
	secure    bool   // over TLS
	upgrade   bool   // it requests another protocol
	peer      netip.Addr
	clientTLS *clientTLS // by TLS; nil: nothing
	headers
}

// headers are the fields of a request. Names are in lower case, and _ equals -.
type headers interface {
	first(lower string) string // empty: none
	all(lower string) []string
}

// boundRoute is a Route prepared for use.
type boundRoute struct {
	Route
	suffix      string // of the host, with its dot, if Host begins with *
	pool        *pool
	key, tenant keySource
	rule        tenants.Rule // how the tenant is established
	drops       *dropNames
	timeout     time.Duration
	upgrades    policy.Upgrades
	bodyBuffer  int64 // bytes of a body that are read before a server is asked for; zero: none
	bodyRate    int64 // least bytes a second of a body; zero: any

	awaitsMessage bool // servers speak HTTP/2: only the first message of gRPC requests is read first

	fixedHeaders string      // header lines sent to servers with every request
	tls          *tls.Config // of connections to servers with TLS; routes with equal settings share it. nil: the servers are plain
}

// boundRoutes are in the order in which they are tried: the most specific host first, and for one host the
// longest path.
type boundRoutes []*boundRoute

func bindRoutes(list []Route, poolOf func(name string) *pool) (boundRoutes, error) {
	rs := make(boundRoutes, 0, len(list))
	for _, r := range list {
		key, err := newKeySource(r.Key)
		if err != nil {
			return nil, err
		}
		tenant, err := newTenantSource(r.Tenant)
		if err != nil {
			return nil, err
		}
		r.Host, r.Path = plainHost(r.Host), plainPath(r.Path)
		ready := &boundRoute{Route: r, pool: poolOf(r.Pool), key: key, tenant: tenant, timeout: cmp.Or(r.Timeout, defaultRouteTimeout), upgrades: policy.NewUpgrades(r.Upgrade)}
		ready.bodyBuffer = max(0, cmp.Or(r.BufferRequest, defaultBufferRequest))
		ready.bodyRate = max(0, cmp.Or(r.BodyRate, defaultBodyRate))
		ready.awaitsMessage = r.ServerProtocol == HTTP2
		if suffix, any := strings.CutPrefix(r.Host, "*"); any {
			ready.suffix = suffix
		}
		ready.setTenantRule(false)
		rs = append(rs, ready)
	}
	slices.SortStableFunc(rs, func(a, b *boundRoute) int {
		return cmp.Or(cmp.Compare(b.hostRank(), a.hostRank()), cmp.Compare(len(b.Path), len(a.Path)))
	})
	return rs, nil
}

// hostRank orders hosts: exact ones, then suffixes by length, then any.
func (r *boundRoute) hostRank() int {
	switch {
	case r.Host == "":
		return -1
	case r.suffix != "":
		return len(r.suffix)
	}
	return 1 << 16
}

// buffers reports whether a request's body is read before a server is asked for.
func (r *boundRoute) buffers(x *exchange) bool {
	return r.bodyBuffer > 0 && r.Link == balance.LinkRoute && (!r.awaitsMessage || x.grpc)
}

// match returns the route for a request, or nil.
func (rs boundRoutes) match(host, path string) *boundRoute {
	if len(rs) > 0 && rs[0].Host != "" { // otherwise no route has a host
		host = plainHost(host)
	}
	for _, r := range rs {
		if r.takesHost(host) && r.takesPath(path) {
			return r
		}
	}
	return nil
}

func (r *boundRoute) takesHost(host string) bool {
	if r.suffix != "" {
		return len(host) > len(r.suffix) && strings.HasSuffix(host, r.suffix)
	}
	return r.Host == "" || r.Host == host
}

// takesPath compares whole segments: /v1 takes /v1 and /v1/x, not /v10.
func (r *boundRoute) takesPath(path string) bool {
	rest, ok := strings.CutPrefix(path, r.Path)
	return ok && (rest == "" || r.Path == "" || rest[0] == '/')
}

// plainPath removes trailing slashes: they make no difference.
func plainPath(path string) string { return strings.TrimRight(path, "/") }

// plainHost removes the port and the root's dot.
func plainHost(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// keySource reads a key or a tenant from a request's head; nil reads none.
type keySource func(h *requestInfo, client netip.Addr) string

func newKeySource(spec string) (keySource, error) {
	kind, name, named := strings.Cut(spec, ":")
	switch {
	case spec == "":
		return nil, nil
	case spec == "client":
		return func(_ *requestInfo, client netip.Addr) string { return node(client) }, nil
	case spec == "path":
		return func(h *requestInfo, _ netip.Addr) string { return h.path }, nil
	case named && name != "" && kind == "header":
		name = plainField(name)
		return func(h *requestInfo, _ netip.Addr) string { return h.first(name) }, nil
	case named && name != "" && kind == "cookie":
		return func(h *requestInfo, _ netip.Addr) string { return cookie(h.all("cookie"), name) }, nil
	case named && name != "" && kind == "query":
		return func(h *requestInfo, _ netip.Addr) string { return parameter(h.query, name) }, nil
	}
	return nil, fmt.Errorf("%q, want header:NAME, cookie:NAME, query:NAME, client or path", spec)
}

func (s keySource) read(h *requestInfo, client netip.Addr) string {
	if s == nil {
		return ""
	}
	return s(h, client)
}

func cookie(lines []string, name string) string {
	for _, line := range lines {
		for pair := range strings.SplitSeq(line, ";") {
			if k, v, _ := strings.Cut(strings.TrimSpace(pair), "="); k == name {
				return v
			}
		}
	}
	return ""
}

func parameter(query, name string) string {
	for pair := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(pair, "=")
		if k, err := url.QueryUnescape(k); err != nil || k != name {
			continue
		}
		if v, err := url.QueryUnescape(v); err == nil {
			return v
		}
	}
	return ""
}

// withoutParameter returns a target without a query parameter.
func withoutParameter(target, name string) string {
	path, query, some := strings.Cut(target, "?")
	if !some || parameterCount(query, name) == 0 {
		return target
	}
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		if parameterCount(pair, name) == 0 {
			kept = append(kept, pair)
		}
	}
	if len(kept) == 0 {
		return path
	}
	return path + "?" + strings.Join(kept, "&")
}

func parameterCount(query, name string) (n int) {
	for pair := range strings.SplitSeq(query, "&") {
		k, _, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(k); k == name || err == nil && plain == name {
			n++
		}
	}
	return n
}
