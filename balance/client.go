package balance

import (
	"encoding/binary"
	"net/netip"
)

// ClientPrefix tells clients apart by their addresses: an IPv4 address by all of it, an IPv6 address by
// its first 56 bits, since one subscriber is commonly given as many. Zero is a client whose address is
// not known.
type ClientPrefix uint64

// PrefixOf returns the prefix of a client's address.
func PrefixOf(addr netip.Addr) ClientPrefix {
	const v4, v6 = 4 << 56, 6 << 56
	switch addr = addr.Unmap(); {
	case addr.Is4():
		a := addr.As4()
		return ClientPrefix(v4 | uint64(binary.BigEndian.Uint32(a[:])))
	case addr.Is6():
		a := addr.As16()
		return ClientPrefix(v6 | binary.BigEndian.Uint64(a[:])>>8)
	}
	return 0
}
