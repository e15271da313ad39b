package routing

import (
	"crypto/x509"
	"net/netip"
	"strings"
	"testing"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/tenants"
)

func TestRulesOfTenantsThatCannotBe(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	verifier := &tenants.Verifier{Header: "authorization"}
	for _, c := range []struct {
		l     Listener
		route Route
		want  string
	}{
		{Listener{}, Route{Tenant: "cert:subject"}, "tenant: cert:subject: clients are asked for no certificate"},
		{Listener{}, Route{Tenant: "cert:san"}, "tenant: cert:san: clients are asked for no certificate"},
		{Listener{ClientCerts: ClientCerts{Authorities: x509.NewCertPool()}}, Route{Tenant: "cert:san"}, ""},
		{Listener{}, Route{Tenant: "json:/t", BufferRequest: -1}, "tenant: reads the body"},
		{Listener{}, Route{Tenant: "cert:cn"}, "want cert:subject or cert:san"},
		{Listener{}, Route{Tenant: "jwt:sub"}, "See tenant_jwt"},
		{Listener{}, Route{Tenant: "client", TenantTokens: verifier}, "tenant_jwt: it is for"},
		{Listener{}, Route{Tenant: "jwt:sub", TenantTokens: &tenants.Verifier{Header: "a b"}}, "tenant_jwt.header: "},
		{Listener{TrustedProxies: proxies}, Route{Tenant: "cookie:t", TenantFrom: tenants.Trusted}, "tenant_from: it is for tenant: header:NAME"},
		{Listener{}, Route{Tenant: "header:X", TenantFrom: tenants.Trusted}, "no trusted_proxies"},
		{Listener{}, Route{Tenant: "headr:X"}, "cert:subject, cert:san or jwt:CLAIM"},
		{Listener{TrustedProxies: proxies}, Route{Tenant: "header:X", TenantFrom: tenants.Trusted}, ""},
		{Listener{}, Route{Tenant: "jwt:sub", TenantTokens: verifier}, ""},
	} {
		var got []string
		c.route.validateTenant(&c.l, func(field, problem string) { got = append(got, field+": "+problem) })
		if text := strings.Join(got, "\n"); (c.want == "") != (text == "") || !strings.Contains(text, c.want) || strings.Contains(text, "\n") {
			t.Errorf("%+v: got %q, want %q", c.route, text, c.want)
		}
	}
}

// routeProblems returns what is wrong with a route of pool p, with the fields.
func routeProblems(r Route) string {
	var all []string
	r.Validate(func(field, problem string) { all = append(all, field+": "+problem) })
	return strings.Join(all, "\n")
}

func TestBadRoutes(t *testing.T) {
	for _, c := range []struct {
		route Route
		want  string // empty: it is good
	}{
		{Route{Pool: "p", Upgrade: []string{"WebSocket", "spdy/3.1"}, Link: balance.LinkRedirect, ServerProtocol: HTTP2, LeaseParam: "lease", WhileWaiting: "103"}, ""},
		{Route{Pool: ""}, `pool: "", want the name`},
		{Route{Pool: "a b"}, `pool: "a b", want the name`},
		{Route{Pool: "p", Host: "a b"}, "host: "},
		{Route{Pool: "p", Path: "v1"}, "path: "},
		{Route{Pool: "p", Upgrade: []string{"websocket", "/1"}}, `upgrade[1]: "/1", want the name`},
		{Route{Pool: "p", Upgrade: []string{"H2C"}}, `upgrade[0]: "H2C": requests of another HTTP`},
		{Route{Pool: "p", Upgrade: []string{"h2"}}, `upgrade[0]: "h2": requests of another HTTP`},
		{Route{Pool: "p", Upgrade: []string{"HTTP/2.0"}}, `upgrade[0]: "HTTP/2.0": requests of another HTTP`},
		{Route{Pool: "p", Link: balance.LinkRedirect + 1}, "link: "},
		{Route{Pool: "p", ServerProtocol: HTTP2 + 1}, "server_protocol: "},
		{Route{Pool: "p", LeaseParam: "a=b"}, `lease_param: "a=b"`},
		{Route{Pool: "p", Key: "nothing"}, `key: "nothing"`},
		{Route{Pool: "p", Timeout: -1}, "timeout: "},
		{Route{Pool: "p", WhileWaiting: "102"}, `while_waiting: "102"`},
	} {
		if got := routeProblems(c.route); (got == "") != (c.want == "") || !strings.HasPrefix(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("%+v: problems %q, want %q alone", c.route, got, c.want)
		}
	}
}

// A host is told how it should be written, as far as that can be known.
func TestBadHosts(t *testing.T) {
	for host, want := range map[string]string{
		"": "", "a.example": "", "*.a.example": "", "[::1]": "", "a~b": "",
		"http://a.example":         `without scheme, port or path: "a.example"`,
		"https://*.a.example":      "want a name without port",
		"*.a.example/v1":           `without scheme, port or path: "*.a.example"`,
		"a.example:80":             `without scheme, port or path: "a.example"`,
		"http://[::1]/x":           `without scheme, port or path: "[::1]"`,
		"a*b:80":                   "want a name without port",
		"a b":                      "want a name without port",
		"*":                        "want a name without port",
		"*.":                       "want a name without port",
		":80":                      "want a name without port",
		"/v1":                      "want a name without port",
		"münchen.example":          `not ASCII, as clients send it: want "xn--mnchen-3ya.example"`,
		"*.münchen.example":        `not ASCII, as clients send it: want "*.xn--mnchen-3ya.example"`,
		"http://münchen.example:1": `not ASCII, as clients send it: want "xn--mnchen-3ya.example"`,
		"a\u200b\x7f.example":      "no name that can be written so",
	} {
		if got := badRouteHost(host); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", host, got, want)
		}
	}
}

func TestBadPaths(t *testing.T) {
	for path, want := range map[string]string{
		"": "", "/": "", "/v1": "", "/v1/": "", "/é!": "",
		"^/v1":      "a regular expression is not taken",
		"~ /v1":     "a regular expression is not taken",
		"v1":        `want a leading /: "/v1"`,
		"/v1?a":     `a query is not compared, want "/v1"`,
		"/v1#a":     `a query is not compared, want "/v1"`,
		"/v1/*":     `want "/v1", which is all below it too`,
		"/v1/a*b/c": `want "/v1", which is all below it too`,
		"/*":        "leave the path out to take all",
		"//*":       "leave the path out to take all",
		"/a%20b":    `it is compared with the decoded path, want "/a b"`,
		"/a%zz":     "is no path's, which is compared decoded",
		"/a b":      "has a blank",
		"/a\x01":    "has a blank",
		"/a\x7f":    "has a blank",
	} {
		if got := badRoutePath(path); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}
