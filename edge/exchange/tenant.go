package exchange

import (
	"log/slog"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/edge/tenants"
)

// readTenant determines the request's tenant.
func (x *Exchange) readTenant() {
	h, rule := &x.Head, &x.Route.TenantRule
	var said tenants.Said
	var now time.Time
	switch rule.Source {
	case tenants.None:
		return
	case tenants.Plain:
		var how routing.Reading
		said.Value, how = x.Route.TenantSource.Read(h, x.ClientAddr)
		x.faults.Note(routing.FactTenant, how)
		if rule.From == tenants.Trusted {
			said.Trusted = x.listener.Trusts(h.Peer)
			said.Several = said.Trusted && len(h.All(rule.Header)) > 1
		}
	case tenants.Subject:
		if h.ClientTLS != nil {
			said.Value = h.ClientTLS.Subject
		}
	case tenants.AltName:
		if h.ClientTLS != nil {
			said.Value = h.ClientTLS.AltName
		}
	case tenants.Token:
		said.Value, now = h.First(rule.Tokens.Header), time.Now()
	}
	t := rule.Judge(now, said)
	x.Request.Tenant, x.Request.Belief, x.disbelief = x.text.Clone(t.Name), t.Belief, t.Why
	if t.Belief == balance.Disbelieved {
		x.Pool.disbelieved.Inc()
	}
}

// appendTenant appends the request's tenant for the log.
func (x *Exchange) appendTenant(attrs []slog.Attr) []slog.Attr {
	switch {
	case x.disbelief != nil && x.Request.Tenant == "":
		return append(attrs, slog.String("tenant_err", x.disbelief.Error()))
	case x.disbelief != nil:
		return append(attrs, slog.String("tenant_claimed", strings.Clone(x.Request.Tenant)), slog.String("tenant_err", x.disbelief.Error()))
	case x.Request.Tenant != "":
		return append(attrs, slog.String("tenant", strings.Clone(x.Request.Tenant)))
	}
	return attrs
}
