package settings

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/edge/routing"
	"github.com/evenkeel-lb/evenkeel/edge/tenants"
	"github.com/evenkeel-lb/evenkeel/internal/suggest"
	"github.com/evenkeel-lb/evenkeel/master"
)

// Link is a balance.Link in a file.
type Link balance.Link

func (l *Link) UnmarshalText(text []byte) error {
	for _, link := range []balance.Link{balance.LinkRoute, balance.LinkRedirect} {
		if link.String() == string(text) {
			*l = Link(link)
			return nil
		}
	}
	return fmt.Errorf("want %s or %s%s", balance.LinkRoute, balance.LinkRedirect, suggest.DidYouMean(string(text), []string{"route", "redirect"},
		map[string]string{"proxy": "route", "forward": "route", "routed": "route", "direct": "redirect", "307": "redirect"}))
}

// agentFieldText is a field that a server's agent may report although the file names the server.
type agentFieldText master.Tells

func (w *agentFieldText) UnmarshalText(text []byte) error {
	for tells, word := range map[master.Tells]string{master.TellsAddress: "address", master.TellsPublic: "public", master.TellsLabels: "labels", master.TellsLocation: "location"} {
		if word == string(text) {
			*w = agentFieldText(tells)
			return nil
		}
	}
	return errors.New("want address, public, labels or location; slots and speed are the agent's wherever they are left out")
}

// resolveText is a master.Resolve in a file.
type resolveText master.Resolve

func (r *resolveText) UnmarshalText(text []byte) error {
	for _, how := range []master.Resolve{master.ResolveOne, master.ResolveAll} {
		if how.String() == string(text) {
			*r = resolveText(how)
			return nil
		}
	}
	return fmt.Errorf("want %s or %s%s", master.ResolveOne, master.ResolveAll, suggest.DidYouMean(string(text), []string{"one", "all"},
		map[string]string{"logical": "one", "logicaldns": "one", "first": "one", "strict": "all", "strictdns": "all", "each": "all", "dynamic": "all"}))
}

// resolverText is who looks names up: the master or, if true, each edge.
type resolverText bool

func (r *resolverText) UnmarshalText(text []byte) error {
	switch string(text) {
	case "master":
		*r = false
	case "edge":
		*r = true
	default:
		return fmt.Errorf("want master or edge%s", suggest.DidYouMean(string(text), []string{"master", "edge"}, map[string]string{"controller": "master", "proxy": "edge", "edges": "edge"}))
	}
	return nil
}

// modeText is an edge.Mode in a file.
type modeText routing.Mode

func (m *modeText) UnmarshalText(text []byte) error {
	for _, mode := range []routing.Mode{routing.ModeHTTP, routing.ModeTCP} {
		if mode.String() == string(text) {
			*m = modeText(mode)
			return nil
		}
	}
	return fmt.Errorf("want %s or %s%s", routing.ModeHTTP, routing.ModeTCP, suggest.DidYouMean(string(text), []string{"http", "tcp"},
		map[string]string{"https": "http", "http2": "http", "grpc": "http", "layer4": "tcp", "l4": "tcp", "layer7": "http", "l7": "http", "tls": "tcp"}))
}

// pathsText is an edge.Paths in a file.
type pathsText routing.Paths

func (p *pathsText) UnmarshalText(text []byte) error {
	for _, paths := range []routing.Paths{routing.PathsNormalize, routing.PathsStrict} {
		if paths.String() == string(text) {
			*p = pathsText(paths)
			return nil
		}
	}
	return fmt.Errorf("want %s or %s", routing.PathsNormalize, routing.PathsStrict)
}

// tlsPolicyText is a policy.TLS in a file.
type tlsPolicyText routing.TLSPolicy

func (p *tlsPolicyText) UnmarshalText(text []byte) error {
	for _, known := range routing.TLSPolicies() {
		if known.String() == string(text) {
			*p = tlsPolicyText(known)
			return nil
		}
	}
	return fmt.Errorf("want %s or %s", routing.Intermediate, routing.Modern)
}

