package edge

import (
	"slices"
	"strings"

	"github.com/evenkeel-lb/evenkeel/edge/tenants"
	"github.com/evenkeel-lb/evenkeel/http1"
)

// newTenantSource returns nil unless the tenant is read from the request itself.
func newTenantSource(spec string) (keySource, error) {
	if proof, _, err := tenants.Parse(spec); proof != tenants.None || err != nil {
		return nil, err
	}
	return newKeySource(spec)
}

// setTenantRule prepares the route's tenant rule. proxies: the listener has trusted ones.
func (r *boundRoute) setTenantRule(proxies bool) {
	r.rule.Source, _, _ = tenants.Parse(r.Tenant)
	r.rule.From, r.rule.Tokens = r.TenantFrom, r.TenantTokens
	if r.rule.Source == tenants.None && r.tenant != nil {
		r.rule.Source = tenants.Plain
		if header, is := strings.CutPrefix(r.Tenant, "header:"); is {
			r.rule.Header = plainField(header)
		}
	}
	if r.rule.From == tenants.Default {
		if r.rule.From = tenants.Any; proxies && r.rule.Header != "" {
			r.rule.From = tenants.Trusted
		}
	}
	if r.drops = &usualDropNames; r.rule.Drops() {
		own := []string{r.rule.Header}
		r.drops = &dropNames{
			clients:  http1.NewNames(slices.Concat(reserved, origin, rewritten, own)...),
			probes:   http1.NewNames(slices.Concat(reserved, origin, rewritten, steps, own)...),
			trailers: http1.NewNames(slices.Concat(reserved, origin, rewritten, own)...),
		}
	}
}
