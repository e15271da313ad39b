package master

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
	"github.com/evenkeel-lb/evenkeel/internal/inside"
	"github.com/evenkeel-lb/evenkeel/internal/trust"
)

// access is which peers may use a pool, by its configuration. It is immutable.
type access struct {
	agents   []string       // patterns of names; empty: the certificate decides
	edges    []string       // patterns of ids of edges that may use the pool
	prefixes []netip.Prefix // where agents' servers may be, besides where the agents are
	hosts    []string       // patterns of host names that agents' servers may have
	sockets  []string       // patterns of paths of unix sockets that agents' servers may have
}

// newAccess reads a configuration; bad is called for each problem.
func newAccess(c *PoolConfig, bad func(field, problem string)) *access {
	a := &access{agents: c.Agents, edges: c.Edges}
	for _, list := range []struct {
		field    string
		patterns []string
	}{{"agents", c.Agents}, {"edges", c.Edges}} {
		for i, pattern := range list.patterns {
			if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
				bad(fmt.Sprintf("%s[%d]", list.field, i), fmt.Sprintf("%q, want the name on a certificate, in which * is for any characters", clip(pattern)))
			}
		}
	}
	for i, text := range c.Addresses {
		prefix, err := netip.ParsePrefix(text)
		if one, bad := netip.ParseAddr(text); bad == nil {
			prefix, err = one.Prefix(one.BitLen())
		}
		switch {
		case err == nil:
			a.prefixes = append(a.prefixes, prefix.Masked())
		case balance.IsUnix(text):
			pattern, _ := balance.UnixPath(text)
			if _, err := path.Match(pattern, ""); err != nil || !path.IsAbs(pattern) {
				bad(fmt.Sprintf("addresses[%d]", i), fmt.Sprintf("%q, want unix: and an absolute path, in which * is for any characters but /, such as unix:/run/app/*", clip(text)))
				continue
			}
			a.sockets = append(a.sockets, pattern)
		case isHostPattern(text):
			a.hosts = append(a.hosts, strings.ToLower(text))
		default:
			bad(fmt.Sprintf("addresses[%d]", i), fmt.Sprintf("%q, want an address, a prefix or a host name, such as 10.0.0.0/8 or *.render.example", clip(text)))
		}
	}
	return a
}

// isHostPattern reports whether text can be a host name, with * for any characters.
func isHostPattern(text string) bool {
	letter := false
	for _, r := range text {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z':
			letter = true
		case r >= '0' && r <= '9', r == '-', r == '.', r == '*', r == '_':
		default:
			return false
		}
	}
	return letter
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { ok, _ := path.Match(p, name); return ok })
}

// checkAgent refuses an agent that may not register a server of its name in the pool. named says that the file
// lists the server. Without certificates peer is nil, and names prove nothing.
func (a *access) checkAgent(pool, name string, peer *trust.Peer, named bool) error {
	if len(a.agents) > 0 && !matchesAny(a.agents, name) && !named {
		return trust.Refuse(trust.WrongPool, "pool %s takes the agents that pools.%s.agents lists, and %s is not among them", pool, pool, name)
	}
	switch {
	case peer == nil:
		return nil
	case !peer.AllowsPool(pool):
		return trust.Refuse(trust.WrongPool, "the certificate of %s is for pool %s, which is not pool %s: evenkeel certs issue agent %s --pool %s", peer.Identity, strings.Join(peer.Pools, ", "), pool, name, pool)
	case len(peer.Pools) == 0 && len(a.agents) == 0 && !named:
		return trust.Refuse(trust.WrongPool, "neither the certificate of %s names a pool nor does pools.%s.agents name that agent: evenkeel certs issue agent %s --pool %s", peer.Identity, pool, name, pool)
	}
	return nil
}

// allowsEdge reports whether an edge may ask for the pool's servers. name is that on its certificate, or
// without certificates its id.
func (a *access) allowsEdge(pool, name string, peer *trust.Peer) bool {
	if len(a.edges) == 0 {
		return peer == nil || peer.AllowsPool(pool)
	}
	return matchesAny(a.edges, name) && (peer == nil || peer.AllowsPool(pool))
}

