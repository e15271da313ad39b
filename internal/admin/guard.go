package admin

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// isOurHost reports whether a request's Host may be believed to be meant for this process.
// A page whose name has been rebound to our address still sends its own name here. A
// request without a Host comes from no browser.
func (s *Surface) isOurHost(host string) bool {
	if host == "" {
		return true
	}
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	literal := strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if _, err := netip.ParseAddr(literal); err == nil {
		return true
	}
	return name == "localhost" || strings.HasSuffix(name, ".localhost") ||
		slices.ContainsFunc(s.cfg.Hosts, func(own string) bool { return strings.EqualFold(strings.TrimSuffix(own, "."), name) })
}

// isCrossSite reports whether a browser says that a page of another site asks. Other
// clients say nothing of the kind. Following a link to a page here is fine: the other
// site does not see the page.
func (s *Surface) isCrossSite(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default:
		if !isSafe(r.Method) || r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document" {
			return true
		}
	}
	return s.crossSite.Check(r) != nil
}
