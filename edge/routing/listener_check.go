package routing

import (
	"fmt"
	"net/netip"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// Validate calls bad once for every field that cannot be worked with.
func (l *Listener) Validate(bad func(field, problem string)) {
	if problem := balance.BadListen(l.Listen); problem != "" {
		bad("listen", problem)
	}
	switch {
	case l.H2C && l.Certificate != nil:
		bad("h2c", "true beside tls: clients that speak TLS agree on HTTP/2 there")
	case l.H2C && l.Mode == ModeTCP:
		bad("h2c", "a listener with mode tcp reads no requests")
	}
	if l.Mode == ModeTCP && l.Paths != PathsAsSent {
		bad("paths", "a listener with mode tcp reads no requests")
	}
	NotNegative(bad, "header_limit", l.HeaderLimit)
	NotNegative(bad, "header_count", l.HeaderCount)
	NotNegative(bad, "header_timeout", l.HeaderTimeout)
	NotNegative(bad, "idle_timeout", l.IdleTimeout)
	NotNegative(bad, "body_limit", l.BodyLimit)
	for field, list := range map[string][]netip.Prefix{"allow": l.Allow, "deny": l.Deny} {
		for i, p := range list {
			if err := CheckPrefix(p); err != nil {
				bad(fmt.Sprintf("%s[%d]", field, i), err.Error())
			}
		}
	}
	l.ClientLimits.validate(l.Mode, func(field, problem string) { bad("client_limits."+field, problem) })
	if l.HalfClosed > HalfClosedRefuse {
		bad("half_closed", fmt.Sprintf("%d, want %s, %s or %s", l.HalfClosed, HalfClosedLast, HalfClosedAnswer, HalfClosedRefuse))
	}
	if l.Mode == ModeTCP && l.Certificate != nil {
		bad("tls", "a listener with mode tcp ends no TLS: it carries it to servers as it is")
	}
	if l.Mode > ModeTCP {
		bad("mode", fmt.Sprintf("%d, want http or tcp", l.Mode))
	}
	if len(l.Routes) == 0 {
		bad("routes", "none, want at least one")
	}
	seen := make(map[string]int)
	for i := range l.Routes {
		r := &l.Routes[i]
		of := func(field, problem string) { bad(fmt.Sprintf("routes[%d].%s", i, field), problem) }
		r.Validate(of)
		r.validateTenant(l, of)
		r.validateFactsFrom(l.TrustedProxies, of)
		r.suits(l.Mode, of)
		matches := plainHost(r.Host) + " " + plainPath(r.Path)
		if first, twice := seen[matches]; twice {
			bad(fmt.Sprintf("routes[%d]", i), fmt.Sprintf("matches the same as routes[%d]", first))
		}
		seen[matches] = i
	}
}

func NotNegative[T ~int | ~int64](bad func(field, problem string), field string, v T) {
	if v < 0 {
		bad(field, fmt.Sprintf("%v is negative", v))
	}
}
