package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/evenkeel-lb/evenkeel/balance"
)

// place is an address that a file has a role listen on.
type place struct {
	path    string // of the field; of a default, of the part
	address string
}

// places returns where the processes listen that the file is for, those of one process together.
// Master and edge of one file may be one process, unless it names masters for the edge or has them elected.
func (s *settings) places() (processes [][]place) {
	var masters, edges []place
	written := func(to *[]place, path, address string) {
		if address != "" && address != off {
			*to = append(*to, place{path, address})
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
		var agents []place
		written(&agents, "agent.admin", a.Admin)
		processes = append(processes, agents)
	}
	return processes
}

// badPlaces finds two addresses of one process of which the second cannot be had.
func (s *settings) badPlaces(bad func(path, problem string)) {
	said := make(map[string]bool)
	for _, process := range s.places() {
		for i, b := range process {
			for _, a := range process[:i] {
				if !overlap(a.address, b.address) || said[b.path] {
					continue
				}
				said[b.path] = true
				where := a.path
				if s.line != nil {
					where += fmt.Sprintf(", on line %d", s.line(a.path))
				}
				bad(b.path, fmt.Sprintf("%q has the port of %s (%q): give one of them another", b.address, where, a.address))
			}
		}
	}
}

// overlap reports whether two addresses cannot both be listened on.
func overlap(a, b string) bool {
	if strings.HasPrefix(a, "unix:") || strings.HasPrefix(b, "unix:") {
		return a == b
	}
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	return hostA == hostB || isWild(hostA, hostB) || isWild(hostB, hostA) || plainIP(hostA) == plainIP(hostB)
}

// isWild reports whether a host is every address of the machine that another one may be. Go opens
// the one of IPv6, and none at all, for both families.
func isWild(host, other string) bool {
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

// badTrust finds what a start without further flags refuses: addresses beyond loopback where
// peers would not have to prove who they are.
func (s *settings) badTrust(bad func(path, problem string)) {
	const listens = "%q is beyond loopback, and whoever connects would not have to prove who they are"
	const connects = "%q is beyond loopback, and there is no certificate to prove who is who"
	admin := func(path, address string, insecure bool) {
		if address != "" && address != off && !insecure && balance.BadListen(address) == "" && !isLoopback(address) {
			bad(path, fmt.Sprintf(listens+": listen on 127.0.0.1, or write insecure: true if everybody who can reach it may be trusted", address))
		}
	}
	masters := func(path string, all []string, files tlsPart, insecure bool) {
		for i, m := range all {
			if files == (tlsPart{}) && !insecure && !isLoopback(m) {
				bad(fmt.Sprintf("%s[%d]", path, i), fmt.Sprintf(connects+": "+fileAdvice, m))
			}
		}
	}
	if m := s.Master; m != nil {
		if m.Listen != "" && m.TLS == (tlsPart{}) && !m.Insecure && !isLoopback(m.Listen) {
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
		masters("agent.masters", a.Masters, a.TLS, a.Insecure || a.enrols())
	}
}

const fileAdvice = "write tls: { cert, key, ca } (evenkeel certs makes them), or insecure: true if everybody who can reach it may be trusted"

// badLive finds addresses of the file that cannot be listened on now, on this machine.
func (s *settings) badLive(ctx context.Context, bad func(path, problem string)) {
	tried := make(map[string]bool)
	for _, process := range s.places() {
		for _, p := range process {
			if tried[p.path] {
				continue
			}
			tried[p.path] = true
			l, err := listen(ctx, p.address)
			if err == nil {
				_ = l.Close() // nothing was taken from it
				continue
			}
			text := err.Error()
			if a, ok := errors.AsType[advised](err); ok {
				text += "; " + a.hint
			}
			bad(p.path, text)
		}
	}
}
