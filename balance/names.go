package balance

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// This file judges what files, agents, edges and the API say of themselves: there is one rule
// for each kind of word, and all code that takes such a word in from outside asks here. What comes
// through may stand in metrics, logs, headers and URLs as it is.

// The most that is taken of each.
const (
	MaxName    = 255  // bytes of an id, a label's key or value, a location, a tenant, a method
	MaxText    = 8192 // bytes of a key, a host, a path
	MaxLabels  = 64   // of a server or a request
	MaxExclude = 64   // servers that a request excludes
	MaxSize    = 1e15 // of a request, in its pool's unit
	maxAddress = 512  // bytes: 253 of a name, with scheme and port, and room for the zone of an IPv6 address
	maxPublic  = 2048 // bytes
	maxUnix    = 107  // bytes of a unix socket's path
)

// BadName returns what is wrong with an id, a label or another short word that people read,
// or "". It is printable Unicode in UTF-8, and not empty.
func BadName(name string) string {
	if name == "" {
		return fmt.Sprintf("empty, want 1 to %d bytes", MaxName)
	}
	return BadText(name, MaxName)
}

// BadText is BadName of a text that may be empty, and of other length.
func BadText(text string, most int) string {
	if len(text) > most {
		return fmt.Sprintf("%d bytes, want at most %d", len(text), most)
	}
	if isPlain(text) {
		return ""
	}
	if !utf8.ValidString(text) {
		return fmt.Sprintf("%q is not UTF-8", clip(text))
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 {
		r, _ := utf8.DecodeRuneInString(text[i:])
		return fmt.Sprintf("%q has %U, which cannot be printed", clip(text), r)
	}
	return ""
}

// PlainText returns the text as one line: with a blank for each line break and tab, and U+FFFD for whatever else cannot
// be printed, which is control characters, also those that terminals obey, marks that turn the direction of writing, and
// what is not UTF-8. It allocates only where there is such.
func PlainText(text string) string {
	if isPlain(text) {
		return text
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\r', r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// isPlain reports whether text is printable ASCII, as nearly all is.
func isPlain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// BadEdgeID returns what is wrong with an edge's id, or "". It stands in a header that servers
// read, so it is a token of RFC 9110.
func BadEdgeID(id EdgeID) string {
	unfit := func(r rune) bool { return !isAlphanumeric(r) && !strings.ContainsRune("!#$%&'*+-.^_`|~", r) }
	if id == "" || len(id) > MaxName || strings.ContainsFunc(string(id), unfit) {
		return fmt.Sprintf("%q, want 1 to %d letters, digits or marks, without blanks: it stands in a header", clip(string(id)), MaxName)
	}
	return ""
}

func isAlphanumeric(c rune) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// BadAddress returns what is wrong with a server's address, or "": host:port, with https:// before it or
// without, or unix:/path.
func BadAddress(address string) string {
	if IsUnix(address) {
		return badUnix(address)
	}
	if len(address) > maxAddress {
		return fmt.Sprintf("%d bytes, want at most %d", len(address), maxAddress)
	}
	if address == "" {
		return "empty, want host:port, such as 10.0.0.5:8000"
	}
	_, hostPort := SplitAddress(address)
	if IsUnix(hostPort) {
		return fmt.Sprintf("%q: a unix socket is spoken to without https://; server_tls of a route has its servers speak TLS", clip(address))
	}
	if strings.ContainsAny(hostPort, "/?#@") {
		return fmt.Sprintf("%q%s", clip(address), notHostPort("/", "10.0.0.5"))
	}
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil || host == "" {
		return fmt.Sprintf("%q%s", clip(address), notHostPort(hostPort, "10.0.0.5"))
	}
	if problem := badPort(port); problem != "" {
		return fmt.Sprintf("%q: %s", clip(address), problem)
	}
	if problem := badHost(host); problem != "" {
		return fmt.Sprintf("%q: %s", clip(address), problem)
	}
	return ""
}

// badUnix returns what is wrong with the address of a server that is a unix socket, or "".
func badUnix(address string) string {
	path, _ := UnixPath(address)
	if !strings.HasPrefix(path, "/") || !isPlain(path) || len(path) > maxUnix || strings.ContainsAny(path, ",?*[") {
		return fmt.Sprintf("%q, want unix: and an absolute path of 2 to %d printable bytes, such as unix:/run/app/web.sock", clip(address), maxUnix)
	}
	return ""
}

// BadListen returns what is wrong with an address to listen on, or "": host:port, :port for
// every address of the machine, port 0 for any that is free, or unix:/path.
func BadListen(address string) string {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if path == "" || !isPlain(path) || len(path) > maxUnix {
			return fmt.Sprintf("%q, want unix: and a path of 1 to %d printable bytes", clip(address), maxUnix)
		}
		return ""
	}
	host, port, err := net.SplitHostPort(address)
	switch {
	case err != nil:
		return fmt.Sprintf("%q%s", clip(address), notHostPort(address, ""))
	case host == "*":
		return fmt.Sprintf("%q: a * is no address, want :%s for every address of this machine", clip(address), port)
	case port != "0" && badPort(port) != "":
		return fmt.Sprintf("%q: %s", clip(address), badPort(port))
	case host == "":
		return ""
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		return ""
	}
	if problem := badHost(host); problem != "" {
		return fmt.Sprintf("%q: %s", clip(address), problem)
	}
	return ""
}

// notHostPort says what to write in place of what is not host:port. host is an example; empty:
// none is needed.
func notHostPort(address, host string) string {
	example := net.JoinHostPort(host, "8000")
	last := strings.LastIndexByte(address, ':')
	before, behind := address[:max(last, 0)], address[last+1:]
	bare := strings.Trim(address, "[]")
	switch {
	case strings.ContainsAny(address, "/?#"):
		return ", want host:port, with http:// or https:// before it or without, and nothing behind it, such as " + example
	case isIPv6(before) && badPort(behind) == "":
		return fmt.Sprintf(", an IPv6 address stands in brackets: %s", net.JoinHostPort(before, behind))
	case isIPv6(bare):
		return fmt.Sprintf(" has no port, want host:port, such as %s", net.JoinHostPort(bare, "8000"))
	case last < 0 && badPort(address) == "":
		return fmt.Sprintf(" is a port alone, want host:port, such as %s", net.JoinHostPort(host, address))
	case last < 0 && strings.Trim(address, "0123456789") == "" && address != "":
		return ", " + badPort(address)
	case last < 0:
		return fmt.Sprintf(" has no port, want host:port, such as %s:8000", address)
	case before == "" && host != "":
		return fmt.Sprintf(" has no host, want host:port, such as %s", net.JoinHostPort(host, behind))
	}
	return ", want host:port, such as " + example
}

func isIPv6(text string) bool {
	ip, err := netip.ParseAddr(text)
	return err == nil && ip.Is6()
}

func badPort(port string) string {
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Sprintf("port %q, want 1 to 65535", clip(port))
	}
	return ""
}

// badHost takes an IP address, or a name as DNS, files of hosts and container networks have
// them.
func badHost(host string) string {
	if ip, err := netip.ParseAddr(host); err == nil {
		switch {
		case ip.IsUnspecified(), ip.IsMulticast():
			return fmt.Sprintf("host %q is no single machine's address", clip(host))
		case !isPlain(ip.Zone()):
			return fmt.Sprintf("host %q has a zone that cannot be printed", clip(host))
		}
		return ""
	}
	if len(host) > 253 {
		return fmt.Sprintf("a host of %d bytes, want at most 253", len(host))
	}
	unfit := func(r rune) bool { return !isAlphanumeric(r) && r != '-' && r != '_' }
	for label := range strings.SplitSeq(strings.TrimSuffix(host, "."), ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, unfit) {
			return fmt.Sprintf("host %q, want an IP address, or a name of letters, digits, '-' and '_'", clip(host))
		}
	}
	return ""
}

