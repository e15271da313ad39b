package routing

import (
	"fmt"
	"net/netip"
	"slices"
)

// Prefixes is a set of address prefixes. The zero value is empty.
type Prefixes struct{ all prefixMap[struct{}] }

// NewPrefixes makes a set. An IPv4 address that is written as one of IPv6 is one of IPv4.
func NewPrefixes(list []netip.Prefix) Prefixes {
	set := make(map[netip.Prefix]struct{}, len(list))
	for _, p := range list {
		set[p] = struct{}{}
	}
	return Prefixes{newPrefixMap(set)}
}

// Empty reports whether the set has no prefix.
func (s *Prefixes) Empty() bool { return len(s.all.values) == 0 }

// Contain reports whether an address lies in one of them.
func (s *Prefixes) Contain(a netip.Addr) bool {
	_, ok := s.all.find(a)
	return ok
}

// prefixMap has a value for each of some address prefixes. Looking an address up takes a step for each length that a
// prefix of its family has, and no more for many prefixes. The zero value is empty.
type prefixMap[V any] struct {
	values  map[netip.Prefix]V
	lengths [2][]int // of IPv4 and IPv6, the longest first
}

func newPrefixMap[V any](by map[netip.Prefix]V) (m prefixMap[V]) {
	if len(by) == 0 {
		return m
	}
	m.values = make(map[netip.Prefix]V, len(by))
	for p, value := range by {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		p = p.Masked()
		m.values[p] = value
		if of := &m.lengths[family(p.Addr())]; !slices.Contains(*of, p.Bits()) {
			*of = append(*of, p.Bits())
		}
	}
	for i := range m.lengths {
		slices.SortFunc(m.lengths[i], func(a, b int) int { return b - a })
	}
	return m
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// find returns the value of the longest prefix that an address lies in.
func (m *prefixMap[V]) find(a netip.Addr) (value V, ok bool) {
	if len(m.values) == 0 || !a.IsValid() {
		return value, false
	}
	a = a.Unmap().WithZone("")
	for _, bits := range m.lengths[family(a)] {
		if p, err := a.Prefix(bits); err == nil {
			if value, ok = m.values[p]; ok {
				return value, true
			}
		}
	}
	return value, false
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
