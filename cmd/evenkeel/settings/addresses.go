package settings

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// ListenAddress is an address that a file has a role listen on.
type ListenAddress struct {
	Key     string // of the field; of a default, of the part
	Address string
}

// ListenAddresses returns where the processes listen that the file is for, those of one process together.
// Master and edge of one file may be one process, unless it names masters for the edge or has them elected.
func (s *Settings) ListenAddresses() (processes [][]ListenAddress) {
	var masters, edges []ListenAddress
	written := func(to *[]ListenAddress, path, address string) {
		if address != "" && address != Off {
			*to = append(*to, ListenAddress{path, address})
		}
	}
	if m := s.Master; m != nil {
		written(&masters, "master.listen", m.Listen)
		written(&masters, "master.admin", m.Admin)
	}
	if e := s.Edge; e != nil {
		for i, l := range e.Listeners {
			written(&edges, fmt.Sprintf("edge.listeners[%d].listen", i), l.Listen)
		}
	}
	if s.Master != nil && s.Edge != nil && s.Master.Election == nil && len(s.Edge.Masters) == 0 {
		processes = append(processes, append(masters, edges...))
	} else if len(masters) > 0 {
		processes = append(processes, masters)
	}
	if e := s.Edge; e != nil {
		written(&edges, "edge.admin", e.Admin)
		processes = append(processes, edges)
	}
	if a := s.Agent; a != nil {
		var agents []ListenAddress
		written(&agents, "agent.admin", a.Admin)
		processes = append(processes, agents)
	}
	return processes
}

// validateConflicts finds two addresses of one process of which the second cannot be had.
func (s *Settings) validateConflicts(bad func(path, problem string)) {
	said := make(map[string]bool)
	for _, addresses := range s.ListenAddresses() {
		for i, b := range addresses {
			for _, a := range addresses[:i] {
				if !addressesConflict(a.Address, b.Address) || said[b.Key] {
					continue
				}
				said[b.Key] = true
				where := a.Key
				if s.lineOf != nil {
					where += fmt.Sprintf(", on line %d", s.lineOf(a.Key))
				}
				bad(b.Key, fmt.Sprintf("%q has the port of %s (%q): give one of them another", b.Address, where, a.Address))
			}
		}
	}
}

// addressesConflict reports whether two addresses cannot both be listened on.
func addressesConflict(a, b string) bool {
	if strings.HasPrefix(a, "unix:") || strings.HasPrefix(b, "unix:") {
		return a == b
	}
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	return hostA == hostB || isWildcard(hostA, hostB) || isWildcard(hostB, hostA) || plainIP(hostA) == plainIP(hostB)
}

// isWildcard reports whether a host is every address of the machine that another one may be. Go opens
// the one of IPv6, and none at all, for both families.
func isWildcard(host, other string) bool {
	ip, err := netip.ParseAddr(host)
	if host != "" && (err != nil || !ip.IsUnspecified()) {
		return false
	}
	one, err := netip.ParseAddr(other)
	return host == "" || !ip.Is4() || err != nil || one.Is4() || one.IsUnspecified()
}

func plainIP(host string) string {
	if host == "localhost" {
		return "127.0.0.1"
	}
	return host
}

// ValidateTrust finds what a start without further flags refuses: addresses beyond loopback where
// peers would not have to prove who they are.
func (s *Settings) ValidateTrust(bad func(path, problem string)) {
	const listens = "%q is beyond loopback, and peers would not be authenticated"
	const connects = "%q is beyond loopback, and without certificates neither side is authenticated"
	admin := func(path, address string, insecure bool) {
		if address != "" && address != Off && !insecure && balance.BadListen(address) == "" && !IsLoopback(address) {
			bad(path, fmt.Sprintf(listens+": listen on 127.0.0.1, or write insecure: true if every host that can reach it is trusted", address))
		}
	}
	masters := func(path string, all []string, files TLS, insecure bool) {
		for i, m := range all {
			if files == (TLS{}) && !insecure && !IsLoopback(m) {
				bad(fmt.Sprintf("%s[%d]", path, i), fmt.Sprintf(connects+": "+fileAdvice, m))
			}
		}
	}
	if m := s.Master; m != nil {
		if m.Listen != "" && m.TLS == (TLS{}) && !m.Insecure && !IsLoopback(m.Listen) {
			bad("master.listen", fmt.Sprintf(listens+": "+fileAdvice, m.Listen))
		}
		admin("master.admin", m.Admin, m.Insecure)
	}
	if e := s.Edge; e != nil {
		admin("edge.admin", e.Admin, e.Insecure)
		masters("edge.masters", e.Masters, e.TLS, e.Insecure)
	}
	if a := s.Agent; a != nil {
		admin("agent.admin", a.Admin, a.Insecure)
		masters("agent.masters", a.Masters, a.TLS, a.Insecure || a.Enrols())
	}
}

const fileAdvice = "write tls: { cert, key, ca } (evenkeel certs makes them), or insecure: true if every host that can reach it is trusted"
