package routing

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/tenants"
	"golang.org/x/net/idna"
)

// Validate calls bad once for every field that cannot be worked with.
func (r *Route) Validate(bad func(field, problem string)) {
	if !IsToken(r.Pool) {
		bad("pool", fmt.Sprintf("%q, want the name of a pool", r.Pool))
	}
	if problem := badRouteHost(r.Host); problem != "" {
		bad("host", problem)
	}
	if problem := badRoutePath(r.Path); problem != "" {
		bad("path", problem)
	}
	for i, name := range r.Upgrade {
		switch plain, _, _ := strings.Cut(strings.ToLower(name), "/"); {
		case !IsToken(plain):
			bad(fmt.Sprintf("upgrade[%d]", i), fmt.Sprintf("%q, want the name of a protocol, such as websocket", name))
		case NeverUpgraded(plain):
			bad(fmt.Sprintf("upgrade[%d]", i), fmt.Sprintf("%q: requests of another HTTP would pass the routes unseen; h2c: true takes clients that begin with HTTP/2", name))
		}
	}
	if r.Link > balance.LinkRedirect {
		bad("link", fmt.Sprintf("%d, want route or redirect", r.Link))
	}
	if r.ServerProtocol > HTTP2 {
		bad("server_protocol", fmt.Sprintf("%d, want http/1.1 or h2", r.ServerProtocol))
	}
	if strings.ContainsAny(r.LeaseParam, "&=#? ") {
		bad("lease_param", fmt.Sprintf("%q, want a plain name", r.LeaseParam))
	}
	key, err := newKeySource(r.Key)
	if err != nil {
		bad("key", err.Error())
	}
	r.needsBody("key", key, bad)
	r.validateFacts(bad)
	NotNegative(bad, "timeout", r.Timeout)
	if r.WhileWaiting != "" && r.WhileWaiting != WhileWaitingInterim {
		bad("while_waiting", fmt.Sprintf("%q, want 103, or leave it out to send nothing", r.WhileWaiting))
	}
}

// suits calls bad once for every field that a listener of this mode has no use for.
func (r *Route) suits(m Mode, bad func(field, problem string)) {
	if m != ModeTCP {
		if r.SendProxy != 0 {
			bad("send_proxy", "a connection to an HTTP server is shared by clients, which a PROXY header cannot tell; servers find them in Forwarded and X-Forwarded-For")
		}
		return
	}
	const unread = "a listener with mode tcp reads no requests"
	if r.Paths != PathsAsSent {
		bad("paths", unread)
	}
	if r.Path != "" {
		bad("path", unread)
	}
	if r.ServerProtocol != HTTP1 {
		bad("server_protocol", unread)
	}
	if r.Link == balance.LinkRedirect {
		bad("link", unread+", so it cannot redirect")
	}
	if r.LeaseParam != "" {
		bad("lease_param", unread)
	}
	if r.Upgrade != nil {
		bad("upgrade", unread)
	}
	if r.Key != "" && r.Key != "client" {
		bad("key", fmt.Sprintf("%q, want client: %s", r.Key, unread))
	}
	if r.Tenant != "" && r.Tenant != "client" {
		bad("tenant", fmt.Sprintf("%q, want client: %s", r.Tenant, unread))
	}
	if r.ServerTLS != nil {
		bad("server_tls", "a listener with mode tcp carries bytes as they are")
	}
	r.Facts.suitsTCP(bad)
	if r.RespondAsync {
		bad("respond_async", unread)
	}
	if r.WhileWaiting != "" {
		bad("while_waiting", unread)
	}
	if r.BufferRequest > 0 {
		bad("buffer_request", unread)
	}
	if r.BodyRate > 0 {
		bad("body_rate", unread)
	}
	if r.SendProxy < 0 || r.SendProxy > 2 {
		bad("send_proxy", fmt.Sprintf("version %d, want v1 or v2", r.SendProxy))
	}
}

