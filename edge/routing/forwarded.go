package routing

import (
	"net/netip"
	"strings"
)

// Hop is what one proxy has told of who sent it a request.
type Hop struct {
	For   netip.Addr // invalid: it has not told, or by a name of its own
	Proto string     // empty: not told, or neither http nor https
	Host  string     // empty: not told
}

// ForwardedChain returns the hops of a request, the first sender's first: those of
// X-Forwarded-For, or of Forwarded (RFC 7239) if there is no such field.
func ForwardedChain(forwardedFor, forwarded []string) (chain []Hop) {
	for _, line := range forwardedFor {
		for address := range strings.SplitSeq(line, ",") {
			chain = append(chain, Hop{For: nodeAddress(strings.TrimSpace(address))})
		}
	}
	if len(forwardedFor) > 0 {
		return chain
	}
	for _, line := range forwarded {
		for element := range unquotedSplit(line, ',') {
			if element = strings.TrimSpace(element); element != "" {
				chain = append(chain, parseHop(element))
			}
		}
	}
	return chain
}

// parseHop reads an element: for=192.0.2.43;proto=https;host="example.com:8443".
func parseHop(element string) (h Hop) {
	for pair := range unquotedSplit(element, ';') {
		name, value, _ := strings.Cut(pair, "=")
		value = unquote(strings.TrimSpace(value))
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "for":
			h.For = nodeAddress(value)
		case "proto":
			if p := strings.ToLower(value); p == "http" || p == "https" {
				h.Proto = p
			}
		case "host":
			if isHost(value) {
				h.Host = value
			}
		}
	}
	return h
}

// isHost reports whether a value can stand in another field as it is.
func isHost(value string) bool {
	for i := range len(value) {
		if c := value[i]; c <= ' ' || c >= 0x7f || c == ',' || c == '"' {
			return false
		}
	}
	return value != ""
}

// nodeAddress reads an address with or without port, IPv6 in brackets or not; invalid: it is none.
func nodeAddress(s string) netip.Addr {
	if withPort, err := netip.ParseAddrPort(s); err == nil {
		return withPort.Addr().Unmap()
	}
	addr, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap()
}

// unquotedSplit splits at every separator that stands in no quoted string.
func unquotedSplit(s string, at byte) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		start, quoted := 0, false
		for i := 0; i < len(s); i++ {
			switch c := s[i]; {
			case quoted && c == '\\':
				i++
			case c == '"':
				quoted = !quoted
			case c == at && !quoted:
				if !yield(s[start:i]) {
					return
				}
				start = i + 1
			}
		}
		yield(s[start:])
	}
}

// unquote returns what a quoted string says; anything else as it is.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	s = s[1 : len(s)-1]
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	plain := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		plain = append(plain, s[i])
	}
	return string(plain)
}
