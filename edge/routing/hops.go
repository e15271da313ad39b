package routing

import "strings"

// HopsBy returns how often a request has come through edges of a name, by its Via (RFC 9110, 7.6.3).
func HopsBy(via []string, name string) (n int) {
	for _, list := range via {
		for hop := range strings.SplitSeq(list, ",") {
			_, by, _ := strings.Cut(strings.TrimSpace(hop), " ") // behind the version
			by, _, _ = strings.Cut(strings.TrimSpace(by), " ")
			if by == name {
				n++
			}
		}
	}
	return n
}
