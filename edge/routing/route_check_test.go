package routing

import (
	"net/netip"
	"strings"
	"testing"

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
		if text := strings.Join(got, "\n"); (c.want == "") != (text == "") || !strings.Contains(text, c.want) {
			t.Errorf("%+v: got %q, want %q", c.route, text, c.want)
		}
	}
}
