package routing

import (
	"fmt"
	"net/netip"
	"slices"
)

// Prefixes is a set of address prefixes. Looking an address up takes a step for each length
// that a prefix of its family has, and no more for many prefixes. The zero value is empty.
type Prefixes struct {
	all     map[netip.Prefix]struct{}
	lengths [2][]int // of IPv4 and IPv6, the shortest first
}

// NewPrefixes makes a set. An IPv4 address that is written as one of IPv6 is one of IPv4.
func NewPrefixes(list []netip.Prefix) (s Prefixes) {
	if len(list) == 0 {
		return s
	}
	s.all = make(map[netip.Prefix]struct{}, len(list))
	for _, p := range list {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		p = p.Masked()
		s.all[p] = struct{}{}
		if of := &s.lengths[family(p.Addr())]; !slices.Contains(*of, p.Bits()) {
			*of = append(*of, p.Bits())
		}
	}
	for i := range s.lengths {
		slices.Sort(s.lengths[i])
	}
	return s
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// Empty reports whether the set has no prefix.
func (s *Prefixes) Empty() bool { return len(s.all) == 0 }

// Contain reports whether an address lies in one of them.
func (s *Prefixes) Contain(a netip.Addr) bool {
	if len(s.all) == 0 || !a.IsValid() {
		return false
	}
	a = a.Unmap().WithZone("")
	for _, bits := range s.lengths[family(a)] {
		if p, err := a.Prefix(bits); err == nil {
			if _, ok := s.all[p]; ok {
				return true
			}
		}
	}
	return false
}

// Access says which addresses may connect.
type Access struct {
	Allow, Deny Prefixes // Deny outweighs Allow; without any Allow, all that are not denied may
}

// Admits reports whether an address may connect.
func (r *Access) Admits(a netip.Addr) bool {
	return !r.Deny.Contain(a) && (r.Allow.Empty() || r.Allow.Contain(a))
}

// Open reports whether everybody may connect.
func (r *Access) Open() bool { return r.Deny.Empty() && r.Allow.Empty() }

// CheckPrefix returns why a prefix cannot stand in such a set, nil if it can.
func CheckPrefix(p netip.Prefix) error {
	if !p.IsValid() {
		return fmt.Errorf("%v is no address prefix", p)
	}
	if p.Addr().Is4In6() && p.Bits() < 96 {
		return fmt.Errorf("%v is wider than the IPv4 addresses that it is written for: want ::/0, or a prefix of IPv4", p)
	}
	return nil
}