// halfClosedText is an edge.HalfClosed in a file.
type halfClosedText routing.HalfClosed

func (h *halfClosedText) UnmarshalText(text []byte) error {
	for _, half := range []routing.HalfClosed{routing.HalfClosedLast, routing.HalfClosedAnswer, routing.HalfClosedRefuse} {
		if half.String() == string(text) {
			*h = halfClosedText(half)
			return nil
		}
	}
	return fmt.Errorf("want %s, %s or %s", routing.HalfClosedLast, routing.HalfClosedAnswer, routing.HalfClosedRefuse)
}

// tenantFromText is a tenants.From in a file.
type tenantFromText tenants.From

func (f *tenantFromText) UnmarshalText(text []byte) error {
	for _, from := range tenants.Whose() {
		if from.String() == string(text) {
			*f = tenantFromText(from)
			return nil
		}
	}
	return fmt.Errorf("want %s or %s", tenants.Any, tenants.Trusted)
}

// proxyVersionText is a version of the PROXY protocol in a file.
type proxyVersionText int

func (p *proxyVersionText) UnmarshalText(text []byte) error {
	switch string(text) {
	case "v1":
		*p = 1
	case "v2":
		*p = 2
	default:
		return fmt.Errorf("want v1 or v2%s", suggest.DidYouMean(string(text), nil, map[string]string{"1": "v1", "2": "v2", "true": "v2", "yes": "v2", "on": "v2"}))
	}
	return nil
}

// prefixes are a list of them as the rooms take it.
func prefixes(words []PrefixText) (list []netip.Prefix) {
	for _, p := range words {
		list = append(list, netip.Prefix(p))
	}
	return list
}

// protocolText is an edge.Protocol in a file.
type protocolText routing.Protocol

func (p *protocolText) UnmarshalText(text []byte) error {
	for _, protocol := range []routing.Protocol{routing.HTTP1, routing.HTTP2} {
		if protocol.String() == string(text) {
			*p = protocolText(protocol)
			return nil
		}
	}
	return fmt.Errorf("want %s or %s%s", routing.HTTP1, routing.HTTP2, suggest.DidYouMean(string(text), []string{routing.HTTP1.String(), routing.HTTP2.String()},
		map[string]string{"http": "http/1.1", "http1": "http/1.1", "h1": "http/1.1", "http2": "h2", "http/2": "h2", "h2c": "h2", "grpc": "h2"}))
}

// PrefixText is a netip.Prefix in a file, where a single address is one too.
type PrefixText netip.Prefix

func (p *PrefixText) UnmarshalText(text []byte) error {
	prefix, err := netip.ParsePrefix(string(text))
	if one, bad := netip.ParseAddr(string(text)); bad == nil {
		prefix, err = one.Prefix(one.BitLen())
	}
	switch {
	case err != nil:
		return errors.New("want an address or a prefix, such as 10.0.0.1 or 10.0.0.0/8; 0.0.0.0/0 and ::/0 are all there are")
	case prefix.Addr().Is4In6() && prefix.Bits() >= 96: // peers are known by their IPv4 addresses
		plain := netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
		return fmt.Errorf("an IPv4 address stands as such, want %s", plain.Masked())
	}
	*p = PrefixText(prefix)
	return nil
}

// partText is a part of a whole, written as a percentage.
type partText float64

func (p *partText) UnmarshalText(text []byte) error {
	number, percent := strings.CutSuffix(string(text), "%")
	value, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	switch {
	case err != nil:
		return errors.New("want a percentage, such as 5%")
	case !percent && value > 1:
		return fmt.Errorf("want a percentage, such as %s%%", strings.TrimSpace(number))
	case !percent:
		return fmt.Errorf("want a percentage, such as %s%% or %.4g%%", strings.TrimSpace(number), 100*value)
	}
	*p = partText(value / 100)
	return nil
}

// overflowText is the wait above which requests go on to another pool, written as a condition.
type overflowText time.Duration

func (o *overflowText) UnmarshalText(text []byte) error {
	wait, err := balance.ParseOverflowWait(string(text))
	*o = overflowText(wait)
	return err
}
