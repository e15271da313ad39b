package routing

import (
	"strings"

	"github.com/evenkeel-lb/evenkeel/edge/tenants"
)

// newTenantSource returns nil unless the tenant is read from the request itself.
func newTenantSource(spec string) (*Source, error) {
	if proof, _, err := tenants.Parse(spec); proof != tenants.None || err != nil {
		return nil, err
	}
	return newKeySource(spec)
}

// setTenantRule prepares the route's tenant rule. proxies: the listener has trusted ones.
func (r *BoundRoute) setTenantRule(proxies bool) {
	r.TenantRule.Source, _, _ = tenants.Parse(r.Tenant)
	r.TenantRule.From, r.TenantRule.Tokens = r.TenantFrom, r.TenantTokens
	if r.TenantRule.Source == tenants.None && r.TenantSource != nil {
		r.TenantRule.Source = tenants.Plain
		if header, is := strings.CutPrefix(r.Tenant, "header:"); is {
			r.TenantRule.Header = plainField(header)
		}
	}
	if r.TenantRule.From == tenants.Default {
		if r.TenantRule.From = tenants.Any; proxies && r.TenantRule.Header != "" {
			r.TenantRule.From = tenants.Trusted
		}
	}
	if r.Drops = usualDropNames; r.TenantRule.Drops() {
		r.Drops = newDropNames(r.TenantRule.Header)
	}
}
