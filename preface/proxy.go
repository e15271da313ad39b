package preface

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Proxy is the PROXY protocol's header. Without addresses (a LOCAL or UNKNOWN one, or
// one of another family) the connection speaks for itself.
type Proxy struct {
	Source, Destination netip.AddrPort // both are valid or neither is
}

// Errors of a PROXY header.
const (
	ErrNoProxy      Error = "not a PROXY protocol header"
	ErrProxyLine    Error = "a malformed PROXY protocol line"
	ErrProxyVersion Error = "a PROXY protocol header of an unknown version or command"
	ErrProxyLength  Error = "a PROXY protocol header too long, or too short for its addresses"
)

const (
	signature  = "\r\n\r\n\x00\r\nQUIT\n" // of version 2
	v2Fixed    = len(signature) + 4       // bytes before the addresses
	v1Longest  = 107                      // bytes with CRLF
	v1Shortest = len("PROXY UNKNOWN\r\n")
	// ProxyMost is the longest header, in bytes, that is taken.
	ProxyMost = 4 << 10
)

// ReadProxy reads a header of either version from its beginning. more is how many
// bytes it has at least beyond those in b; zero: it is whole, and b must hold nothing
// behind it. After an error the connection is of no use.
func ReadProxy(b []byte) (p Proxy, more int, err error) {
	switch {
	case len(b) > 0 && b[0] == signature[0]:
		return readBinary(b)
	case len(b) < v1Shortest && strings.HasPrefix("PROXY ", string(b[:min(len(b), 6)])):
		return p, v1Shortest - len(b), nil
	case bytes.HasPrefix(b, []byte("PROXY ")):
		return readLine(b)
	}
	return p, 0, ErrNoProxy
}

func readBinary(b []byte) (p Proxy, more int, err error) {
	if !strings.HasPrefix(signature, string(b[:min(len(b), len(signature))])) {
		return p, 0, ErrNoProxy
	}
	if len(b) < v1Shortest { // no more may be read at first: it might have been a line
		return p, v1Shortest - len(b), nil
	}
	if len(b) < v2Fixed {
		return p, v2Fixed - len(b), nil
	}
	version, command := b[12]>>4, b[12]&15
	if version != 2 || command > 1 {
		return p, 0, ErrProxyVersion
	}
	whole := v2Fixed + int(binary.BigEndian.Uint16(b[14:]))
	switch {
	case whole > ProxyMost || len(b) > whole:
		return p, 0, ErrProxyLength
	case len(b) < whole:
		return p, whole - len(b), nil
	case command == 0:
		return p, 0, nil // LOCAL: the proxy speaks for itself, such as to see whether we live
	}
	size := 0
	switch b[13] {
	case 0x11:
		size = 4
	case 0x21:
		size = 16
	default:
		return p, 0, nil // datagrams, unix sockets: no addresses of ours
	}
	rest := b[v2Fixed:]
	if len(rest) < 2*size+4 {
		return p, 0, ErrProxyLength
	}
	source, _ := netip.AddrFromSlice(rest[:size])
	destination, _ := netip.AddrFromSlice(rest[size : 2*size])
	ports := rest[2*size:]
	return proxied(source, binary.BigEndian.Uint16(ports), destination, binary.BigEndian.Uint16(ports[2:])), 0, nil
}

func proxied(source netip.Addr, from uint16, destination netip.Addr, to uint16) Proxy {
	return Proxy{netip.AddrPortFrom(source.Unmap(), from), netip.AddrPortFrom(destination.Unmap(), to)}
}

