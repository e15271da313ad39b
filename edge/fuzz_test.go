package edge

import (
	"net/netip"
	"strings"
	"testing"
)

// What clients write into a head reaches routes, keys, headers and logs.
func FuzzHead(f *testing.F) {
	f.Add("www.example:80", "/v1/x", "a=1&b=2", "192.0.2.1, [2001:db8::1]:80", "sid=1; x=y", "id-1")
	f.Add("[::1]", "//", "%zz=&=;", ",,", "=;=", "")
	f.Add("a\"\\\r\n", "", "k", "unknown", ";", " ")
	rs, err := bindRoutes([]Route{{Host: "*.example", Pool: "a"}, {Path: "/v1", Pool: "b"}, {Pool: "c"}}, func(string) *pool { return nil })
	if err != nil {
		f.Fatal(err)
	}
	var sources []keySource
	for _, spec := range []string{"client", "path", "query:k", "cookie:sid", "header:X-Forwarded-For"} {
		s, err := newKeySource(spec)
		if err != nil {
			f.Fatal(err)
		}
		sources = append(sources, s)
	}
	l := &boundListener{Listener: Listener{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}}
	f.Fuzz(func(t *testing.T, host, path, query, chain, cookies, id string) {
		h := requestInfo{host: host, path: path, query: query, peer: netip.MustParseAddr("127.0.0.1"), headers: lines{"x-forwarded-for": {chain}, "cookie": {cookies}}}
		if rs.match(host, path) == nil {
			t.Errorf("%q %q: no route, though one takes all", host, path)
		}
		client := l.client(&h)
		if !client.IsValid() {
			t.Errorf("chain %q: client %v", chain, client)
		}
		for _, s := range sources {
			s.read(&h, client)
		}
		if kept := new(exchange).requestID(id); kept == "" || len(kept) > longestRequestID || strings.ContainsAny(kept, " \"\r\n") {
			t.Errorf("id %q became %q", id, kept)
		}
		element := string(appendForwarded(nil, appendNode(nil, client), host, "http"))
		rest, ok := strings.CutSuffix(element, ";proto=http")
		_, told, found := strings.Cut(rest, ";host=")
		if !ok || !found || !isToken(told) && !quoted(told) {
			t.Errorf("host %q: Forwarded %q", host, element)
		}
	})
}

// quoted reports whether s is one quoted string from its first byte to its last.
func quoted(s string) bool {
	if len(s) < 2 || s[0] != '"' {
		return false
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i == len(s)-1
		}
	}
	return false
}
