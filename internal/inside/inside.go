// Package inside keeps the addresses at which our own components listen for each other and for operators: the admin APIs of masters, edges
// and agents, and the ports that edges and agents connect to. None of these may ever be a server's address, because clients could then
// reach it through an edge.
package inside

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/evenkeel-lb/evenkeel/internal/rundir"
)

// MostTold is how many addresses of a peer are believed.
const MostTold = 8

// Set is what one process knows of such addresses. A nil Set is empty. Its methods may be called
// from any goroutine.
type Set struct {
	mu    sync.RWMutex // guards the following
	own   []string     // of this process, as its listeners have them
	known map[netip.AddrPort]int
	ours  map[netip.AddrPort]bool // of them those of own
	paths map[string]int          // of unix sockets
}

// AddOwn adds listeners of this process; nil ones are skipped.
func (s *Set) AddOwn(listeners ...net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range listeners {
		if l == nil {
			continue
		}
		if path := l.Addr().String(); l.Addr().Network() == "unix" {
			s.own = append(s.own, unixScheme+path)
			s.addPath(1, path)
			continue
		}
		at, err := netip.ParseAddrPort(l.Addr().String())
		if err != nil {
			continue
		}
		s.own = append(s.own, at.String())
		s.addOwn(canonical(at))
		if at.Addr().IsUnspecified() {
			for _, a := range Interfaces() {
				s.addOwn(netip.AddrPortFrom(a, at.Port()))
			}
		}
	}
}

// addOwn adds an address of this process. mu must be held.
func (s *Set) addOwn(at netip.AddrPort) {
	s.add(1, at)
	if s.ours == nil {
		s.ours = make(map[netip.AddrPort]bool)
	}
	s.ours[at] = true
}

// add changes the count of an address. mu must be held.
func (s *Set) add(n int, at netip.AddrPort) {
	if s.known == nil {
		s.known = make(map[netip.AddrPort]int)
	}
	if s.known[at] += n; s.known[at] == 0 {
		delete(s.known, at)
	}
}

// addPath is add of a unix socket.
func (s *Set) addPath(n int, at string) {
	if s.paths == nil {
		s.paths = make(map[string]int)
	}
	if s.paths[at] += n; s.paths[at] == 0 {
		delete(s.paths, at)
	}
}

const unixScheme = "unix:"

// RefuseSocket is Refuse of a unix socket: also by another path to it, and in the folders where processes of
// ours are found.
func (s *Set) RefuseSocket(at string) error {
	at = filepath.Clean(at)
	for _, folder := range rundir.Folders() {
		if real := resolved(folder); folder == filepath.Dir(at) || real == resolved(filepath.Dir(at)) || real == filepath.Dir(resolved(at)) {
			return fmt.Errorf("unix:%s is where our own components are found, where clients must not get", at)
		}
	}
	if s == nil {
		return nil
	}
	s.mu.RLock()
	paths := slices.Collect(maps.Keys(s.paths))
	s.mu.RUnlock()
	for _, ours := range paths {
		if ours == at || sameFile(ours, at) {
			return fmt.Errorf("unix:%s is a socket of one of our own components, where clients must not get", at)
		}
	}
	return nil
}

// resolved follows links, as far as there are any.
func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	other, bad := os.Stat(b)
	return err == nil && bad == nil && os.SameFile(one, other)
}

// Own returns the addresses of this process, to be told to peers.
func (s *Set) Own() []string {
	if s == nil {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.own)
}