// readLine reads version 1: PROXY TCP4 source destination port port, with single blanks.
func readLine(b []byte) (p Proxy, more int, err error) {
	end := bytes.IndexByte(b, '\n')
	switch {
	case end < 0 && len(b) >= v1Longest, end >= 0 && (b[end-1] != '\r' || end+1 > v1Longest):
		return p, 0, ErrProxyLine
	case end < 0:
		return p, lineLeft(b), nil
	case end+1 < len(b):
		return p, 0, ErrProxyLength
	}
	words := strings.Split(string(b[:end-1]), " ")
	if words[1] == "UNKNOWN" {
		return p, 0, nil // what follows is to be ignored
	}
	if len(words) != 6 {
		return p, 0, ErrProxyLine
	}
	source, okSource := lineAddress(words[1], words[2])
	destination, okDestination := lineAddress(words[1], words[3])
	from, okFrom := linePort(words[4])
	to, okTo := linePort(words[5])
	if !okSource || !okDestination || !okFrom || !okTo {
		return p, 0, ErrProxyLine
	}
	return proxied(source, from, destination, to), 0, nil
}

// lineLeft is how many bytes a line has at least beyond b: those of its words, and its end.
func lineLeft(b []byte) int {
	least := 2
	if b[len(b)-1] == '\r' {
		return 1
	}
	if blanks := bytes.Count(b, []byte(" ")); blanks < 5 && !bytes.HasPrefix(b, []byte("PROXY UNKNOWN")) {
		least += 2 * (5 - blanks)
	}
	return min(least, v1Longest-len(b))
}

func lineAddress(family, word string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(word)
	if err != nil || addr.Zone() != "" {
		return addr, false
	}
	return addr, family == "TCP4" && addr.Is4() || family == "TCP6" && addr.Is6()
}

func linePort(word string) (uint16, bool) {
	port, err := strconv.ParseUint(word, 10, 16)
	return uint16(port), err == nil && (len(word) == 1 || word[0] != '0')
}

// AppendV1 appends the header as a line. Without addresses it says so.
func (p Proxy) AppendV1(dst []byte) []byte {
	source, destination, v4, ok := p.sameFamily()
	if !ok {
		return append(dst, "PROXY UNKNOWN\r\n"...)
	}
	word := "PROXY TCP6 "
	if v4 {
		word = "PROXY TCP4 "
	}
	dst = append(source.AppendTo(append(dst, word...)), ' ')
	dst = append(destination.AppendTo(dst), ' ')
	dst = append(strconv.AppendUint(dst, uint64(p.Source.Port()), 10), ' ')
	return append(strconv.AppendUint(dst, uint64(p.Destination.Port()), 10), "\r\n"...)
}

// AppendV2 appends the header in binary form, with the name that the client asked for
// by TLS unless it is empty. Without addresses it says so.
func (p Proxy) AppendV2(dst []byte, authority string) []byte {
	const authorityType = 2
	start := len(dst)
	dst = append(dst, signature...)
	source, destination, v4, ok := p.sameFamily()
	family := byte(0x21)
	switch {
	case !ok:
		family = 0
	case v4:
		family = 0x11
	}
	dst = append(dst, 0x21, family, 0, 0)
	if ok {
		dst = append(append(dst, source.AsSlice()...), destination.AsSlice()...)
		dst = binary.BigEndian.AppendUint16(dst, p.Source.Port())
		dst = binary.BigEndian.AppendUint16(dst, p.Destination.Port())
	}
	if authority != "" {
		dst = append(dst, authorityType)
		dst = append(binary.BigEndian.AppendUint16(dst, uint16(len(authority))), authority...)
	}
	binary.BigEndian.PutUint16(dst[start+14:], uint16(len(dst)-start-v2Fixed))
	return slices.Clip(dst)
}

// sameFamily returns both addresses in one family, as the header has them.
func (p Proxy) sameFamily() (source, destination netip.Addr, v4, ok bool) {
	source, destination = p.Source.Addr().Unmap(), p.Destination.Addr().Unmap()
	if !source.IsValid() || !destination.IsValid() {
		return source, destination, false, false
	}
	if source.Is4() != destination.Is4() {
		source, destination = netip.AddrFrom16(source.As16()), netip.AddrFrom16(destination.As16())
	}
	return source.WithZone(""), destination.WithZone(""), source.Is4(), true
}
