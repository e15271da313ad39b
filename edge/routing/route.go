package routing

import (
	"cmp"
	"crypto/tls"
	"slices"
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/tenants"
)

// BoundRoute is a Route prepared for use.
type BoundRoute struct {
	Route                          // its defaults are filled in; zero BufferRequest: no body is read first, zero BodyRate: any rate
	suffix                  string // of the host, with its dot, if Host begins with *
	PoolNumber              int    // of the pool, among those of the edge
	KeySource, TenantSource *Source
	BoundFacts              *BoundFacts  // nil: the route says nothing of facts
	classes                 classes      // of requests that name none
	TenantRule              tenants.Rule // how the tenant is established
	Drops                   *dropNames
	Upgrades                Upgrades
	AwaitsMessage           bool        // servers speak HTTP/2: only the first message of gRPC requests is read first
	DialTLS                 *tls.Config // of connections to servers with TLS; routes with equal settings share it. nil: the servers are plain
}

// boundRoutes are in the order in which they are tried: the most specific host first, and for one host the
// longest path.
type boundRoutes []*BoundRoute

// bindRoutes prepares routes. proxies: the listener has trusted ones. poolNumber numbers the pools.
func bindRoutes(list []Route, proxies bool, poolNumber func(name string) int) (boundRoutes, error) {
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
		facts, err := bindFacts(&r.Facts, proxies)
		if err != nil {
			return nil, err
		}
		r = r.withDefaults()
		ready := &BoundRoute{Route: r, PoolNumber: poolNumber(r.Pool), KeySource: key, TenantSource: tenant, Upgrades: NewUpgrades(r.Upgrade), AwaitsMessage: r.ServerProtocol == HTTP2, BoundFacts: facts, classes: newClasses(r.Host + r.Path)}
		if suffix, any := strings.CutPrefix(r.Host, "*"); any {
			ready.suffix = suffix
		}
		ready.setTenantRule(proxies)
		rs = append(rs, ready)
	}
	slices.SortStableFunc(rs, func(a, b *BoundRoute) int {
		return cmp.Or(cmp.Compare(b.hostRank(), a.hostRank()), cmp.Compare(len(b.Path), len(a.Path)))
	})
	return rs, nil
}

// hostRank orders hosts: exact ones, then suffixes by length, then any.
func (r *BoundRoute) hostRank() int {
	switch {
	case r.Host == "":
		return -1
	case r.suffix != "":
		return len(r.suffix)
	}
	return 1 << 16
}

// Buffers reports whether a request's body is read before a server is asked for. grpc: it is a gRPC request.
func (r *BoundRoute) Buffers(grpc bool) bool {
	return r.BufferRequest > 0 && r.Link == balance.LinkRoute && (!r.AwaitsMessage || grpc)
}

// ReadsBody reports whether something of a request is read from its body.
func (r *BoundRoute) ReadsBody() bool {
	return r.KeySource.ReadsBody() || r.TenantSource.ReadsBody() || r.BoundFacts.ReadsBody()
}

// Match returns the route for a request, or nil.
func (rs boundRoutes) Match(host, path string) *BoundRoute {
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

func (r *BoundRoute) takesHost(host string) bool {
	if r.suffix != "" {
		return len(host) > len(r.suffix) && strings.HasSuffix(host, r.suffix)
	}
	return r.Host == "" || r.Host == host
}

// takesPath compares whole segments: /v1 takes /v1 and /v1/x, not /v10.
func (r *BoundRoute) takesPath(path string) bool {
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
