package http1

import "bytes"

// TargetForm is the shape of a request target (RFC 9112 3.2).
type TargetForm uint8

const (
	OriginForm    TargetForm = iota + 1 // /path?query
	AbsoluteForm                        // http://host/path?query
	AuthorityForm                       // host:port, of CONNECT
	AsteriskForm                        // *, of OPTIONS
)

// target sorts and checks the request target. percent: there is a % in it.
func (h *RequestHead) target(buf []byte, percent bool) error {
	t := h.Target.Of(buf)
	switch {
	case h.Method == MethodConnect:
		// RFC 9112 3.2.3: only "the uri-host and port number of the tunnel
		// destination".
		h.Form, h.Host = AuthorityForm, h.Target
		if !authority(t, true) {
			return ErrTarget
		}
		return nil
	case t[0] == '/':
		h.Form, h.Path = OriginForm, h.Target
	case len(t) == 1 && t[0] == '*':
		h.Form, h.Path = AsteriskForm, h.Target
		if h.Method != MethodOptions {
			return ErrTarget
		}
		return nil
	default:
		if !h.absolute(buf) {
			return ErrTarget
		}
	}
	if percent && !escaped(h.Path.Of(buf)) {
		return ErrTarget
	}
	return nil
}

// absolute splits a target in absolute-form. RFC 9112 3.2.2: a recipient "MUST ignore
// the received Host header field (if any) and instead replace it with the host
// information of the request-target".
func (h *RequestHead) absolute(buf []byte) bool {
	t := h.Target.Of(buf)
	colon := bytes.IndexByte(t, ':')
	if colon < 0 || !is(t[:colon], "http") && !is(t[:colon], "https") {
		return false
	}
	host := colon + len("://")
	if len(t) < host || t[colon+1] != '/' || t[colon+2] != '/' {
		return false
	}
	path := host
	for path < len(t) && t[path] != '/' && t[path] != '?' {
		path++
	}
	from := h.Target.Start
	h.Form = AbsoluteForm
	h.Host = Span{from + uint32(host), from + uint32(path)}
	h.Path = Span{from + uint32(path), h.Target.End}
	return authority(t[host:path], false)
}

// escaped checks that every % of the path begins an escape. Queries are left alone: too
// many programs put a plain % there, and it is not used for routing.
func escaped(path []byte) bool {
	if q := bytes.IndexByte(path, '?'); q >= 0 {
		path = path[:q]
	}
	for {
		i := bytes.IndexByte(path, '%')
		if i < 0 {
			return true
		}
		if len(path) < i+3 || span(path[i+1:i+3], 0, isHex) < 2 {
			return false
		}
		path = path[i+3:]
	}
}

// authority checks host [":" port]. RFC 3986 would have escapes and punctuation in a
// host name as well; no name that resolves has them, and readers of lists, user
// information and escapes part ways over them. RFC 9110 4.2.1: an empty host must
// be rejected.
func authority(a []byte, needPort bool) bool {
	host := 0
	if len(a) > 0 && a[0] == '[' {
		host = bytes.IndexByte(a, ']') + 1
		if host == 0 || !ip6(a[1:host-1]) {
			return false
		}
	} else {
		host = span(a, 0, isHost)
	}
	if host == 0 {
		return false
	}
	if host == len(a) {
		return !needPort
	}
	return a[host] == ':' && port(a[host+1:])
}

func port(p []byte) bool {
	if len(p) == 0 || len(p) > 5 {
		return false
	}
	n := 0
	for _, c := range p {
		if c < '0' || c > '9' {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return n < 1<<16
}

// ip6 checks an IPv6 address without a zone (RFC 3986 3.2.2): up to eight groups of
// up to four digits, at most one gap, perhaps an IPv4 address at the end.
func ip6(a []byte) bool {
	groups, gap := 0, false
	if len(a) >= 2 && a[0] == ':' && a[1] == ':' {
		gap = true
		a = a[2:]
	}
	for len(a) > 0 {
		n := span(a, 0, isHex)
		if n < len(a) && a[n] == '.' {
			return ip4(a) && (groups == 6 || gap && groups < 6)
		}
		if n == 0 || n > 4 {
			return false
		}
		groups++
		a = a[n:]
		if len(a) == 0 {
			break
		}
		if a[0] != ':' || len(a) == 1 {
			return false
		}
		a = a[1:]
		if a[0] == ':' {
			if gap {
				return false
			}
			gap = true
			a = a[1:]
		}
	}
	return groups == 8 || gap && groups < 8
}

func ip4(a []byte) bool {
	for i := range 4 {
		n := 0
		digits := 0
		for digits < len(a) && '0' <= a[digits] && a[digits] <= '9' && digits < 3 {
			n = n*10 + int(a[digits]-'0')
			digits++
		}
		if digits == 0 || n > 255 || digits > 1 && a[0] == '0' {
			return false
		}
		a = a[digits:]
		if i < 3 {
			if len(a) == 0 || a[0] != '.' {
				return false
			}
			a = a[1:]
		}
	}
	return len(a) == 0
}
