package routing

import (
	"slices"
	"strings"
)

// Upgrades are the protocols to which a route's clients may switch by Upgrade, in lower case.
type Upgrades []string

// DefaultUpgrades are those of a route that says nothing: websocket, and the name by which the
// clients of Docker's API attach to a container.
var DefaultUpgrades = Upgrades{"websocket", "tcp"}

// NewUpgrades returns the rule for a route's list; nil: the default; empty: none may be switched to.
func NewUpgrades(names []string) Upgrades {
	if names == nil {
		return DefaultUpgrades
	}
	u := make(Upgrades, len(names))
	for i, n := range names {
		u[i] = strings.ToLower(n)
	}
	return u
}

// Allow reports whether every protocol that a client offers may be switched to. One name
// that may not is enough for no: the server chooses among all that it is shown. Versions count
// only where the list has them.
func (u Upgrades) Allow(offered string) bool {
	for p := range strings.SplitSeq(offered, ",") {
		p = strings.ToLower(strings.TrimSpace(p))
		name, _, _ := strings.Cut(p, "/")
		if NeverUpgraded(name) || !slices.Contains(u, p) && !slices.Contains(u, name) {
			return false
		}
	}
	return true
}

// NeverUpgraded reports whether a protocol is another HTTP, in lower case. A tunnel of that
// would take any number of requests past the routes and the header rules.
func NeverUpgraded(name string) bool { return name == "h2c" || name == "h2" || name == "http" }
