package edge

import "strings"

// isLooping reports whether the request has come through edges of our name more often than allowed, by its Via
// (RFC 9110, 7.6.3).
func (x *exchange) isLooping() bool {
	if len(x.via) == 0 {
		return false
	}
	hops := 0
	for _, list := range x.via {
		for hop := range strings.SplitSeq(list, ",") {
			_, by, _ := strings.Cut(strings.TrimSpace(hop), " ") // behind the version
			by, _, _ = strings.Cut(strings.TrimSpace(by), " ")
			if by == x.edge.cfg.Via {
				hops++
			}
		}
	}
	return hops > x.edge.cfg.MaxHops
}
