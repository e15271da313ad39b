package edge

import (
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/tenants"
	"github.com/evenkeel-lb/evenkeel/http1"
)

// dropNames are the names of fields that a route's servers are not sent.
type dropNames struct {
	clients, probes *http1.Names // of untrusted clients, and of their OPTIONS and TRACE
	trailers        *http1.Names // of all trailers
}

var usualDropNames = dropNames{fromClients, probesOfClients, noTrailers}

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

// readTenant determines the request's tenant.
func (x *exchange) readTenant() {
	h, rule := &x.head, &x.route.rule
	var said tenants.Said
	var now time.Time
	switch rule.Source {
	case tenants.None:
		return
	case tenants.Plain:
		said.Value = x.route.tenant(h, x.client)
		if rule.From == tenants.Trusted {
			said.Trusted = x.listener.trusts(h.peer)
			said.Several = said.Trusted && len(h.all(rule.Header)) > 1
		}
	case tenants.Subject:
		if h.clientTLS != nil {
			said.Value = h.clientTLS.subject
		}
	case tenants.AltName:
		if h.clientTLS != nil {
			said.Value = h.clientTLS.altName
		}
	case tenants.Token:
		said.Value, now = h.first(rule.Tokens.Header), time.Now()
	}
	t := rule.Judge(now, said)
	x.request.Tenant, x.request.Belief, x.disbelief = x.text.clone(t.Name), t.Belief, t.Why
	if t.Belief == balance.Disbelieved {
		x.route.pool.disbelieved.Inc()
	}
}

// appendTenant appends the request's tenant for the log.
func (x *exchange) appendTenant(attrs []slog.Attr) []slog.Attr {
	switch {
	case x.disbelief != nil && x.request.Tenant == "":
		return append(attrs, slog.String("tenant_err", x.disbelief.Error()))
	case x.disbelief != nil:
		return append(attrs, slog.String("tenant_claimed", strings.Clone(x.request.Tenant)), slog.String("tenant_err", x.disbelief.Error()))
	case x.request.Tenant != "":
		return append(attrs, slog.String("tenant", strings.Clone(x.request.Tenant)))
	}
	return attrs
}

// plainField normalises a field's name.
func plainField(name string) string { return strings.ReplaceAll(strings.ToLower(name), "_", "-") }

// validateTenant calls bad once for every invalid field about tenants.
func (r *Route) validateTenant(l *Listener, bad func(field, problem string)) {
	source, _, err := tenants.Parse(r.Tenant)
	if err != nil {
		bad("tenant", err.Error())
		return
	}
	if source == tenants.None {
		if _, err := newKeySource(r.Tenant); err != nil {
			bad("tenant", err.Error()+", cert:subject, cert:san or jwt:CLAIM")
		}
	}
	header := strings.HasPrefix(r.Tenant, "header:")
	switch {
	case (source == tenants.Subject || source == tenants.AltName) && l.ClientCerts.Authorities == nil:
		bad("tenant", r.Tenant+": clients are asked for no certificate here, see client_certificates in the listener's tls")
	case source == tenants.Token && r.TenantTokens == nil:
		bad("tenant", r.Tenant+": by which keys? See tenant_jwt")
	case source != tenants.Token && r.TenantTokens != nil:
		bad("tenant_jwt", "it is for tenant: jwt:CLAIM")
	case r.TenantTokens != nil && !isToken(r.TenantTokens.Header):
		bad("tenant_jwt.header", "want the name of a header")
	}
	switch {
	case r.TenantFrom != tenants.Default && !header:
		bad("tenant_from", "it is for tenant: header:NAME; any client can write other parts of a request, and certificates and tokens are proofs")
	case r.TenantFrom == tenants.Trusted && len(l.TrustedProxies) == 0:
		bad("tenant_from", "trusted: the listener has no trusted_proxies, so no tenant would be believed")
	}
}