// BadPublic returns what is wrong with the base URL that redirected clients get, or "". Path
// and query of the request are put behind it, so it has no query and no fragment; and it goes
// into a header, so it is written as RFC 3986 has it.
func BadPublic(public string) string {
	const want = "want http:// or https:// and a host, such as https://r1.example:8443/base"
	if len(public) > maxPublic {
		return fmt.Sprintf("%d bytes, want at most %d", len(public), maxPublic)
	}
	unfit := func(r rune) bool { return !isAlphanumeric(r) && !strings.ContainsRune("-._~:/[]@!$&'()*+,;=%?#", r) }
	if i := strings.IndexFunc(public, unfit); i >= 0 {
		return fmt.Sprintf("%q has a character that no URL has unescaped, %q", clip(public), public[i])
	}
	u, err := url.Parse(public)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Opaque != "", u.Hostname() == "":
		return fmt.Sprintf("%q, %s", clip(public), want)
	case u.User != nil:
		return fmt.Sprintf("%q names a user, which clients would be told", clip(public))
	case strings.ContainsAny(public, "?#"):
		return fmt.Sprintf("%q has a query or a fragment; a client's own path and query are put behind it", clip(public))
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if problem := badPort(port); problem != "" {
			return fmt.Sprintf("%q: %s", clip(public), problem)
		}
	}
	if problem := badHost(u.Hostname()); problem != "" {
		return fmt.Sprintf("%q: %s", clip(public), problem)
	}
	return ""
}

// validateLabels calls bad for every label that cannot be taken, and for too many.
func validateLabels(labels []Label, bad func(field, problem string)) {
	if len(labels) > MaxLabels {
		bad("labels", fmt.Sprintf("%d, want at most %d", len(labels), MaxLabels))
		return
	}
	for _, l := range labels {
		if problem := BadName(l.Key); problem != "" {
			bad("labels", "key: "+problem)
		} else if problem := BadText(l.Value, MaxName); problem != "" {
			bad("labels."+l.Key, problem)
		}
	}
}

// Validate calls bad once for every word of the request that is too long, or that people
// could not read. It is for requests that come from the API; those of edges were bounded when
// their frame was read.
func (r *Request) Validate(bad func(field, problem string)) {
	for _, w := range []struct {
		field, text string
		most        int
	}{{"key", r.Key, MaxText}, {"tenant", r.Tenant, MaxName}, {"location", r.Location, MaxName}, {"method", r.Method, MaxName}, {"host", r.Host, MaxText}, {"path", r.Path, MaxText}} {
		if len(w.text) > w.most {
			bad(w.field, fmt.Sprintf("%d bytes, want at most %d", len(w.text), w.most))
		}
	}
	if len(r.Exclude) > MaxExclude {
		bad("exclude", fmt.Sprintf("%d, want at most %d", len(r.Exclude), MaxExclude))
	}
	for _, id := range r.Exclude {
		if problem := BadName(string(id)); problem != "" {
			bad("exclude", problem)
		}
	}
	validateLabels(r.Labels, bad)
	if !(r.Size >= 0 && r.Size <= MaxSize) {
		bad("size", fmt.Sprintf("%v, want 0 to %g", r.Size, float64(MaxSize)))
	}
	if problem := BadText(r.Class, MaxName); problem != "" {
		bad("class", problem)
	}
}