// checkAddress refuses a server's address that is neither its agent's nor among the pool's addresses. A host
// name must be listed: it can resolve to anything later.
func (a *access) checkAddress(pool, address string, peer *trust.Peer, from inside.Origin, ours *inside.Set) error {
	_, hostPort := balance.SplitAddress(address)
	if path, ok := balance.UnixPath(hostPort); ok {
		return a.checkSocket(pool, path, ours)
	}
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil // the pool's own check has the better message
	}
	if ours.HasText(hostPort) {
		return trust.Refuse(trust.WrongAddress, "%s is an address of one of our own components, where clients must not get: no server can be there", address)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return a.checkHost(pool, host, peer, from)
	}
	ip = ip.Unmap().WithZone("")
	switch {
	case ip.IsLoopback() || ip.IsUnspecified():
		if !from.Near {
			return trust.Refuse(trust.WrongAddress, "%s is on each machine another server: only an agent that connects by loopback or a unix socket may give it, and this one comes from %s", address, from)
		}
		return nil
	case ip.IsMulticast():
		return trust.Refuse(trust.WrongAddress, "%s is no server's address", address)
	case peer != nil && len(peer.Addresses) > 0 && !contains(peer.Addresses, ip):
		return trust.Refuse(trust.WrongAddress, "%s is not among the addresses of the certificate of %s, %v", address, peer.Identity, peer.Addresses)
	case ip == from.IP, contains(a.prefixes, ip), peer != nil && contains(peer.Addresses, ip):
		return nil
	case from.Near && slices.Contains(inside.Interfaces(), ip):
		return nil // its connection comes from every address of this machine
	}
	return trust.Refuse(trust.WrongAddress, "the agent comes from %s and says that its server is at %s: list that in pools.%s.addresses, such as %s, or have the agent give the address that it connects from, with port %s",
		from, address, pool, ip, port)
}

// checkSocket judges a unix socket. It is on the edge's machine, where much else listens, so an agent on the
// same machine is not enough.
func (a *access) checkSocket(pool, at string, ours *inside.Set) error {
	if err := ours.RefuseSocket(at); err != nil {
		return trust.Refuse(trust.WrongAddress, "%v", err)
	}
	if path.Clean(at) != at {
		return trust.Refuse(trust.WrongAddress, "unix:%s, want the path without . and .. and double slashes", at)
	}
	if !matchesAny(a.sockets, at) {
		return trust.Refuse(trust.WrongAddress, "unix:%s is a socket on the edge's machine, which agents may give only if the pool lists it: in pools.%s.addresses, such as unix:%s", at, pool, at)
	}
	return nil
}

// checkTarget judges an address that a server's name resolves to, now or later; checkHost has judged the name.
// from is where the agent came from; zero: unknown.
func (a *access) checkTarget(pool string, ip netip.Addr, from inside.Origin) error {
	ip = ip.Unmap().WithZone("")
	switch {
	case contains(a.prefixes, ip), from.IP.IsValid() && ip == from.IP:
		return nil
	case ip.IsLoopback() && from.Near, from.Near && slices.Contains(inside.Interfaces(), ip):
		return nil
	case ip.IsLoopback(), ip.IsLinkLocalUnicast():
		return fmt.Errorf("the server's name leads to %s, which is another machine's server on each machine: its agent may not give that", ip)
	case len(a.prefixes) > 0:
		return fmt.Errorf("the server's name leads to %s, which is not in pools.%s.addresses", ip, pool)
	}
	return nil
}

// checkHost judges a host name.
func (a *access) checkHost(pool, host string, peer *trust.Peer, from inside.Origin) error {
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	switch own, _ := os.Hostname(); {
	case matchesAny(a.hosts, name), from.Near && name == strings.ToLower(own):
		if peer == nil || len(peer.Addresses) == 0 {
			return nil
		}
		return trust.Refuse(trust.WrongAddress, "the certificate of %s has addresses, %v, so its server is told by address and not by the name %s", peer.Identity, peer.Addresses, host)
	}
	return trust.Refuse(trust.WrongAddress, "%s is a name that can lead anywhere: list it in pools.%s.addresses, or have the agent give the address that it connects from", host, pool)
}

func contains(prefixes []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(ip) })
}