// badRouteHost returns what is wrong with a route's host, or "". It is compared with a field of
// the request, which is ASCII.
func badRouteHost(host string) string {
	name := strings.TrimPrefix(host, "*.")
	bare := name // without what does not belong there
	if _, rest, ok := strings.Cut(bare, "://"); ok {
		bare = rest
	}
	bare, _, _ = strings.Cut(bare, "/")
	if !strings.HasPrefix(bare, "[") {
		bare, _, _ = strings.Cut(bare, ":")
	}
	switch {
	case host == "":
		return ""
	case strings.ContainsFunc(name, func(r rune) bool { return r > '~' }):
		if ascii, err := idna.Lookup.ToASCII(bare); err == nil {
			return fmt.Sprintf("%q is not ASCII, as clients send it: want %q", host, strings.TrimSuffix(host, name)+ascii)
		}
		return fmt.Sprintf("%q is not ASCII, and no name that can be written so (punycode)", host)
	case bare != name && bare != "" && !strings.ContainsAny(bare, "* "):
		return fmt.Sprintf("%q, want the name alone, without scheme, port or path: %q", host, strings.TrimSuffix(host, name)+bare)
	case name == "" || strings.ContainsAny(name, "*/ ") || strings.Contains(name, ":") && !strings.HasPrefix(name, "["):
		return fmt.Sprintf("%q, want a name without port, such as www.example, or *.example for all below it", host)
	}
	return ""
}

// badRoutePath returns what is wrong with a route's path, or "". It is compared, segment by
// segment, with the path of the request, decoded and without its query.
func badRoutePath(path string) string {
	if path == "" {
		return ""
	}
	plain, _, _ := strings.Cut(path, "?")
	plain, _, _ = strings.Cut(plain, "#")
	switch {
	case path[0] == '^' || strings.HasPrefix(path, "~"):
		return fmt.Sprintf("%q, want the path's first segments, such as /v1: a regular expression is not taken", path)
	case path[0] != '/':
		return fmt.Sprintf("%q, want a leading /: %q", path, "/"+path)
	case plain != path:
		return fmt.Sprintf("%q: a query is not compared, want %q", path, plain)
	case strings.ContainsAny(path, "*"):
		before, _, _ := strings.Cut(path, "*")
		want := plainPath(before[:strings.LastIndexByte(before, '/')])
		if want == "" {
			return fmt.Sprintf("%q: a * stands for nothing here; leave the path out to take all", path)
		}
		return fmt.Sprintf("%q: a * stands for nothing here, want %q, which is all below it too", path, want)
	case strings.Contains(path, "%"):
		if decoded, err := url.PathUnescape(path); err == nil && decoded != path {
			return fmt.Sprintf("%q: it is compared with the decoded path, want %q", path, decoded)
		}
		return fmt.Sprintf("%q: a %% is no path's, which is compared decoded", path)
	case strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return fmt.Sprintf("%q has a blank or a character that cannot be printed", path)
	}
	return ""
}

// validateTenant calls bad once for every invalid field about tenants.
func (r *Route) validateTenant(l *Listener, bad func(field, problem string)) {
	source, _, err := tenants.Parse(r.Tenant)
	if err != nil {
		bad("tenant", err.Error())
		return
	}
	if source == tenants.None {
		s, err := newKeySource(r.Tenant)
		if err != nil && s == nil {
			bad("tenant", err.Error()+"; or cert:subject, cert:san or jwt:CLAIM")
		}
		r.needsBody("tenant", s, bad)
	}
	header := strings.HasPrefix(r.Tenant, "header:")
	switch {
	case (source == tenants.Subject || source == tenants.AltName) && l.ClientCerts.Authorities == nil:
		bad("tenant", r.Tenant+": clients are asked for no certificate here, see client_certificates in the listener's tls")
	case source == tenants.Token && r.TenantTokens == nil:
		bad("tenant", r.Tenant+": by which keys? See tenant_jwt")
	case source != tenants.Token && r.TenantTokens != nil:
		bad("tenant_jwt", "it is for tenant: jwt:CLAIM")
	case r.TenantTokens != nil && !IsToken(r.TenantTokens.Header):
		bad("tenant_jwt.header", "want the name of a header")
	}
	switch {
	case r.TenantFrom != tenants.Default && !header:
		bad("tenant_from", "it is for tenant: header:NAME; any client can write other parts of a request, and certificates and tokens are proofs")
	case r.TenantFrom == tenants.Trusted && len(l.TrustedProxies) == 0:
		bad("tenant_from", "trusted: the listener has no trusted_proxies, so no tenant would be believed")
	}
}