// Learn adds what a peer tells of its own addresses, until forget is called. A peer is believed only
// about the machine that its connection comes from: with other addresses it could have other peers'
// servers refused. fresh are the addresses that the set did not know, as Canonical has them.
func (s *Set) Learn(told []string, from Origin) (forget func(), fresh []netip.AddrPort) {
	if s == nil || len(told) == 0 {
		return func() {}, nil
	}
	var learnt []netip.AddrPort
	var sockets []string
	for _, text := range told[:min(len(told), MostTold)] {
		if path, ok := strings.CutPrefix(text, unixScheme); ok && from.Near && filepath.IsAbs(path) {
			sockets = append(sockets, path)
			continue
		}
		if at, err := netip.ParseAddrPort(text); err == nil {
			learnt = append(learnt, believed(at, from)...)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range learnt {
		if s.known[at] == 0 {
			fresh = append(fresh, at)
		}
		s.add(1, at)
	}
	for _, path := range sockets {
		s.addPath(1, path)
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, at := range learnt {
			s.add(-1, at)
		}
		for _, path := range sockets {
			s.addPath(-1, path)
		}
	}, fresh
}

// believed returns by which addresses of its own machine a peer is reached that says that it listens at one.
func believed(at netip.AddrPort, from Origin) (all []netip.AddrPort) {
	host := at.Addr().Unmap().WithZone("")
	if from.Near {
		if host.IsLoopback() || host.IsUnspecified() {
			all = append(all, canonical(at))
		}
		for _, own := range Interfaces() {
			if (host.IsUnspecified() || host == own) && !own.IsLoopback() {
				all = append(all, netip.AddrPortFrom(own.WithZone(""), at.Port()))
			}
		}
		return all
	}
	if from.IP.IsValid() && (host.IsUnspecified() || host == from.IP) {
		all = append(all, netip.AddrPortFrom(from.IP, at.Port()))
	}
	return all
}

// Canonical is a server's address as Learn has addresses; false: it is a name, or none.
func Canonical(hostPort string) (netip.AddrPort, bool) {
	if port, ok := strings.CutPrefix(hostPort, "localhost:"); ok {
		hostPort = "127.0.0.1:" + port
	}
	at, err := netip.ParseAddrPort(hostPort)
	return canonical(at), err == nil
}

// Has reports whether a component of ours listens at an address.
func (s *Set) Has(at netip.AddrPort) bool {
	if s == nil {
		return false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.known[canonical(at)] > 0
}

// HasText is Has for an address as configurations write it. Names but localhost are unknown.
func (s *Set) HasText(hostPort string) bool {
	at, ok := Canonical(hostPort)
	return ok && s.Has(at)
}

// HasOwn reports whether this process itself listens at an address as configurations write it, so that no
// peer's word counts.
func (s *Set) HasOwn(hostPort string) bool {
	at, ok := Canonical(hostPort)
	if s == nil || !ok {
		return false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.ours[at]
}

// Add adds an address that is known from elsewhere, such as a master's in an edge's file. One that is
// a name, or no address, is skipped.
func (s *Set) Add(hostPort string) {
	if at, err := netip.ParseAddrPort(hostPort); err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.add(1, canonical(at))
	}
}

// Refuse returns an error for an address that no server has: one where a component of ours listens.
func (s *Set) Refuse(at netip.AddrPort) error {
	if s.Has(at) {
		return fmt.Errorf("%s is an address of one of our own components, where clients must not get", at)
	}
	return nil
}

// Control refuses such an address as net.Dialer.Control, when names have been looked up.
func (s *Set) Control(_, address string, _ syscall.RawConn) error {
	if at, err := netip.ParseAddrPort(address); err == nil {
		return s.Refuse(at)
	}
	return nil
}

// canonical makes one address of all by which a listener of this machine is reached from it: a
// connection to the unspecified address goes to loopback.
func canonical(at netip.AddrPort) netip.AddrPort {
	host := at.Addr().Unmap().WithZone("")
	if host.IsLoopback() || host.IsUnspecified() {
		host = loopback
	}
	return netip.AddrPortFrom(host, at.Port())
}

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// Origin is where a peer's connection comes from.
type Origin struct {
	IP   netip.Addr // not valid: a unix socket
	Near bool       // by loopback or by a unix socket, so it is on this machine
}

// OriginOf returns the origin of a connection.
func OriginOf(remote net.Addr) Origin {
	switch a := remote.(type) {
	case *net.UnixAddr:
		return Origin{Near: true}
	case *net.TCPAddr:
		ip := a.AddrPort().Addr().Unmap().WithZone("")
		return Origin{IP: ip, Near: ip.IsLoopback()}
	}
	return Origin{}
}

// IsOurs reports whether an address is one of this machine's.
func IsOurs(ip netip.Addr) bool { return slices.Contains(Interfaces(), ip.Unmap().WithZone("")) }

// Interfaces returns the addresses of this machine.
func Interfaces() (all []netip.Addr) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				all = append(all, ip.Unmap())
			}
		}
	}
	return all
}

// String is the origin for people.
func (o Origin) String() string {
	if !o.IP.IsValid() {
		return "a unix socket"
	}
	return o.IP.String()
}
