package routing

import (
	"net/netip"
	"testing"
)

// What clients write into a head reaches routes and keys.
func FuzzHead(f *testing.F) {
	f.Add("www.example:80", "/v1/x", "a=1&b=2", "192.0.2.1, [2001:db8::1]:80", "sid=1; x=y")
	f.Add("[::1]", "//", "%zz=&=;", ",,", "=;=")
	f.Add("a\"\\\r\n", "", "k", "unknown", ";")
	rs, err := bindRoutes([]Route{{Host: "*.example", Pool: "a"}, {Path: "/v1", Pool: "b"}, {Pool: "c"}}, false, func(string) int { return 0 })
	if err != nil {
		f.Fatal(err)
	}
	var sources []*Source
	for _, spec := range []string{"client", "path", "query:k", "cookie:sid", "header:X-Forwarded-For"} {
		s, err := newKeySource(spec)
		if err != nil {
			f.Fatal(err)
		}
		sources = append(sources, s)
	}
	l := &BoundListener{Listener: Listener{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}}
	f.Fuzz(func(t *testing.T, host, path, query, chain, cookies string) {
		h := RequestInfo{Host: host, Path: path, Query: query, Peer: netip.MustParseAddr("127.0.0.1"), Headers: lines{"x-forwarded-for": {chain}, "cookie": {cookies}}}
		if rs.Match(host, path) == nil {
			t.Errorf("%q %q: no route, though one takes all", host, path)
		}
		client := l.ClientAddr(&h)
		if !client.IsValid() {
			t.Errorf("chain %q: client %v", chain, client)
		}
		for _, s := range sources {
			s.Read(&h, client)
		}
	})
}
